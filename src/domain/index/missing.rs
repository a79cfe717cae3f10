//! The workloads whose Pods must have a sidecar that a policy expects, and the violations of those that lack it.
//!
//! The facts of a workload are kept with each Pod that comes, changes and goes. A workload whose facts change is queued.
//! [`Index::work`] evaluates it after the work on the cluster and on its policy, so that all Pods of an edit or a list are known;
//! while the watch of its Pods is held, it waits.

mod evaluate;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::Timestamp;

use super::{
    Index,
    entry::{PolicyEntry, PolicyId},
    matches::{MatchSet, Version},
    subjects::{Queue, SubjectState},
    watches::{Scope, covers},
};
use crate::domain::{
    history::Observed, observation::Observation, tracker::Tracked, violation::WorkloadSubject,
};

/// A workload and a sidecar that a policy expects in its Pods.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FactsKey {
    pub(super) policy: PolicyId,
    pub(super) subject: WorkloadSubject,
}

impl FactsKey {
    /// A key before all keys of a policy.
    pub(super) fn first_of(policy: PolicyId) -> Self {
        let subject = WorkloadSubject {
            namespace: Arc::default(),
            workload: Arc::default(),
            sidecar: Arc::default(),
        };
        Self { policy, subject }
    }
}

/// A Pod that lacks a sidecar: its creation, UID and name.
type Lacking = (Option<Timestamp>, Arc<str>, Arc<str>);

/// The Pods of a workload that must have a sidecar, and the violation.
#[derive(Debug, Default)]
pub(super) struct Facts {
    /// The number of Pods that must have it.
    pub(super) required: u32,
    /// Those that lack it, the newest last.
    pub(super) lacking: BTreeSet<Lacking>,
    /// The violation.
    pub(super) state: SubjectState,
}

/// The facts of all workloads.
#[derive(Debug, Default)]
pub(super) struct Missing {
    pub(super) facts: BTreeMap<FactsKey, Facts>,
    /// The workloads to evaluate.
    pub(super) queue: Queue<FactsKey>,
}

/// A Pod and the policies that select it.
type PodMatches<'a> = (&'a Observation, &'a MatchSet);

/// The facts to which a Pod contributes, and whether it lacks the sidecar.
fn contributions((pod, matches): PodMatches<'_>) -> BTreeMap<FactsKey, bool> {
    let mut found = BTreeMap::new();
    if pod.is_ending() || !matches.expects() {
        return found;
    }
    for matched in matches.iter() {
        for (entry, lacks) in matched.expectation.entries(&matched.version.spec.expected) {
            let subject = WorkloadSubject {
                namespace: Arc::clone(&pod.namespace),
                workload: Arc::clone(&pod.workload),
                sidecar: Arc::clone(&entry.name),
            };
            let policy = matched.version.policy;
            found.insert(FactsKey { policy, subject }, lacks);
        }
    }
    found
}

fn lacking(pod: &Observation) -> Lacking {
    (pod.created.get(), Arc::clone(&pod.uid), Arc::clone(&pod.name))
}

impl Missing {
    /// Counts the change of a Pod. `observed` is how the state under a policy was observed.
    pub(super) fn change(
        &mut self,
        before: PodMatches<'_>,
        after: PodMatches<'_>,
        observed: impl Fn(PolicyId) -> Observed,
    ) {
        if contribute_equally(before, after) {
            return;
        }
        let old = contributions(before);
        let new = contributions(after);
        for (key, lacks) in &old {
            if new.get(key) == Some(lacks) {
                continue;
            }
            if let Some(facts) = self.facts.get_mut(key) {
                facts.required -= 1;
                if *lacks {
                    facts.lacking.remove(&lacking(before.0));
                }
            }
            self.queue.mark(key.clone(), observed(key.policy));
        }
        for (key, lacks) in new {
            if old.get(&key) == Some(&lacks) {
                if version(before, key.policy) != version(after, key.policy) {
                    self.queue.mark(key.clone(), observed(key.policy));
                }
                continue;
            }
            let facts = self.facts.entry(key.clone()).or_default();
            facts.required += 1;
            if lacks {
                facts.lacking.insert(lacking(after.0));
            }
            let policy = key.policy;
            self.queue.mark(key, observed(policy));
        }
    }

    /// Whether a workload has to be evaluated under a policy.
    pub(super) fn has_work_for(&self, policy: PolicyId) -> bool {
        let next = self.queue.changed_from(&FactsKey::first_of(policy));
        next.is_some_and(|key| key.policy == policy)
    }

    /// Queues the workloads that waited for the end of the hold of a watch, and those whose deadlines have passed.
    pub(super) fn release(&mut self, scope: &Scope, now: Timestamp) {
        self.queue
            .release(now, |key| covers(scope, &key.subject.namespace));
    }

    /// The cause of a violation of a workload, for the status of its policy.
    pub(super) fn detail(
        &self,
        id: PolicyId,
        policy: &PolicyEntry,
        subject: &WorkloadSubject,
    ) -> Option<String> {
        let subject = subject.clone();
        let (key, facts) = self.facts.get_key_value(&FactsKey { policy: id, subject })?;
        Some(facts.detail(key, policy))
    }

    /// The violation of a workload.
    pub(super) fn tracked(&self, policy: PolicyId, subject: WorkloadSubject) -> Option<&Tracked> {
        self.facts
            .get(&FactsKey { policy, subject })?
            .state
            .tracked
            .as_ref()
    }
}

/// The version of a policy that selects the Pod.
fn version((_, matches): PodMatches<'_>, policy: PolicyId) -> Option<*const Version> {
    matches.get(policy).map(|matched| Arc::as_ptr(&matched.version))
}

/// Whether a Pod contributes the same before and after a change that no policy evaluates again. Most changes are of this kind,
/// so this does not compute the contributions.
fn contribute_equally((before, old): PodMatches<'_>, (after, new): PodMatches<'_>) -> bool {
    std::ptr::eq(old, new)
        && before.is_ending() == after.is_ending()
        && before.namespace == after.namespace
        && before.workload == after.workload
}

impl Facts {
    /// The number of Pods that lack the sidecar and were created before the policy.
    pub(super) fn before(&self, policy: Timestamp) -> u32 {
        let old = self
            .lacking
            .iter()
            .take_while(|(created, ..)| *created < Some(policy));
        u32::try_from(old.count()).unwrap_or(u32::MAX)
    }

    pub(super) fn lacking(&self) -> u32 {
        u32::try_from(self.lacking.len()).unwrap_or(u32::MAX)
    }
}

impl Index {
    /// How a change of the Pods of a namespace is observed now, under a policy that has evaluated them.
    pub(super) fn observed_now(&self, namespace: &str) -> Observed {
        if !self.watches.namespaces_synced {
            return Observed::Initial;
        }
        self.watches
            .held_since(namespace)
            .map_or(Observed::Live, Observed::AfterGap)
    }
}

#[cfg(test)]
impl Missing {
    /// The number of Pods that must have each sidecar, and the UIDs of those that lack it.
    pub(super) fn counts(&self) -> BTreeMap<FactsKey, (u32, BTreeSet<Lacking>)> {
        let facts = self.facts.iter().filter(|(_, facts)| facts.required > 0);
        facts
            .map(|(key, facts)| (key.clone(), (facts.required, facts.lacking.clone())))
            .collect()
    }

    /// The same from all Pods.
    pub(super) fn recount<'a>(
        pods: impl Iterator<Item = PodMatches<'a>>,
    ) -> BTreeMap<FactsKey, (u32, BTreeSet<Lacking>)> {
        let mut counts: BTreeMap<FactsKey, (u32, BTreeSet<Lacking>)> = BTreeMap::new();
        for (pod, matches) in pods {
            for (key, lacks) in contributions((pod, matches)) {
                let (required, of_lacking) = counts.entry(key).or_default();
                *required += 1;
                if lacks {
                    of_lacking.insert(lacking(pod));
                }
            }
        }
        counts
    }
}
