//! What the violations of workloads and of images have in common: their state, evaluation, Events, queue and storage.
//!
//! A check on such subjects keeps its own facts. [`SubjectFacts`] is what it says about one subject now.

mod events;
mod queue;
mod stored;

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use self::events::SubjectEvents;
pub(super) use self::queue::Queue;
use super::{
    entry::PolicyEntry,
    pods::WrittenEvent,
    series::{SeriesKey, subject_series},
};
use crate::domain::{
    checks::{Common, Fault},
    effects::{Change, Effects, Transition},
    histogram::Histogram,
    history::Observed,
    policy::{Check, Policy, PolicyKey},
    tracker::Tracked,
    violation::{Subject, Violation},
};

/// The violation of a subject under a policy, and its Events.
#[derive(Debug, Default)]
pub(super) struct SubjectState {
    /// The violation.
    pub(super) tracked: Option<Tracked>,
    /// What the lists and counts of the policy contain.
    pub(super) shown: Option<Shown>,
    /// The Events of the subject.
    pub(super) written: Box<[WrittenEvent]>,
}

/// A violation as the lists and counts of its policy contain it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) violation: Violation,
    /// Its series and the number of Pods, if it is visible.
    pub(super) series: Option<(SeriesKey, u64)>,
}

/// A subject that a check covers now.
pub(super) trait SubjectFacts {
    /// The check.
    fn check(&self) -> Check;

    /// The subject.
    fn subject(&self) -> Subject;

    /// How long the fault must last before the violation fires.
    fn hold_for(&self) -> SignedDuration;

    /// The number of Pods that fail; 0 if the subject does not fail.
    fn failing(&self) -> u32;

    /// The time at which the fault began, as far as the API shows it.
    fn since(&self) -> Option<Timestamp>;

    /// The UID of the object, for an Event about a workload; empty if it is not known.
    fn uid(&self) -> Arc<str> {
        Arc::default()
    }

    /// A text that differs between two episodes of the subject. It is computed from the objects only.
    fn episode(&self) -> &str;

    /// The note of the Event.
    fn note(&self, policy: &PolicyKey) -> String;

    /// The note of the Event about the end.
    fn recovered(&self, policy: &PolicyKey, duration: SignedDuration) -> String;
}

/// The time of an evaluation, and what it changes.
pub(super) struct Step<'a> {
    pub(super) now: Timestamp,
    pub(super) observed: Observed,
    pub(super) durations: &'a mut Histogram,
    pub(super) effects: &'a mut Effects,
}

impl SubjectState {
    /// Advances the violation under a policy. Without `facts` the policy does not cover the subject any more, and the violation
    /// ends without an Event. Returns the next time at which time alone changes something.
    pub(super) fn evaluate(
        &mut self,
        mut policy: Option<&mut PolicyEntry>,
        covered: Option<(&Policy, &dyn SubjectFacts)>,
        step: Step<'_>,
    ) -> Option<Timestamp> {
        let Step {
            now,
            observed,
            durations,
            effects,
        } = step;
        let shown = self.shown.take();
        if let (Some(policy), Some(shown)) = (&mut policy, &shown) {
            policy.remove_subject(shown);
        }
        let mut deadline = None;
        let mut change = None;
        let before = self.tracked.take();
        if let (Some(policy), Some((spec, facts))) = (&mut policy, covered) {
            let (tracked, changed) = advance(before, facts, (now, observed), &mut deadline);
            if let Some(mut tracked) = tracked {
                let mut planner = SubjectEvents {
                    policy,
                    spec,
                    facts,
                    written: &mut self.written,
                    now,
                    events: &mut effects.events,
                };
                planner.plan(&mut tracked, changed, &mut deadline);
                let violation = violation(policy, spec, facts, &tracked);
                change = changed.map(|change| (violation.clone(), change));
                match changed {
                    Some(Change::Firing) if !tracked.counted => policy.count_fired(facts.check()),
                    Some(Change::Resolved) => durations.observe(now.duration_since(tracked.onset)),
                    _ => {}
                }
                if facts.failing() > 0 {
                    let visible = tracked.visible;
                    let series = visible.then(|| (subject_series(&violation), u64::from(facts.failing())));
                    self.tracked = Some(Tracked {
                        counted: tracked.counted || tracked.is_firing(),
                        ..tracked
                    });
                    let shown = Shown { violation, series };
                    policy.add_subject(&shown);
                    self.shown = Some(shown);
                }
            }
        } else {
            let ended = shown.as_ref().map(|shown| shown.violation.clone());
            change = ended.map(|violation| (violation, Change::Ended));
        }
        let is_seen = |shown: &Option<Shown>| shown.as_ref().is_some_and(|shown| shown.violation.visible);
        if is_seen(&shown) || is_seen(&self.shown) {
            effects.changed.extend(policy.map(|policy| policy.key.clone()));
        }
        effects
            .transitions
            .extend(change.map(|(violation, to)| Transition {
                violation,
                to,
                at: now,
            }));
        deadline
    }
}

fn violation(policy: &PolicyEntry, spec: &Policy, facts: &dyn SubjectFacts, tracked: &Tracked) -> Violation {
    let check = facts.check();
    let Common { severity, .. } = spec.checks.common(check);
    Violation {
        policy: policy.key.clone(),
        check,
        severity,
        mode: spec.mode_of(check),
        subject: facts.subject(),
        firing: tracked.is_firing(),
        visible: tracked.visible,
        onset: tracked.onset,
    }
}

/// Advances the violation of a covered subject. Returns it, also if it ends now, and its state change.
fn advance(
    before: Option<Tracked>,
    facts: &dyn SubjectFacts,
    (now, observed): (Timestamp, Observed),
    deadline: &mut Option<Timestamp>,
) -> (Option<Tracked>, Option<Change>) {
    if facts.failing() == 0 {
        let change = before.as_ref().map(Tracked::end_of_fault);
        return (before, change);
    }
    let is_new = before.is_none();
    let mut tracked = before.unwrap_or_else(|| {
        let fault = Fault::lasting(0, facts.since());
        Tracked::new((0, facts.check()), &fault, now, observed)
    });
    let change = tracked.fail(facts.hold_for(), is_new, now, deadline);
    (Some(tracked), change)
}
