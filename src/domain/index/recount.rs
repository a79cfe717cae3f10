//! For tests: recomputes all counts and lists of the index from its Pods and compares them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::Timestamp;

use super::{Index, PodEntry, PodKey, counts::Counts, series::WorkloadCounts};
use crate::domain::{
    effects::Effects, history::Observed, observation::Workload, roles::Roles, violation::ViolationKey,
};

impl Index {
    /// Panics if a count or a list differs from a recount, or if data of a deleted Pod remains.
    pub(crate) fn assert_counts(&self) {
        self.assert_policies();
        let mut workloads: BTreeMap<(Arc<str>, Arc<Workload>), u32> = BTreeMap::new();
        let mut deadlines = Vec::new();
        for (key, pod) in self.all_pods() {
            assert_eq!(pod.observation.uid, key.1);
            assert_eq!(pod.observation.namespace, key.0);
            *workloads
                .entry((key.0.clone(), pod.observation.workload.clone()))
                .or_default() += 1;
            deadlines.extend(pod.deadline.map(|at| (at, key.clone())));
            if !pod.observation.is_evaluated() {
                assert!(pod.history.is_none(), "not evaluated: no history");
                assert!(pod.deadline.is_none(), "not evaluated: no deadline");
                assert!(pod.matched.iter().all(|matched| matched.tracked.is_empty()));
            }
        }
        assert_eq!(self.deadlines, deadlines.into_iter().collect(), "deadlines");
        let counted: BTreeMap<_, _> = self.workloads.iter().map(|(k, n)| (k.clone(), *n)).collect();
        assert_eq!(counted, workloads, "Pods of each workload");
        for (namespace, entry) in &self.namespaces {
            let is_used = entry.labels.is_some() || !entry.pods.is_empty();
            assert!(is_used, "{namespace}: neither labels nor Pods");
        }
        for key in self.watches.waiting() {
            assert!(
                self.watches.held_since(&key.0).is_some(),
                "a Pod waits although its watch is not held"
            );
            let pods = self.namespaces.get(&key.0).map(|entry| &entry.pods);
            assert!(
                pods.is_some_and(|pods| pods.contains_key(&key.1)),
                "a deleted Pod waits"
            );
        }
    }

    fn assert_policies(&self) {
        assert_eq!(self.ids.len(), self.policies.len());
        for (id, policy) in &self.policies {
            assert_eq!(self.ids.get(&policy.key), Some(id));
            let (mut counts, mut violations) = (Counts::default(), BTreeSet::new());
            let mut workloads = WorkloadCounts::default();
            for (key, pod) in self.all_pods() {
                let labels = self.namespaces[&key.0].labels.as_deref();
                let matched = pod.matched.iter().find(|matched| matched.policy == *id);
                let should = policy.matches(&pod.observation, labels);
                assert_eq!(
                    matched.is_some(),
                    should,
                    "{} and {}",
                    policy.key,
                    pod.observation.name
                );
                let Some(matched) = matched else { continue };
                assert!(
                    matched.in_counts,
                    "{}: the Pod is in the counts after every step",
                    policy.key
                );
                let roles = Roles::assign(policy.policy.as_ref().unwrap(), &pod.observation.shape);
                assert_eq!(*matched.roles, roles);
                counts.add(&pod.observation, &roles);
                for tracked in &matched.tracked {
                    let violation = policy.violation(&pod.observation, tracked).unwrap();
                    if violation.visible {
                        counts.add_violation(tracked);
                        workloads.add(&pod.observation, usize::from(tracked.container), &violation);
                    }
                    violations.insert(violation);
                }
                let keys: Vec<_> = matched.tracked.iter().map(|t| (t.container, t.check)).collect();
                assert!(keys.is_sorted_by(|a, b| a < b), "ordered, each once");
            }
            assert_eq!(policy.counts, counts, "{}", policy.key);
            assert_eq!(policy.violations, violations, "{}", policy.key);
            assert_eq!(policy.workloads, workloads, "{}", policy.key);
            for (namespace, workload, _, _) in policy.restarts.keys() {
                let series = (namespace.clone(), workload.clone());
                assert!(
                    self.workloads.contains_key(&series),
                    "a restart series outlived {workload}"
                );
            }
        }
    }

    fn all_pods(&self) -> impl Iterator<Item = (PodKey, &PodEntry)> {
        self.namespaces.iter().flat_map(|(name, entry)| {
            let pods = entry.pods.iter();
            pods.map(|(uid, pod)| ((name.clone(), uid.clone()), &**pod))
        })
    }
}

impl Index {
    /// Evaluates every Pod, whether its deadline has passed or not.
    pub(crate) fn reevaluate_all(&mut self, now: Timestamp) -> Effects {
        self.latest = self.latest.max(now);
        let mut pods: Vec<PodKey> = self.all_pods().map(|(key, _)| key).collect();
        pods.sort_unstable();
        let mut effects = Effects::default();
        for key in pods {
            self.reevaluate(&key, now, Observed::Live, &mut effects);
        }
        effects
    }

    /// The state and onset of every violation.
    pub(crate) fn states(&self) -> impl Iterator<Item = (ViolationKey, (bool, Timestamp))> {
        self.violations()
            .map(|violation| (violation.key(), (violation.firing, violation.onset)))
    }

    /// The violations that keep firing although their fault is gone.
    pub(crate) fn kept_firing(&self) -> BTreeSet<ViolationKey> {
        let mut kept = BTreeSet::new();
        for (_, pod) in self.all_pods() {
            for matched in &pod.matched {
                let policy = &self.policies[&matched.policy];
                let gone = matched
                    .tracked
                    .iter()
                    .filter(|tracked| tracked.gone_since.is_some());
                kept.extend(gone.map(|tracked| policy.violation(&pod.observation, tracked).unwrap().key()));
            }
        }
        kept
    }

    /// Panics if data of any Pod remains.
    pub(crate) fn assert_no_pods(&self) {
        assert_eq!(self.all_pods().count(), 0);
        assert!(self.deadlines.is_empty() && self.workloads.is_empty());
        assert_eq!(self.watches.waiting().count(), 0);
        for policy in self.policies.values() {
            assert_eq!(policy.counts, Counts::default());
            assert!(policy.violations.is_empty() && policy.restarts.is_empty());
            assert_eq!(policy.workloads, WorkloadCounts::default());
        }
    }
}
