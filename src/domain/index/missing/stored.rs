//! Continues the violations of workloads that an earlier process stored, in a checkpoint or in the status of the policy, and
//! exports them to a checkpoint.
//!
//! In a checkpoint, a workload has the key of a Pod: its namespace, the name `Kind/name`, which no Pod has, and no UID.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;

use super::{Facts, FactsKey};
use crate::domain::{
    checkpoint::{Checkpoint, PodKey, ViolationId},
    index::{Index, pods::Findings},
    policy::Check,
    time::later,
    tracker::{Tracked, visible_after},
    violation::{SubjectKey, WorkloadSubject},
};

const CHECK: Check = Check::SidecarMissing;

fn pod_key(subject: &WorkloadSubject) -> PodKey {
    PodKey {
        namespace: Arc::clone(&subject.namespace),
        name: subject.workload.to_string().into(),
        uid: Arc::default(),
    }
}

impl Index {
    /// Adds the stored violation and the Events of a workload to its facts, the first time that it is evaluated.
    pub(super) fn take_stored(&mut self, key: &FactsKey, now: Timestamp) {
        let Some(facts) = self.missing.facts.get_mut(key) else {
            return;
        };
        let object = pod_key(&key.subject);
        if let Some(stored) = self
            .restored
            .pods
            .get(&object)
            .filter(|_| facts.written.is_empty())
        {
            // Several sidecars of a workload share the entry.
            facts.written = Findings::with_written(stored.written.clone()).written;
        }
        let Some(policy) = self.policies.get_mut(&key.policy) else {
            return;
        };
        if policy.stored.is_empty() {
            return;
        }
        let stored = policy.stored.take_workload(&object, &key.subject.sidecar);
        let is_it =
            |subject: &SubjectKey| matches!(subject, SubjectKey::Workload(other) if *other == key.subject);
        let status = &mut policy.stored.status;
        let position = status.iter().position(|stored| is_it(&stored.key.subject));
        let of_status = position.map(|position| status.remove(position));
        let Some(version) = policy.latest.clone() else {
            return;
        };
        let spec = &version.spec;
        let Some(entry) = spec.expected_sidecar(&key.subject.sidecar) else {
            return;
        };
        if facts.tracked.is_some() {
            return;
        }
        if let Some(stored) = stored {
            facts.tracked = Some(Tracked::continued(CHECK, &stored, now));
        } else if let Some(stored) = of_status {
            let firing_since = stored
                .firing
                .then(|| later(stored.onset, entry.hold_for).min(now));
            let mut tracked = Tracked {
                firing_since,
                visible: stored.firing || later(stored.onset, visible_after(entry.hold_for)) <= now,
                counted: stored.firing,
                ..Tracked::since(CHECK, stored.onset.min(now))
            };
            facts.take_over_event(&mut tracked, (policy, spec), key, now);
            facts.tracked = Some(tracked);
        }
    }

    /// Adds the workloads with a violation or Events to a checkpoint.
    pub(in crate::domain::index) fn export_workloads(&self, checkpoint: &mut Checkpoint) {
        for (key, facts) in &self.missing.facts {
            if facts.tracked.is_none() && facts.written.is_empty() {
                continue;
            }
            let object = pod_key(&key.subject);
            let state = checkpoint.pods.entry(object.clone()).or_default();
            for event in &facts.written {
                let times = state.written.entry(event.hash).or_default();
                *times = event.times.max(*times);
            }
            let policy = self.policies.get(&key.policy);
            let stored = policy.and_then(|policy| checkpoint.policies.get_mut(&policy.uid));
            if let (Some(tracked), Some(shown), Some(stored)) = (&facts.tracked, &facts.shown, stored) {
                let id = ViolationId {
                    pod: object,
                    container: Arc::clone(&key.subject.sidecar),
                    check: CHECK,
                };
                stored
                    .violations
                    .insert(id, tracked.exported(shown.violation.severity));
            }
        }
    }

    /// Joins a checkpoint to the workloads that are known.
    pub(in crate::domain::index) fn join_workloads(&mut self) {
        let Self {
            missing,
            policies,
            restored,
            ..
        } = self;
        for (key, facts) in &mut missing.facts {
            let object = pod_key(&key.subject);
            let Some(stored) = restored.pods.get(&object) else {
                continue;
            };
            facts.join_written(&stored.written);
            let Some(policy) = policies.get(&key.policy) else {
                continue;
            };
            let state = restored.policies.get(&policy.uid);
            let state = state.filter(|state| state.generation == policy.generation);
            let id = ViolationId {
                pod: object,
                container: Arc::clone(&key.subject.sidecar),
                check: CHECK,
            };
            let violation = state.and_then(|state| Some((state.as_of, state.violations.get(&id)?)));
            if let (Some(tracked), Some((as_of, violation))) = (&mut facts.tracked, violation) {
                tracked.join(violation, as_of, None);
            }
        }
    }
}

impl Facts {
    fn join_written(&mut self, others: &BTreeMap<u64, u32>) {
        let mut findings = Findings::default();
        std::mem::swap(&mut findings.written, &mut self.written);
        findings.merge_written(others);
        self.written = findings.written;
        let present = self.tracked.as_ref().and_then(|tracked| tracked.event);
        for event in &mut self.written {
            // The causes of present Events come no more.
            event.joined &= present.is_none_or(|present| present.hash != event.hash);
        }
    }
}
