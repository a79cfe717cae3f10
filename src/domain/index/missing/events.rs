//! Plans the Events of a workload that lacks a sidecar: one when the violation begins to fire, one when it resolves, and a
//! repetition every `repeatPeriod` while it fires.

use std::sync::Arc;

use jiff::Timestamp;

use super::{Facts, FactsKey};
use crate::domain::{
    checks::rule,
    effects::{Change, Delivery, Effects, Event, RECOVERED, Regarding},
    expected::Expected,
    hash::stable_hash,
    index::{
        entry::PolicyEntry,
        event_planner::{NOTE_LIMIT, RESOLVED, event_name, next_delivery, record, repeats},
    },
    policy::{Check, Mode, Policy},
    time::later,
    tracker::{FiringEvent, Tracked, keep_earliest},
};

/// The Events of one workload under one policy.
pub(super) struct WorkloadEvents<'a> {
    pub(super) policy: &'a PolicyEntry,
    pub(super) spec: &'a Policy,
    pub(super) entry: &'a Expected,
    pub(super) key: &'a FactsKey,
    pub(super) facts: &'a mut Facts,
    pub(super) now: Timestamp,
    pub(super) effects: &'a mut Effects,
}

impl WorkloadEvents<'_> {
    /// Adds the Events of a violation. Returns it, and the time of the next repetition.
    pub(super) fn plan(
        &mut self,
        tracked: Option<Tracked>,
        change: Option<Change>,
    ) -> (Option<Tracked>, Option<Timestamp>) {
        let Some(mut tracked) = tracked else {
            return (None, None);
        };
        if self.spec.mode_of(Check::SidecarMissing) != Mode::Alert || !tracked.is_firing() {
            return (Some(tracked), None);
        }
        if change == Some(Change::Resolved) {
            self.recovery(&tracked);
            return (Some(tracked), None);
        }
        let period = self.spec.repeat_period;
        let due = repeats(&tracked, period, self.now);
        match tracked.event {
            None => {
                let hash = self.firing_hash();
                let (delivery, before) = next_delivery(&mut self.facts.written, hash);
                self.push_firing(hash, delivery);
                tracked.event = Some(FiringEvent {
                    hash,
                    before,
                    repeats: due,
                });
            }
            Some(event) if due > event.repeats => {
                let count = event.before.saturating_add(1).saturating_add(due);
                record(&mut self.facts.written, event.hash, count);
                self.push_firing(event.hash, Delivery::Repeat(count));
                tracked.event = Some(FiringEvent {
                    repeats: due,
                    ..event
                });
            }
            Some(_) => {}
        }
        let mut next = None;
        let done = tracked.event.map_or(due, |event| event.repeats);
        if let (Some(since), Ok(n)) = (tracked.firing_since, i32::try_from(done.saturating_add(1))) {
            keep_earliest(&mut next, later(since, period.saturating_mul(n)), self.now);
        }
        (Some(tracked), next)
    }

    fn recovery(&mut self, tracked: &Tracked) {
        let Some(event) = tracked.event.filter(|_| self.spec.recovery_events) else {
            return;
        };
        let hash = self.hash(RESOLVED, &event.hash.to_string());
        let (delivery, _) = next_delivery(&mut self.facts.written, hash);
        let duration = self.now.duration_since(tracked.onset);
        let note = self
            .facts
            .messages(self.key, self.policy)
            .recovered(&self.policy.key, duration);
        let recovers = vec![event_name(&self.key.subject.workload.name, event.hash)];
        self.push((hash, delivery), (RECOVERED, false), note, recovers);
    }

    fn push_firing(&mut self, hash: u64, delivery: Delivery) {
        let facts = self.facts.messages(self.key, self.policy);
        let mut note = facts.note(&self.policy.key, self.entry.hold_for);
        if !self.spec.runbook_url.is_empty() {
            note.push_str(" Runbook: ");
            note.push_str(&self.spec.runbook_url);
        }
        let reason = rule(Check::SidecarMissing).reason();
        self.push((hash, delivery), (reason, true), note, Vec::new());
    }

    fn push(
        &mut self,
        (hash, delivery): (u64, Delivery),
        (reason, warning): (&'static str, bool),
        mut note: String,
        recovers: Vec<String>,
    ) {
        let subject = &self.key.subject;
        note.truncate(note.floor_char_boundary(NOTE_LIMIT));
        let workload = &subject.workload;
        // A Pod without an owner is its own workload, and its UID is known.
        let pod = self.facts.lacking.last().filter(|_| workload.is_pod());
        self.effects.events.push(Event {
            name: event_name(&workload.name, hash),
            policy: self.policy.key.clone(),
            policy_uid: Arc::clone(&self.policy.uid),
            namespace: Arc::clone(&subject.namespace),
            regarding: Regarding {
                kind: Arc::clone(&workload.kind),
                name: Arc::clone(&workload.name),
                uid: pod.map(|(_, uid, _)| Arc::clone(uid)).unwrap_or_default(),
                field_path: String::new(),
            },
            reason,
            warning,
            severity: self.spec.checks.common(Check::SidecarMissing).severity,
            recovers,
            note,
            at: self.now,
            delivery,
        });
    }

    /// Records that an earlier process has written the Event of a firing violation.
    pub(super) fn take_over(&mut self, tracked: &mut Tracked) {
        if tracked.is_firing() && self.spec.mode_of(Check::SidecarMissing) == Mode::Alert {
            let hash = self.firing_hash();
            let repeats = repeats(tracked, self.spec.repeat_period, self.now);
            record(&mut self.facts.written, hash, repeats.saturating_add(1));
            tracked.event = Some(FiringEvent {
                hash,
                before: 0,
                repeats,
            });
        }
    }

    /// The hash in the name of the Event of a violation that begins to fire. It is computed from the objects only: the oldest
    /// Pod tells two episodes apart.
    fn firing_hash(&self) -> u64 {
        let episode = self.facts.lacking.first().map_or("", |(_, uid, _)| uid);
        self.hash("firing", episode)
    }

    fn hash(&self, kind: &str, episode: &str) -> u64 {
        let subject = &self.key.subject;
        let workload = subject.workload.to_string();
        let parts = [
            &*self.policy.uid,
            &*subject.namespace,
            &*workload,
            &*subject.sidecar,
            Check::SidecarMissing.as_str(),
            kind,
            episode,
        ];
        stable_hash(parts.map(str::as_bytes))
    }
}
