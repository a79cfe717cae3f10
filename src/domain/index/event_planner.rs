//! Plans the Events of a Pod's violations under one policy: one when a violation begins to fire, one when it resolves, and
//! a repetition every `repeatPeriod` while it fires, because the API server deletes Events after an hour.
//!
//! NotReady and MainReadySidecarNotReady report the same fault. Each has its first Event. While both fire, only the one
//! announced later repeats; one Event reports the recovery when neither fires any more.

use jiff::{SignedDuration, Timestamp};

use super::{
    edit,
    entry::PolicyEntry,
    pods::{WRITTEN_LIMIT, WrittenEvent},
};
use crate::domain::{
    checks::{MessageContext, View, recovery_note, rule},
    effects::{Change, Delivery, Event, RECOVERED, Regarding},
    hash::stable_hash,
    observation::ContainerKind,
    policy::{Check, Mode, Policy},
    time::later,
    tracker::{Changed, FiringEvent, Tracked, keep_earliest},
};

/// The longest note that the API server accepts, in bytes.
pub(super) const NOTE_LIMIT: usize = 1024;
/// The longest name of an object that the API server accepts, in bytes.
const NAME_LIMIT: usize = 253;
/// The part of the hash of a recovery Event that differs from the Event of its violation.
pub(super) const RESOLVED: &str = "resolved";

/// The Events of one Pod under one policy.
pub(super) struct EventPlanner<'a> {
    pub(super) policy: &'a PolicyEntry,
    pub(super) view: &'a View<'a>,
    /// The Pod's Events.
    pub(super) written: &'a mut Box<[WrittenEvent]>,
    pub(super) events: &'a mut Vec<Event>,
}

impl EventPlanner<'_> {
    /// Adds a recovery Event for each fault that has ended and had an Event. If two checks report the fault, it ends
    /// when neither fires any more.
    pub(super) fn recoveries(&mut self, changed: &[Changed], tracked: &mut [Tracked]) {
        let resolved: Vec<&Tracked> = changed
            .iter()
            .filter(|(_, change)| *change == Change::Resolved)
            .map(|(violation, _)| violation)
            .filter(|violation| violation.event.is_some() && self.alerts(violation))
            .collect();
        for violation in resolved.iter().copied() {
            if let Some(other) = tracked.iter_mut().find(|other| is_same_fault(violation, other))
                && self.is_announced(other)
            {
                other.other_event = violation.event.map(|event| event.hash);
                continue;
            }
            let other = resolved
                .iter()
                .copied()
                .find(|other| is_same_fault(violation, other));
            // If two violations end together, the first in the order of the API reports the recovery.
            if other.is_none_or(|other| violation.check < other.check) && self.view.policy.recovery_events {
                self.push_recovery(violation, other);
            }
        }
    }

    fn push_recovery(&mut self, violation: &Tracked, other: Option<&Tracked>) {
        let duration = self.view.now.duration_since(violation.onset);
        let note = recovery_note(violation.check, &self.context(violation), duration);
        let hash = self.hash(violation, RESOLVED);
        let (delivery, _) = self.next_delivery(hash);
        let announced = [Some(violation), other]
            .into_iter()
            .flatten()
            .flat_map(|violation| {
                let own = violation.event.map(|event| event.hash);
                own.into_iter().chain(violation.other_event)
            });
        let recovers = announced
            .map(|hash| event_name(&self.view.pod.name, hash))
            .collect();
        self.push(violation, (hash, delivery), (RECOVERED, false), (note, recovers));
    }

    /// Whether the violation fires and has an Event, or gets one now.
    fn is_announced(&self, violation: &Tracked) -> bool {
        violation.is_firing()
            && self.alerts(violation)
            && (violation.event.is_some() || violation.gone_since.is_none())
    }

    /// The firing violations whose fault another violation announced later. They do not repeat their Events. A violation
    /// that has just resolved still counts, so that the result does not depend on how often a Pod is evaluated.
    fn superseded(&self, tracked: &[Tracked], changed: &[Changed]) -> Vec<(u16, Check)> {
        let resolved = changed.iter().filter(|(_, change)| *change == Change::Resolved);
        let announced: Vec<&Tracked> = tracked
            .iter()
            .chain(resolved.map(|(violation, _)| violation))
            .filter(|violation| violation.event.is_some() && self.is_announced(violation))
            .collect();
        let order = |violation: &Tracked| (violation.firing_since, violation.check);
        announced
            .iter()
            .filter(|violation| {
                let is_later =
                    |other: &Tracked| is_same_fault(violation, other) && order(other) > order(violation);
                announced.iter().any(|other| is_later(other))
            })
            .map(|violation| (violation.container, violation.check))
            .collect()
    }

    /// Adds the first Event of each firing violation without one, and the due repetitions. Returns the time of the next
    /// repetition.
    pub(super) fn firing(&mut self, tracked: &mut [Tracked], changed: &[Changed]) -> Option<Timestamp> {
        let mut next = None;
        let superseded = self.superseded(tracked, changed);
        let period = self.view.policy.repeat_period;
        for violation in tracked.iter_mut().filter(|violation| violation.is_firing()) {
            if !self.alerts(violation) {
                continue;
            }
            let is_new = violation.event.is_none();
            if is_new && violation.gone_since.is_some() {
                continue;
            }
            let (policy, view) = (self.policy, self.view);
            let hash = || event_hash(policy, view, violation, "firing");
            let due = due_event(violation, (period, view.now), self.written, hash);
            let is_superseded = superseded.contains(&(violation.container, violation.check));
            if let Some((event, delivery)) = due {
                violation.event = Some(event);
                if is_new || !is_superseded {
                    self.push_firing(violation, event.hash, delivery);
                }
            }
            keep_next_repetition(violation, period, self.view.now, &mut next);
        }
        next
    }

    /// Records that an earlier operator process has written the Event of a firing violation. That process also wrote the
    /// status from which the violation comes.
    pub(super) fn adopt(&mut self, violation: &mut Tracked) {
        if violation.is_firing() && self.alerts(violation) {
            let hash = self.hash(violation, "firing");
            let period = self.view.policy.repeat_period;
            adopt(violation, hash, period, self.view.now, self.written);
        }
    }

    fn alerts(&self, violation: &Tracked) -> bool {
        self.view.policy.mode_of(violation.check) == Mode::Alert && !violation.is_exempt()
    }

    fn context(&self, violation: &Tracked) -> MessageContext<'_> {
        context(self.policy, self.view, violation)
    }

    fn next_delivery(&mut self, hash: u64) -> (Delivery, u32) {
        next_delivery(self.written, hash)
    }

    fn push_firing(&mut self, violation: &Tracked, hash: u64, delivery: Delivery) {
        let rule = rule(violation.check);
        let mut note = rule.note(&self.context(violation));
        if let Some(hint) = violation.rollout_hint(self.view.pod) {
            note.push_str(" It ");
            note.push_str(&hint);
            note.push('.');
        }
        add_runbook(&mut note, self.view.policy);
        self.push(
            violation,
            (hash, delivery),
            (rule.reason(), true),
            (note, Vec::new()),
        );
    }

    fn push(
        &mut self,
        violation: &Tracked,
        (hash, delivery): (u64, Delivery),
        (reason, warning): (&'static str, bool),
        (mut note, recovers): (String, Vec<String>),
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
        note.truncate(note.floor_char_boundary(NOTE_LIMIT));
        self.events.push(Event {
            name: event_name(&pod.name, hash),
            policy: self.policy.key.clone(),
            policy_uid: self.policy.uid.clone(),
            namespace: pod.namespace.clone(),
            regarding: Regarding {
                kind: "Pod".into(),
                name: pod.name.clone(),
                uid: pod.uid.clone(),
                field_path: format!("spec.{list}{{{}}}", container.name),
            },
            reason,
            warning,
            severity: self.view.policy.checks.common(violation.check).severity,
            recovers,
            note,
            at: self.view.now,
            delivery,
        });
    }

    fn hash(&self, violation: &Tracked, kind: &str) -> u64 {
        event_hash(self.policy, self.view, violation, kind)
    }
}

/// The hash in the name of the recovery Event of a violation.
pub(super) fn recovery_hash(policy: &PolicyEntry, view: &View<'_>, violation: &Tracked) -> u64 {
    event_hash(policy, view, violation, RESOLVED)
}

/// The hash in the Event's name. It is computed from the objects only, so every operator process computes the same.
fn event_hash(policy: &PolicyEntry, view: &View<'_>, violation: &Tracked, kind: &str) -> u64 {
    let context = context(policy, view, violation);
    let containers = &view.pod.shape.containers;
    let container = containers.get(context.container_idx).map_or("", |c| &*c.name);
    let episode = rule(violation.check).episode(&context);
    let mut check = violation.check;
    if kind == RESOLVED {
        // The name of the recovery does not depend on which of two checks reports it.
        check = rule(check)
            .same_fault_as()
            .map_or(check, |other| check.min(other));
    }
    let check = check.as_str();
    let parts = [&*policy.uid, &*view.pod.uid, container, check, kind, &*episode];
    stable_hash(parts.map(str::as_bytes))
}

fn context<'a>(policy: &'a PolicyEntry, view: &'a View<'a>, violation: &Tracked) -> MessageContext<'a> {
    MessageContext {
        view,
        container_idx: usize::from(violation.container),
        onset: violation.onset,
        policy: &policy.key,
    }
}

/// The Event of a firing violation that is due now, and its delivery: the first one, or a repetition. Records the write.
/// `hash` computes the hash in the name of the first one.
pub(super) fn due_event(
    violation: &Tracked,
    (period, now): (SignedDuration, Timestamp),
    written: &mut Box<[WrittenEvent]>,
    hash: impl FnOnce() -> u64,
) -> Option<(FiringEvent, Delivery)> {
    let repeats = repeats(violation, period, now);
    match violation.event {
        None => {
            let hash = hash();
            let (delivery, before) = next_delivery(written, hash);
            let event = FiringEvent {
                hash,
                before,
                repeats,
            };
            Some((event, delivery))
        }
        Some(event) if repeats > event.repeats => {
            let count = event.before.saturating_add(1).saturating_add(repeats);
            record(written, event.hash, count);
            Some((FiringEvent { repeats, ..event }, Delivery::Repeat(count)))
        }
        Some(_) => None,
    }
}

/// Adds the runbook of the policy to a note. Cuts a note that is too long before the URL, which is useless without its end.
pub(super) fn add_runbook(note: &mut String, policy: &Policy) {
    if policy.runbook_url.is_empty() {
        return;
    }
    let runbook = format!(" Runbook: {}", policy.runbook_url);
    let room = NOTE_LIMIT.saturating_sub(runbook.len()).max(NOTE_LIMIT / 4);
    note.truncate(note.floor_char_boundary(room));
    note.push_str(&runbook);
}

/// The delivery of the next Event with this hash, and the number of times that it was written before. Records the write.
/// If a checkpoint has counted this Event already, the number stays the same.
pub(super) fn next_delivery(written: &mut Box<[WrittenEvent]>, hash: u64) -> (Delivery, u32) {
    let known = written.iter().find(|event| event.hash == hash);
    let before = known.map_or(0, |event| event.times.saturating_sub(u32::from(event.joined)));
    let times = before.saturating_add(1);
    record(written, hash, times);
    let delivery = if before == 0 {
        Delivery::Create
    } else {
        Delivery::CreateOrRaise(times)
    };
    (delivery, before)
}

/// Records the number of times that an Event was written.
fn record(written: &mut Box<[WrittenEvent]>, hash: u64, times: u32) {
    edit(written, |written| {
        written.retain(|event| event.hash != hash);
        let excess = (written.len() + 1).saturating_sub(WRITTEN_LIMIT);
        written.drain(..excess);
        written.push(WrittenEvent {
            hash,
            times,
            joined: false,
        });
    });
}

/// Whether two checks report the same fault of a container.
fn is_same_fault(violation: &Tracked, other: &Tracked) -> bool {
    violation.container == other.container && rule(violation.check).same_fault_as() == Some(other.check)
}

/// The number of repetitions that are due by `now`.
fn repeats(violation: &Tracked, period: SignedDuration, now: Timestamp) -> u32 {
    let since = violation.firing_since.unwrap_or(now);
    let times = now.duration_since(since).as_millis() / period.as_millis().max(1);
    u32::try_from(times).unwrap_or(0)
}

/// Lowers `next` to the time of the next repetition of a firing violation.
pub(super) fn keep_next_repetition(
    violation: &Tracked,
    period: SignedDuration,
    now: Timestamp,
    next: &mut Option<Timestamp>,
) {
    let done = violation
        .event
        .map_or_else(|| repeats(violation, period, now), |event| event.repeats);
    if let (Some(since), Ok(n)) = (violation.firing_since, i32::try_from(done.saturating_add(1))) {
        keep_earliest(next, later(since, period.saturating_mul(n)), now);
    }
}

/// Records that an earlier process has written the Event with this hash, and its repetitions until `now`.
pub(super) fn adopt(
    violation: &mut Tracked,
    hash: u64,
    period: SignedDuration,
    now: Timestamp,
    written: &mut Box<[WrittenEvent]>,
) {
    let repeats = repeats(violation, period, now);
    record(written, hash, repeats.saturating_add(1));
    violation.event = Some(FiringEvent {
        hash,
        before: 0,
        repeats,
    });
}

/// The name of the object, truncated if necessary, and the hash.
pub(super) fn event_name(pod: &str, hash: u64) -> String {
    const HASH: usize = 17;
    let cut = pod
        .get(..pod.floor_char_boundary(NAME_LIMIT - HASH))
        .unwrap_or_default();
    format!("{}.{hash:016x}", cut.trim_end_matches(['.', '-']))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::testing::policy;

    #[test]
    fn a_long_note_ends_with_the_whole_url_of_the_runbook() {
        let url = format!("https://example/{}", "x".repeat(496));
        let policy = policy().with(|p| p.runbook_url = url.as_str().into());
        let mut note = "€".repeat(300);
        add_runbook(&mut note, &policy);
        assert_eq!(note, format!("{} Runbook: {url}", "€".repeat(167)));
        assert!(note.len() <= NOTE_LIMIT);
    }
}
