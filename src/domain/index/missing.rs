//! The workloads whose Pods must have a sidecar that a policy expects, and the violations of those that lack it.
//!
//! The facts of a workload are kept with each Pod that comes, changes and goes. A workload whose facts change is queued in
//! `changed`. [`Index::work`] evaluates it after all other work, so that all Pods of an edit or a list are known; while the
//! watch of its Pods is held, it waits.

mod events;
mod stored;
mod violations;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::Timestamp;

use super::{
    Index,
    entry::{PolicyEntry, PolicyId},
    matches::{MatchSet, Version},
    pods::WrittenEvent,
    series::SeriesKey,
    watches::{Scope, covers},
};
use crate::domain::{
    history::Observed,
    observation::Observation,
    tracker::Tracked,
    violation::{Violation, WorkloadSubject},
};

/// A workload and a sidecar that a policy expects in its Pods.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FactsKey {
    pub(super) policy: PolicyId,
    pub(super) subject: WorkloadSubject,
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
    pub(super) tracked: Option<Tracked>,
    /// What the lists and counts of the policy contain.
    pub(super) shown: Option<Shown>,
    /// The Events of the workload.
    pub(super) written: Box<[WrittenEvent]>,
    /// The next time at which time alone changes the violation, as in `deadlines`.
    pub(super) deadline: Option<Timestamp>,
}

/// A violation as the lists and counts of its policy contain it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) violation: Violation,
    /// Its series and the number of Pods, if it is visible.
    pub(super) series: Option<(SeriesKey, u64)>,
}

/// The facts of all workloads.
#[derive(Debug, Default)]
pub(super) struct Missing {
    pub(super) facts: BTreeMap<FactsKey, Facts>,
    /// The workloads to evaluate, and how their latest change was observed.
    changed: BTreeMap<FactsKey, Observed>,
    /// The workloads to evaluate after the hold of their watch.
    held: BTreeMap<FactsKey, Observed>,
    pub(super) deadlines: BTreeSet<(Timestamp, FactsKey)>,
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
            self.mark(key.clone(), observed(key.policy));
        }
        for (key, lacks) in new {
            if old.get(&key) == Some(&lacks) {
                if version(before, key.policy) != version(after, key.policy) {
                    self.mark(key.clone(), observed(key.policy));
                }
                continue;
            }
            let facts = self.facts.entry(key.clone()).or_default();
            facts.required += 1;
            if lacks {
                facts.lacking.insert(lacking(after.0));
            }
            let policy = key.policy;
            self.mark(key, observed(policy));
        }
    }

    fn mark(&mut self, key: FactsKey, observed: Observed) {
        let kept = self.changed.entry(key).or_insert(observed);
        *kept = observed.max(*kept);
    }

    /// Whether a workload has to be evaluated.
    pub(super) fn has_work(&self) -> bool {
        !self.changed.is_empty()
    }

    /// Whether a workload has to be evaluated under a policy.
    pub(super) fn has_work_for(&self, policy: PolicyId) -> bool {
        let subject = WorkloadSubject {
            namespace: Arc::default(),
            workload: Arc::default(),
            sidecar: Arc::default(),
        };
        let mut following = self.changed.range(FactsKey { policy, subject }..);
        following.next().is_some_and(|(key, _)| key.policy == policy)
    }

    pub(super) fn next_changed(&mut self) -> Option<(FactsKey, Observed)> {
        self.changed.pop_first()
    }

    /// Lets a workload wait for the end of the hold.
    pub(super) fn hold(&mut self, key: FactsKey, observed: Observed) {
        self.clear_deadline(&key);
        let kept = self.held.entry(key).or_insert(observed);
        *kept = observed.max(*kept);
    }

    /// Queues the workloads that waited for the end of the hold of a watch, and those whose deadlines have passed.
    pub(super) fn release(&mut self, scope: &Scope, now: Timestamp) {
        let due = self.deadlines.iter().take_while(|(at, _)| *at <= now);
        let due: Vec<FactsKey> = due
            .map(|(_, key)| key.clone())
            .filter(|key| covers(scope, &key.subject.namespace))
            .collect();
        for key in due {
            self.clear_deadline(&key);
            self.mark(key, Observed::Live);
        }
        let held = std::mem::take(&mut self.held);
        for (key, observed) in held {
            if covers(scope, &key.subject.namespace) {
                self.mark(key, observed);
            } else {
                self.held.insert(key, observed);
            }
        }
    }

    pub(super) fn set_deadline(&mut self, key: &FactsKey, deadline: Option<Timestamp>) {
        self.clear_deadline(key);
        if let (Some(facts), Some(at)) = (self.facts.get_mut(key), deadline) {
            facts.deadline = Some(at);
            self.deadlines.insert((at, key.clone()));
        }
    }

    /// Removes and returns the first deadline that is not after `now`.
    pub(super) fn take_due(&mut self, now: Timestamp) -> Option<(Timestamp, FactsKey)> {
        let is_due = self.deadlines.first().is_some_and(|(at, _)| *at <= now);
        let (at, key) = is_due.then(|| self.deadlines.pop_first()).flatten()?;
        if let Some(facts) = self.facts.get_mut(&key) {
            facts.deadline = None;
        }
        Some((at, key))
    }

    fn clear_deadline(&mut self, key: &FactsKey) {
        let deadline = self.facts.get_mut(key).and_then(|facts| facts.deadline.take());
        if let Some(at) = deadline {
            self.deadlines.remove(&(at, key.clone()));
        }
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
        Some(facts.messages(key, policy).detail())
    }

    /// The violation of a workload.
    pub(super) fn tracked(&self, policy: PolicyId, subject: WorkloadSubject) -> Option<&Tracked> {
        self.facts.get(&FactsKey { policy, subject })?.tracked.as_ref()
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
