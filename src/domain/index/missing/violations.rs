//! Evaluates the workloads that lack a sidecar. Returns transitions and Events.

use jiff::Timestamp;

use super::{Facts, FactsKey, Shown, events::WorkloadEvents};
use crate::domain::{
    checks::{Common, Fault, sidecar_missing::MissingFacts},
    effects::{Change, Effects, Transition},
    expected::Expected,
    history::Observed,
    index::{Index, entry::PolicyEntry, series::workload_series},
    policy::Check,
    tracker::Tracked,
    violation::{Subject, Violation},
};

const CHECK: Check = Check::SidecarMissing;

impl Index {
    /// Evaluates at most `units` changed workloads.
    pub(in crate::domain::index) fn evaluate_workloads(
        &mut self,
        mut units: usize,
        now: Timestamp,
        effects: &mut Effects,
    ) {
        let had_work = self.missing.has_work();
        while units > 0
            && let Some((key, observed)) = self.missing.next_changed()
        {
            units -= 1;
            if self.watches.held_since(&key.subject.namespace).is_some() {
                self.missing.hold(key, observed);
            } else {
                self.evaluate_workload(&key, observed, now, effects);
            }
        }
        if had_work && !self.missing.has_work() {
            self.drop_stored();
        }
    }

    /// Evaluates the workload whose deadline is `at`.
    pub(in crate::domain::index) fn reach_workload_deadline(
        &mut self,
        key: FactsKey,
        at: Timestamp,
        effects: &mut Effects,
    ) {
        if self.watches.held_since(&key.subject.namespace).is_some() {
            self.missing.hold(key, Observed::Live);
        } else {
            self.evaluate_workload(&key, Observed::Live, at, effects);
        }
    }

    fn evaluate_workload(
        &mut self,
        key: &FactsKey,
        observed: Observed,
        now: Timestamp,
        effects: &mut Effects,
    ) {
        self.missing.set_deadline(key, None);
        self.take_stored(key, now);
        let Self {
            missing,
            policies,
            durations,
            ..
        } = self;
        let Some(facts) = missing.facts.get_mut(key) else {
            return;
        };
        let mut policy = policies.get_mut(&key.policy);
        let shown = facts.shown.take();
        if let (Some(policy), Some(shown)) = (&mut policy, &shown) {
            policy.remove_workload(shown);
        }
        let version = policy.as_ref().and_then(|policy| policy.latest.clone());
        let spec = version.as_ref().map(|version| &version.spec);
        let entry = spec.and_then(|spec| spec.expected_sidecar(&key.subject.sidecar));
        let mut deadline = None;
        let mut change = None;
        let before = facts.tracked.take();
        match (&mut policy, spec, entry) {
            (Some(policy), Some(spec), Some(entry)) if facts.required > 0 => {
                let (tracked, changed) = step(facts, before, entry, (now, observed), &mut deadline);
                if let Some(mut tracked) = tracked {
                    let mut planner = WorkloadEvents {
                        policy,
                        spec,
                        entry,
                        key,
                        facts,
                        now,
                        events: &mut effects.events,
                    };
                    planner.plan(&mut tracked, changed, &mut deadline);
                    let Common { severity, .. } = spec.checks.common(CHECK);
                    let violation = Violation {
                        policy: policy.key.clone(),
                        check: CHECK,
                        severity,
                        mode: spec.mode_of(CHECK),
                        subject: Subject::Workload(key.subject.clone()),
                        firing: tracked.is_firing(),
                        visible: tracked.visible,
                        onset: tracked.onset,
                    };
                    change = changed.map(|change| (violation.clone(), change));
                    match changed {
                        Some(Change::Firing) if !tracked.counted => policy.count_fired(CHECK),
                        Some(Change::Resolved) => durations.observe(now.duration_since(tracked.onset)),
                        _ => {}
                    }
                    if facts.lacking() > 0 {
                        let visible = tracked.visible;
                        let series =
                            visible.then(|| (workload_series(&violation), u64::from(facts.lacking())));
                        facts.tracked = Some(Tracked {
                            counted: tracked.counted || tracked.is_firing(),
                            ..tracked
                        });
                        let shown = Shown { violation, series };
                        policy.add_workload(&shown);
                        facts.shown = Some(shown);
                    }
                }
            }
            _ => {
                let ended = shown.as_ref().map(|shown| shown.violation.clone());
                change = ended.map(|violation| (violation, Change::Ended));
            }
        }
        let is_seen = |shown: &Option<Shown>| shown.as_ref().is_some_and(|shown| shown.violation.visible);
        if is_seen(&shown) || is_seen(&facts.shown) {
            effects.changed.extend(policy.map(|policy| policy.key.clone()));
        }
        let transition = change.map(|(violation, to)| Transition {
            violation,
            to,
            at: now,
        });
        effects.transitions.extend(transition);
        if facts.required == 0 {
            missing.facts.remove(key);
        } else {
            missing.set_deadline(key, deadline);
        }
    }
}

/// Advances the violation of a workload with Pods that must have the sidecar. Returns it, also if it ends now, and its state
/// change.
fn step(
    facts: &Facts,
    before: Option<Tracked>,
    entry: &Expected,
    (now, observed): (Timestamp, Observed),
    deadline: &mut Option<Timestamp>,
) -> (Option<Tracked>, Option<Change>) {
    let Some((oldest, ..)) = facts.lacking.first() else {
        let change = before.as_ref().map(|tracked| {
            if tracked.is_firing() {
                Change::Resolved
            } else {
                Change::Cleared
            }
        });
        return (before, change);
    };
    let is_new = before.is_none();
    let mut tracked = before.unwrap_or_else(|| {
        let fault = Fault {
            container_idx: 0,
            since: *oldest,
            until: None,
            instant: false,
        };
        Tracked::new((0, CHECK), &fault, now, observed)
    });
    let change = tracked.fail(entry.hold_for, is_new, now, deadline);
    (Some(tracked), change)
}

impl Facts {
    /// The facts for the messages.
    pub(in crate::domain::index) fn messages<'a>(
        &'a self,
        key: &'a FactsKey,
        policy: &PolicyEntry,
    ) -> MissingFacts<'a> {
        MissingFacts {
            namespace: &key.subject.namespace,
            workload: &key.subject.workload,
            sidecar: &key.subject.sidecar,
            required: self.required,
            lacking: self.lacking(),
            before_policy: self.before(policy.created),
            example: self.lacking.last().map_or("", |(_, _, name)| name),
        }
    }
}
