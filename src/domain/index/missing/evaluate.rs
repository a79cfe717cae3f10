//! Evaluates the workloads that lack a sidecar.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::{Facts, FactsKey};
use crate::domain::{
    checks::sidecar_missing::MissingFacts,
    effects::Effects,
    history::Observed,
    index::{
        Index,
        checkpoint::Export,
        entry::{PolicyEntry, PolicyId},
        subjects::{Step, SubjectFacts},
        work::Work,
    },
    observation::Workload,
    policy::{Check, PolicyKey},
    violation::Subject,
};

const CHECK: Check = Check::SidecarMissing;

/// A workload with Pods that must have a sidecar.
struct Covered<'a> {
    key: &'a FactsKey,
    facts: &'a Facts,
    hold_for: SignedDuration,
    /// The creation of the policy.
    policy_created: Timestamp,
}

impl SubjectFacts for Covered<'_> {
    fn check(&self) -> Check {
        CHECK
    }

    fn subject(&self) -> Subject {
        Subject::Workload(self.key.subject.clone())
    }

    fn hold_for(&self) -> SignedDuration {
        self.hold_for
    }

    fn failing(&self) -> u32 {
        self.facts.lacking()
    }

    fn since(&self) -> Option<Timestamp> {
        self.facts.lacking.first()?.0
    }

    fn uid(&self) -> Arc<str> {
        // A Pod without an owner is its own workload, and its UID is known. A Pod can also own others.
        let Workload { kind, name } = &*self.key.subject.workload;
        let mut pods = self.facts.lacking.iter().rev();
        let pod = pods.find(|(_, _, pod)| &**kind == "Pod" && pod == name);
        pod.map(|(_, uid, _)| Arc::clone(uid)).unwrap_or_default()
    }

    /// The oldest Pod.
    fn episode(&self) -> &str {
        self.facts.lacking.first().map_or("", |(_, uid, _)| uid)
    }

    fn note(&self, policy: &PolicyKey) -> String {
        self.messages().note(policy, self.hold_for)
    }

    fn recovered(&self, policy: &PolicyKey, duration: SignedDuration) -> String {
        self.messages().recovered(policy, duration)
    }
}

impl Covered<'_> {
    fn messages(&self) -> MissingFacts<'_> {
        self.facts.messages(self.key, self.policy_created)
    }
}

impl Index {
    /// Evaluates at most `units` changed workloads, except those whose policy has work. Returns the remaining units.
    pub(in crate::domain::index) fn evaluate_workloads(
        &mut self,
        mut units: usize,
        now: Timestamp,
        effects: &mut Effects,
    ) -> usize {
        let had_work = self.missing.queue.has_work();
        let mut from = FactsKey::first_of(PolicyId::MIN);
        while units > 0
            && let Some((key, observed)) = self.missing.queue.next_changed(&mut from, |key| {
                let waits = self.work.contains(&Work::Policy(key.policy));
                waits.then(|| FactsKey::first_of(key.policy + 1))
            })
        {
            units -= 1;
            if self.watches.held_since(&key.subject.namespace).is_some() {
                self.missing.queue.hold(key, observed);
            } else {
                self.evaluate_workload(&key, observed, now, effects);
            }
        }
        if had_work && !self.missing.queue.has_work() {
            self.drop_stored();
        }
        units
    }

    /// Evaluates the workload whose deadline is `at`.
    pub(in crate::domain::index) fn reach_workload_deadline(
        &mut self,
        key: FactsKey,
        at: Timestamp,
        effects: &mut Effects,
    ) {
        if self.watches.held_since(&key.subject.namespace).is_some() {
            self.missing.queue.hold(key, Observed::Live);
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
        self.missing.queue.set_deadline(key, None);
        let Self {
            missing,
            policies,
            durations,
            restored,
            ..
        } = self;
        let Some(facts) = missing.facts.get_mut(key) else {
            return;
        };
        let mut state = std::mem::take(&mut facts.state);
        let mut policy = policies.get_mut(&key.policy).map(|policy| &mut **policy);
        let version = policy.as_ref().and_then(|policy| policy.latest.clone());
        let spec = version.as_ref().map(|version| &version.spec);
        let entry = spec.and_then(|spec| spec.expected_sidecar(&key.subject.sidecar));
        let created = policy.as_ref().map(|policy| policy.created);
        let covered = spec.zip(entry).zip(created).filter(|_| facts.required > 0);
        let covered = covered.map(|((spec, entry), policy_created)| {
            let covered = Covered {
                key,
                facts,
                hold_for: entry.hold_for,
                policy_created,
            };
            (spec, covered)
        });
        let covered = covered
            .as_ref()
            .map(|(spec, covered)| (*spec, covered as &dyn SubjectFacts));
        if let (Some(policy), Some(covered)) = (policy.as_deref_mut(), covered) {
            state.take_stored((policy, restored), covered, now);
        }
        let step = Step {
            now,
            observed,
            durations,
            effects,
        };
        let deadline = state.evaluate(policy, covered, step);
        facts.state = state;
        if facts.required == 0 {
            missing.facts.remove(key);
        } else {
            missing.queue.set_deadline(key, deadline);
        }
    }

    /// Adds the workloads with a violation or Events to a checkpoint.
    pub(in crate::domain::index) fn export_workloads(&self, export: &mut Export) {
        for (key, facts) in &self.missing.facts {
            let subject = Subject::Workload(key.subject.clone());
            let id = (key.policy, CHECK);
            facts.state.export(id, &subject, export);
        }
    }

    /// Joins a checkpoint to the workloads that are known.
    pub(in crate::domain::index) fn join_workloads(&mut self, now: Timestamp) {
        for (key, facts) in &mut self.missing.facts {
            let subject = Subject::Workload(key.subject.clone());
            let id = (key.policy, CHECK);
            facts
                .state
                .join(id, &subject, &self.policies, (&self.restored, now));
        }
    }
}

impl Facts {
    /// The facts for the messages.
    fn messages<'a>(&'a self, key: &'a FactsKey, policy_created: Timestamp) -> MissingFacts<'a> {
        MissingFacts {
            namespace: &key.subject.namespace,
            workload: &key.subject.workload,
            sidecar: &key.subject.sidecar,
            required: self.required,
            lacking: self.lacking(),
            before_policy: self.before(policy_created),
            example: self.lacking.last().map_or("", |(_, _, name)| name),
        }
    }

    /// The cause, for the status of the policy.
    pub(super) fn detail(&self, key: &FactsKey, policy: &PolicyEntry) -> String {
        self.messages(key, policy.created).detail()
    }
}
