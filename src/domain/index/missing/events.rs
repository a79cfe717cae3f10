//! Plans the Events of a workload that lacks a sidecar: one when the violation begins to fire, one when it resolves, and a
//! repetition every `repeatPeriod` while it fires.

use std::sync::Arc;

use jiff::Timestamp;

use super::{Facts, FactsKey};
use crate::domain::{
    checks::rule,
    effects::{Change, Delivery, Event, RECOVERED, Regarding},
    expected::Expected,
    hash::stable_hash,
    index::{
        entry::PolicyEntry,
        event_planner::{
            NOTE_LIMIT, RESOLVED, event_name, keep_next_repetition, next_delivery, record, repeats, take_over,
        },
    },
    policy::{Check, Mode, Policy},
    tracker::{FiringEvent, Tracked},
};

/// The Events of one workload under one policy.
pub(super) struct WorkloadEvents<'a> {
    pub(super) policy: &'a PolicyEntry,
    pub(super) spec: &'a Policy,
    pub(super) entry: &'a Expected,
    pub(super) key: &'a FactsKey,
    pub(super) facts: &'a mut Facts,
    pub(super) now: Timestamp,
    pub(super) events: &'a mut Vec<Event>,
}

impl WorkloadEvents<'_> {
    /// Adds the Events of a violation, and lowers `next` to the time of the next repetition.
    pub(super) fn plan(
        &mut self,
        tracked: &mut Tracked,
        change: Option<Change>,
        next: &mut Option<Timestamp>,
    ) {
        if self.spec.mode_of(Check::SidecarMissing) != Mode::Alert || !tracked.is_firing() {
            return;
        }
        if change == Some(Change::Resolved) {
            self.recovery(tracked);
            return;
        }
        let period = self.spec.repeat_period;
        let due = repeats(tracked, period, self.now);
        match tracked.event {
            None => {
                let hash = self.facts.firing_hash(self.policy, self.key);
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
        keep_next_repetition(tracked, period, self.now, next);
    }

    fn recovery(&mut self, tracked: &Tracked) {
        let Some(event) = tracked.event.filter(|_| self.spec.recovery_events) else {
            return;
        };
        let hash = event_hash(self.policy, self.key, RESOLVED, &event.hash.to_string());
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
        self.events.push(Event {
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
}

impl Facts {
    /// Records that an earlier process has written the Event of a firing violation.
    pub(super) fn take_over_event(
        &mut self,
        tracked: &mut Tracked,
        (policy, spec): (&PolicyEntry, &Policy),
        key: &FactsKey,
        now: Timestamp,
    ) {
        if tracked.is_firing() && spec.mode_of(Check::SidecarMissing) == Mode::Alert {
            let hash = self.firing_hash(policy, key);
            take_over(tracked, hash, spec.repeat_period, now, &mut self.written);
        }
    }

    /// The hash in the name of the Event of a violation that begins to fire. It is computed from the objects only. The oldest
    /// Pod is part of it, because two episodes need different names.
    fn firing_hash(&self, policy: &PolicyEntry, key: &FactsKey) -> u64 {
        let episode = self.lacking.first().map_or("", |(_, uid, _)| uid);
        event_hash(policy, key, "firing", episode)
    }
}

fn event_hash(policy: &PolicyEntry, key: &FactsKey, kind: &str, episode: &str) -> u64 {
    let subject = &key.subject;
    let workload = subject.workload.to_string();
    let parts = [
        &*policy.uid,
        &*subject.namespace,
        &*workload,
        &*subject.sidecar,
        Check::SidecarMissing.as_str(),
        kind,
        episode,
    ];
    stable_hash(parts.map(str::as_bytes))
}
