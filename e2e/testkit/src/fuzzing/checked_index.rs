//! An index that verifies its invariants after every update.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use sidewatch::{
    domain::{
        effects::{Change, Effects, Event, Transition},
        index::Index,
        observation::{Observation, Workload},
        policy::{Check, PolicyKey, PolicyKind, PolicyUpdate},
        summary::{LISTED_VIOLATIONS, Report, ReportedViolation},
        violation::ViolationKey,
    },
    kubernetes::decode::{
        intern::Interner,
        pod::{LeanPod, observe},
    },
};

use crate::policies;

/// Two indexes with the same inputs. The timer of one is always on time. The timer of the other fires only right before an
/// input.
pub(crate) struct CheckedIndex {
    punctual: Index,
    late: Index,
    now: Timestamp,
    effects: Effects,
    late_effects: Effects,
    /// Whether each violation fires, according to the transitions.
    firing: BTreeMap<ViolationKey, bool>,
    /// The names of each Pod's containers, which the API server never lets change.
    containers: BTreeMap<String, Vec<String>>,
}

/// An input of the index.
#[derive(Clone)]
pub(crate) enum Input<'a> {
    /// The current state of a Pod.
    Pod(&'a Observation),
    /// The deletion of a Pod.
    PodDeleted(&'a Observation),
    /// The current version of a policy.
    Policy(&'a PolicyUpdate),
    /// The deletion of a policy.
    PolicyDeleted(&'a PolicyKey),
}

/// Returns a policy of the namespace `pay` with this spec.
pub(crate) fn policy(name: &str, spec: &Value) -> PolicyUpdate {
    policies::policy(PolicyKind::SidecarPolicy, name, 1, spec)
}

impl CheckedIndex {
    /// Creates an index with these policies and without Pods.
    pub(crate) fn new(policies: &[PolicyUpdate]) -> Self {
        let empty = || {
            let mut index = Index::new([None], false);
            index.begin_resync(&None, Timestamp::MIN);
            drop(index.finish_resync(&None, at(0)));
            index
        };
        let mut checked = Self {
            punctual: empty(),
            late: empty(),
            now: at(0),
            effects: Effects::default(),
            late_effects: Effects::default(),
            firing: BTreeMap::new(),
            containers: BTreeMap::new(),
        };
        for policy in policies {
            checked.take(&Input::Policy(policy));
        }
        checked
    }

    /// Advances the clock by seconds.
    pub(crate) fn pass(&mut self, seconds: u32) {
        self.now += SignedDuration::from_secs(i64::from(seconds));
        while let Some(due) = self.punctual.next_deadline().filter(|due| *due <= self.now) {
            let effects = self.punctual.tick(due);
            let next = self.punctual.next_deadline();
            assert!(
                next.is_none_or(|next| next > due),
                "a deadline that was handled is due again"
            );
            self.record(effects);
        }
    }

    /// Applies an input twice, if the API server can report it. The API server never changes the containers of a Pod.
    pub(crate) fn take(&mut self, input: &Input<'_>) {
        if !self.is_possible(input) {
            return;
        }
        let effects = apply(&mut self.punctual, input, self.now);
        self.record(effects);
        let again = apply(&mut self.punctual, input, self.now);
        assert_eq!(again, Effects::default(), "a repeated input has effects");
        let overdue = self.late.tick(self.now);
        self.late_effects.append(overdue);
        let late = apply(&mut self.late, input, self.now);
        self.late_effects.append(late);
        assert_eq!(self.effects, self.late_effects, "a late timer makes a difference");
        self.effects = Effects::default();
        self.late_effects = Effects::default();
        self.check();
    }

    fn is_possible(&mut self, input: &Input<'_>) -> bool {
        match input {
            Input::Pod(pod) => {
                let containers = pod.shape.containers.iter().map(|c| c.name.to_string());
                let containers: Vec<String> = containers.collect();
                let key = format!("{}/{}", pod.namespace, pod.uid);
                *self.containers.entry(key).or_insert_with(|| containers.clone()) == containers
            }
            Input::PodDeleted(pod) => {
                self.containers.remove(&format!("{}/{}", pod.namespace, pod.uid));
                true
            }
            Input::Policy(_) | Input::PolicyDeleted(_) => true,
        }
    }

    fn record(&mut self, effects: Effects) {
        for transition in &effects.transitions {
            follow(&mut self.firing, transition);
        }
        for event in &effects.events {
            check_event(event);
        }
        self.effects.append(effects);
    }

    fn check(&self) {
        for violation in self.punctual.violations() {
            assert!(
                violation.onset <= self.now,
                "an onset in the future: {violation:?}"
            );
        }
        let policies: Vec<PolicyKey> = self
            .punctual
            .policies()
            .map(|policy| policy.key.clone())
            .collect();
        for key in &policies {
            let report = self.punctual.report(key).unwrap();
            let visible = self
                .punctual
                .violations()
                .filter(|violation| violation.policy == *key && violation.visible);
            let visible: Vec<bool> = visible.map(|violation| violation.firing).collect();
            check_report(&report, key, &visible);
            let shown = self
                .punctual
                .violations()
                .filter(|violation| violation.policy == *key);
            let mut shown: Vec<bool> = shown.map(|violation| violation.firing).collect();
            let mut expected = self.states(key);
            shown.sort_unstable();
            expected.sort_unstable();
            assert_eq!(shown, expected, "{key}: transitions do not match the violations");
            assert_eq!(
                self.late.report(key).as_ref(),
                Some(&report),
                "{key}: a late timer makes a difference"
            );
        }
        let due = self.punctual.next_deadline();
        assert!(due.is_none_or(|due| due > self.now), "a deadline passed: {due:?}");
    }

    /// Returns whether each violation of a policy fires, according to the transitions.
    fn states(&self, policy: &PolicyKey) -> Vec<bool> {
        let of_policy = self.firing.iter().filter(|(key, _)| key.policy == *policy);
        of_policy.map(|(_, firing)| *firing).collect()
    }

    /// Decodes the Pods of watch events, 45 s apart, and applies them. `true` stands for a deletion. Then deletes all Pods.
    pub(crate) fn replay(mut self, events: impl IntoIterator<Item = (LeanPod, bool)>) {
        let mut interner = Interner::default();
        let mut alive = Vec::new();
        for (pod, is_deleted) in events {
            let Ok(observation) = observe(pod, &mut interner) else {
                continue;
            };
            let Workload { kind, name } = &*observation.workload;
            assert!(kind.len() <= 253 && name.len() <= 253);
            self.pass(45);
            if is_deleted {
                self.take(&Input::PodDeleted(&observation));
            } else {
                self.take(&Input::Pod(&observation));
                alive.push(observation);
            }
        }
        self.empty(&alive);
    }

    /// Returns the report of a policy.
    pub(crate) fn report(&self, key: &PolicyKey) -> Option<Report> {
        self.punctual.report(key)
    }

    /// Deletes these Pods. The index must be empty afterwards.
    pub(crate) fn empty(mut self, pods: &[Observation]) {
        for pod in pods {
            self.take(&Input::PodDeleted(pod));
        }
        let index = &self.punctual;
        assert_eq!(index.tracked_pods(), 0);
        assert_eq!(index.violations().count(), 0, "violations without Pods");
        assert_eq!(index.restarts().count(), 0, "restarts without Pods");
        assert_eq!(index.next_deadline(), None, "deadlines without Pods");
        for policy in index.policies() {
            assert_eq!(policy.pods, 0);
            assert!(policy.containers.iter().all(|(_, n)| *n == 0));
        }
    }
}

/// The instant `seconds` after the start.
fn at(seconds: i64) -> Timestamp {
    let beginning: Timestamp = "2026-11-21T09:50:00Z".parse().unwrap();
    beginning + SignedDuration::from_secs(seconds)
}

fn apply(index: &mut Index, input: &Input<'_>, now: Timestamp) -> Effects {
    match input {
        Input::Pod(pod) => index.apply((*pod).clone(), now),
        Input::PodDeleted(pod) => index.delete(&pod.namespace, &pod.uid, now),
        Input::Policy(update) => index.apply_policy((*update).clone(), now),
        Input::PolicyDeleted(key) => index.delete_policy(key, now),
    }
}

/// Applies a transition to the states. Panics if the transition does not fit the state.
fn follow(states: &mut BTreeMap<ViolationKey, bool>, transition: &Transition) {
    let Transition { violation, to, at: _ } = transition;
    let key = violation.key();
    let before = states.get(&key).copied();
    let fits = match to {
        Change::Pending => before != Some(false),
        Change::Firing => before != Some(true),
        Change::Cleared => before == Some(false),
        Change::Resolved => before == Some(true),
        Change::Ended => before.is_some(),
    };
    assert!(fits, "{transition:?} when firing was {before:?}");
    match to {
        Change::Pending => states.insert(key, false),
        Change::Firing => states.insert(key, true),
        Change::Cleared | Change::Resolved | Change::Ended => states.remove(&key),
    };
}

fn check_event(event: &Event) {
    assert!(event.note.len() <= 1024, "{} bytes of note", event.note.len());
    assert!(event.name.len() <= 253, "{} bytes of name", event.name.len());
    let path = &event.regarding.field_path;
    assert!(path.starts_with("spec."), "{path}");
}

/// Compares a report with the visible violations, of which `true` fires.
fn check_report(report: &Report, key: &PolicyKey, violations: &[bool]) {
    let all = violations.len();
    let firing = violations.iter().filter(|firing| **firing).count();
    assert_eq!(report.summary.firing as usize, firing, "{key}: {report:?}");
    assert_eq!(report.summary.pending as usize, all - firing, "{key}: {report:?}");
    assert_eq!(
        report.violations.len(),
        all.min(LISTED_VIOLATIONS),
        "{key}: {report:?}"
    );
    assert_eq!(
        report.violations.len() + report.omitted as usize,
        all,
        "{key}: {report:?}"
    );
    let (sum_firing, sum_pending) = report.checks.iter().fold((0, 0), |(firing, pending), counts| {
        (firing + counts.firing, pending + counts.pending)
    });
    assert_eq!(
        (sum_firing, sum_pending),
        (report.summary.firing, report.summary.pending),
        "{key}"
    );
    let checks: BTreeSet<Check> = report.checks.iter().map(|counts| counts.check).collect();
    assert_eq!(
        checks.len(),
        report.checks.len(),
        "{key}: a check is reported twice"
    );
    let worst_first = |pair: &[ReportedViolation]| pair[0].violation.severity >= pair[1].violation.severity;
    assert!(report.violations.windows(2).all(worst_first), "{key}: {report:?}");
    let [_, healthy, _] = &report.conditions;
    if healthy.status.is_some() {
        assert_eq!(healthy.status, Some(firing == 0), "{key}: {healthy:?}");
    }
}
