//! Plans the Events of a Pod's violations under one policy: one when a violation begins to fire, one when it resolves, and
//! a repetition every `repeatPeriod` while it fires, because the API server deletes Events after an hour.

use jiff::{SignedDuration, Timestamp};

use super::{edit, entry::PolicyEntry};
use crate::domain::{
    checks::{MessageContext, View, recovery_note, rule},
    effects::{Change, Delivery, Event},
    hash::stable_hash,
    observation::ContainerKind,
    policy::{Check, Mode},
    time::later,
    tracker::{Changed, FiringEvent, Tracked, keep_earliest},
};

/// The longest note that the API server accepts, in bytes.
const NOTE_LIMIT: usize = 1024;
/// The longest name of an object that the API server accepts, in bytes.
const NAME_LIMIT: usize = 253;
/// The number of Event names that are kept for one Pod.
const WRITTEN_LIMIT: usize = 64;

/// The Events of one Pod under one policy.
pub(super) struct EventPlanner<'a> {
    pub(super) policy: &'a PolicyEntry,
    pub(super) view: &'a View<'a>,
    /// The Pod's Events by the hash in their names, with the number of times that each was written.
    pub(super) written: &'a mut Box<[(u64, u32)]>,
    pub(super) events: &'a mut Vec<Event>,
}

impl EventPlanner<'_> {
    /// Adds a recovery Event for each violation that resolved and had an Event.
    pub(super) fn recoveries(&mut self, changed: &[Changed]) {
        for (violation, change) in changed {
            let has_event = violation.event.is_some() && self.alerts(violation.check);
            if *change == Change::Resolved && has_event && self.view.policy.recovery_events {
                let duration = self.view.now.duration_since(violation.onset);
                let note = recovery_note(violation.check, &self.context(violation), duration);
                let hash = self.hash(violation, "resolved");
                let (delivery, _) = self.next_delivery(hash);
                self.push(violation, (hash, delivery), ("SidecarRecovered", false), note);
            }
        }
    }

    /// Adds the first Event of each firing violation without one, and the due repetitions. Returns the time of the next
    /// repetition.
    pub(super) fn firing(&mut self, tracked: &mut [Tracked]) -> Option<Timestamp> {
        let mut next = None;
        let period = self.view.policy.repeat_period;
        for violation in tracked.iter_mut().filter(|violation| violation.is_firing()) {
            if !self.alerts(violation.check) {
                continue;
            }
            let due = repeats(violation, period, self.view.now);
            match violation.event {
                None if violation.gone_since.is_some() => continue,
                None => {
                    let hash = self.hash(violation, "firing");
                    let (delivery, before) = self.next_delivery(hash);
                    self.push_firing(violation, hash, delivery);
                    violation.event = Some(FiringEvent {
                        hash,
                        before,
                        repeats: due,
                    });
                }
                Some(event) if due > event.repeats => {
                    let count = event.before.saturating_add(1).saturating_add(due);
                    self.record(event.hash, count);
                    self.push_firing(violation, event.hash, Delivery::Repeat(count));
                    violation.event = Some(FiringEvent {
                        repeats: due,
                        ..event
                    });
                }
                Some(_) => {}
            }
            let done = violation.event.map_or(due, |event| event.repeats);
            if let (Some(since), Ok(n)) = (violation.firing_since, i32::try_from(done.saturating_add(1))) {
                keep_earliest(&mut next, later(since, period.saturating_mul(n)), self.view.now);
            }
        }
        next
    }

    /// Records that an earlier operator process has written the Event of a firing violation. That process also wrote the
    /// status from which the violation comes.
    pub(super) fn take_over(&mut self, violation: &mut Tracked) {
        if violation.is_firing() && self.alerts(violation.check) {
            let hash = self.hash(violation, "firing");
            let repeats = repeats(violation, self.view.policy.repeat_period, self.view.now);
            self.record(hash, repeats.saturating_add(1));
            violation.event = Some(FiringEvent {
                hash,
                before: 0,
                repeats,
            });
        }
    }

    fn alerts(&self, check: Check) -> bool {
        self.view.policy.mode_of(check) == Mode::Alert
    }

    fn context(&self, violation: &Tracked) -> MessageContext<'_> {
        MessageContext {
            view: self.view,
            container_idx: usize::from(violation.container),
            onset: violation.onset,
            policy: &self.policy.key,
        }
    }

    /// The delivery of the next Event with this hash, and the number of times that it was written before. Records the
    /// write.
    fn next_delivery(&mut self, hash: u64) -> (Delivery, u32) {
        let before = self
            .written
            .iter()
            .find(|(known, _)| *known == hash)
            .map_or(0, |(_, times)| *times);
        let times = before.saturating_add(1);
        self.record(hash, times);
        (
            if before == 0 {
                Delivery::Create
            } else {
                Delivery::CreateOrRaise(times)
            },
            before,
        )
    }

    fn record(&mut self, hash: u64, times: u32) {
        edit(self.written, |written| {
            written.retain(|(known, _)| *known != hash);
            if written.len() == WRITTEN_LIMIT {
                written.remove(0);
            }
            written.push((hash, times));
        });
    }

    fn push_firing(&mut self, violation: &Tracked, hash: u64, delivery: Delivery) {
        let rule = rule(violation.check);
        let mut note = rule.note(&self.context(violation));
        if !self.view.policy.runbook_url.is_empty() {
            note.push_str(" Runbook: ");
            note.push_str(&self.view.policy.runbook_url);
        }
        self.push(violation, (hash, delivery), (rule.reason(), true), note);
    }

    fn push(
        &mut self,
        violation: &Tracked,
        (hash, delivery): (u64, Delivery),
        (reason, warning): (&'static str, bool),
        mut note: String,
    ) {
        let pod = self.view.pod;
        let Some(container) = pod.shape.containers.get(usize::from(violation.container)) else {
            return;
        };
        let list = if container.kind == ContainerKind::Regular {
            "containers"
        } else {
            "initContainers"
        };
        let announced = violation.event.filter(|_| !warning);
        note.truncate(note.floor_char_boundary(NOTE_LIMIT));
        self.events.push(Event {
            name: event_name(&pod.name, hash),
            policy: self.policy.key.clone(),
            policy_uid: self.policy.uid.clone(),
            pod: pod.name.clone(),
            namespace: pod.namespace.clone(),
            pod_uid: pod.uid.clone(),
            field_path: format!("spec.{list}{{{}}}", container.name),
            reason,
            warning,
            severity: self.view.policy.checks.common(violation.check).severity,
            recovers: announced.map(|event| event_name(&pod.name, event.hash)),
            note,
            at: self.view.now,
            delivery,
        });
    }

    /// The hash in the Event's name. It is computed from the objects only, so every operator process computes the same.
    fn hash(&self, violation: &Tracked, kind: &str) -> u64 {
        let context = self.context(violation);
        let container = self
            .view
            .pod
            .shape
            .containers
            .get(context.container_idx)
            .map_or("", |c| &*c.name);
        let episode = rule(violation.check).episode(&context);
        let check = violation.check.as_str();
        let parts = [
            &*self.policy.uid,
            &*self.view.pod.uid,
            container,
            check,
            kind,
            &*episode,
        ];
        stable_hash(parts.map(str::as_bytes))
    }
}

/// The number of repetitions that are due by `now`.
fn repeats(violation: &Tracked, period: SignedDuration, now: Timestamp) -> u32 {
    let since = violation.firing_since.unwrap_or(now);
    let times = now.duration_since(since).as_millis() / period.as_millis().max(1);
    u32::try_from(times).unwrap_or(0)
}

/// The name of the Pod, truncated if necessary, and the hash.
fn event_name(pod: &str, hash: u64) -> String {
    const HASH: usize = 17;
    let cut = pod
        .get(..pod.floor_char_boundary(NAME_LIMIT - HASH))
        .unwrap_or_default();
    format!("{}.{hash:016x}", cut.trim_end_matches(['.', '-']))
}
