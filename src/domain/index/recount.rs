//! For tests: recomputes all counts and lists of the index from its Pods and compares them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::Timestamp;

use super::{
    Index,
    counts::Counts,
    entry::{PolicyEntry, PolicyId, visible_series},
    images::ImageCounts,
    missing::Missing,
    pods::{PodEntry, PodId, Selected},
    series::WorkloadCounts,
    subjects::Shown,
    workloads::{WorkloadKey, Workloads},
};
use crate::domain::{
    effects::Effects,
    observation::Observation,
    roles::Roles,
    violation::{Subject, ViolationKey},
};

impl Index {
    /// Panics if a count or a list differs from a recount, or if data of a deleted Pod remains.
    pub(crate) fn assert_counts(&self) {
        self.assert_policies();
        let mut workloads: BTreeMap<WorkloadKey, u32> = BTreeMap::new();
        let mut deadlines = Vec::new();
        for (id, pod) in self.all_pods() {
            let Observation {
                namespace,
                uid,
                workload,
                ..
            } = &pod.observation;
            assert_eq!(self.pod_id(namespace, uid), Some(id));
            *workloads
                .entry((namespace.clone(), workload.clone()))
                .or_default() += 1;
            let deadline = pod.findings.as_ref().and_then(|findings| findings.deadline);
            deadlines.extend(deadline.map(|at| (at, id)));
            if !pod.observation.is_evaluated() {
                assert!(pod.history.is_none(), "not evaluated: no history");
                assert!(deadline.is_none(), "not evaluated: no deadline");
                assert_eq!(pod.all_tracked().count(), 0);
            }
            for (policy, tracked) in pod.all_tracked() {
                assert!(
                    pod.matches.get(policy).is_some(),
                    "a violation under a policy that does not match"
                );
                let keys: Vec<_> = tracked.iter().map(|t| (t.container, t.check)).collect();
                assert!(
                    !keys.is_empty() && keys.is_sorted_by(|a, b| a < b),
                    "ordered, each once"
                );
            }
        }
        let known: usize = self.namespaces.values().map(|entry| entry.pods.len()).sum();
        assert_eq!(known, self.pods.len());
        assert_eq!(self.deadlines, deadlines.into_iter().collect(), "deadlines");
        assert_eq!(self.workloads.pods(), workloads, "Pods of each workload");
        let pods = self.all_pods().map(|(_, pod)| &pod.observation);
        assert_eq!(
            self.workloads.live(),
            Workloads::recount(pods),
            "live Pods of each revision"
        );
        let pods = self.all_pods().map(|(_, pod)| (&pod.observation, &*pod.matches));
        assert_eq!(
            self.missing.counts(),
            Missing::recount(pods),
            "Pods of each workload that must have a sidecar"
        );
        self.assert_workloads();
        self.assert_histories();
        self.exemptions
            .assert_hidden(self.pods.iter().map(|(id, pod)| (*id, &**pod)));
        for (namespace, entry) in &self.namespaces {
            let is_used = entry.metadata.is_some() || !entry.pods.is_empty();
            assert!(is_used, "{namespace}: neither labels nor Pods");
        }
        for id in self.startups.pods() {
            assert!(self.pods.contains_key(&id), "a deleted Pod starts");
        }
        for id in self.watches.waiting() {
            let pod = self.pods.get(&id).expect("a deleted Pod waits");
            assert!(
                self.has_work() || self.watches.held_since(&pod.observation.namespace).is_some(),
                "a Pod waits although its watch is not held"
            );
        }
    }

    fn assert_policies(&self) {
        assert_eq!(self.ids.len(), self.entries().count());
        for (id, policy) in &self.policies {
            assert_eq!(
                self.ids.get(&policy.key).filter(|_| !policy.deleted),
                Some(id).filter(|_| !policy.deleted)
            );
            let (mut counts, mut violations) = (Counts::default(), BTreeSet::new());
            let mut workloads = WorkloadCounts::default();
            for (_, pod) in self.all_pods() {
                let matched = pod.matches.get(*id);
                if !self.has_work() {
                    let labels = self.namespaces[&pod.observation.namespace].metadata.as_deref();
                    let latest = policy.latest_match(&pod.observation, labels);
                    assert_eq!(
                        matched,
                        latest.as_ref(),
                        "{} and {}",
                        policy.key,
                        pod.observation.name
                    );
                }
                let Some(matched) = matched else { continue };
                let spec = &matched.version.spec;
                let roles = Roles::assign(spec, &pod.observation.shape);
                assert_eq!(*matched.roles, roles);
                counts.add(&pod.observation, &roles, pod.tracked(*id));
                for tracked in pod.tracked(*id).iter().filter(|tracked| !tracked.is_exempt()) {
                    let violation = policy.violation(&pod.observation, spec, tracked).unwrap();
                    if let Some(series) = visible_series(&pod.observation, tracked, &violation) {
                        workloads.add(series, 1);
                    }
                    violations.insert(violation);
                }
            }
            policy.recent_kills.count(&mut workloads);
            let facts = self.missing.facts.iter();
            let of_workloads = facts
                .filter(|(key, _)| key.policy == *id)
                .map(|(_, facts)| &facts.state);
            let states = self.image_states.states.iter();
            let of_images = states
                .filter(|(key, _)| key.policy == *id)
                .map(|(_, state)| state);
            for shown in of_workloads
                .chain(of_images)
                .filter_map(|state| state.shown.as_ref())
            {
                counts.add_subject(&shown.violation);
                if let Some((series, pods)) = &shown.series {
                    workloads.add(series.clone(), *pods);
                }
                violations.insert(shown.violation.clone());
            }
            self.assert_drifts(*id, policy);
            let under = self.all_pods().filter_map(|(_, pod)| {
                let matched = pod.matches.get(*id)?;
                Some((&pod.observation, &*matched.roles))
            });
            let images = ImageCounts::recount(under);
            let (counted, others) = policy.images.pods();
            policy.images.assert_limits();
            if others == 0 {
                let under = self.all_pods();
                let under = under.filter_map(|(_, pod)| Some((&pod.observation, pod.matches.get(*id)?)));
                let by_workload = ImageCounts::recount_by_workload(under);
                assert_eq!(policy.images.by_workload(), by_workload, "{}", policy.key);
                assert_eq!(counted, images, "{}", policy.key);
            }
            let sum = |counts: &BTreeMap<_, u32>| counts.values().sum::<u32>();
            assert_eq!(sum(&counted) + others, sum(&images), "{}", policy.key);
            assert_eq!(policy.counts, counts, "{}", policy.key);
            assert_eq!(policy.violations, violations, "{}", policy.key);
            assert_eq!(policy.workloads, workloads, "{}", policy.key);
            for (namespace, _, (workload, _), _) in policy.restarts.iter() {
                let series = (namespace.clone(), workload.clone());
                assert!(
                    self.workloads.contains(&series),
                    "a restart series outlived {workload}"
                );
            }
        }
    }

    /// Panics if a violation of VersionDrift exists without several versions, or the other way round.
    fn assert_drifts(&self, id: PolicyId, policy: &PolicyEntry) {
        if self.has_work() || !self.watches.is_released(&policy.key.namespace) {
            return;
        }
        let mut failing: BTreeMap<Arc<str>, BTreeSet<Arc<str>>> = BTreeMap::new();
        for (repository, version, ..) in policy.images.by_workload().into_keys() {
            failing.entry(repository).or_default().insert(version);
        }
        failing.retain(|_, versions| versions.len() > 1);
        let tracked = self.tracked_images(id);
        assert_eq!(tracked, failing.into_keys().collect(), "{}", policy.key);
    }

    /// The repositories with a violation under a policy.
    fn tracked_images(&self, id: PolicyId) -> BTreeSet<Arc<str>> {
        let states = self.image_states.states.iter();
        let of_policy = states.filter(|(key, _)| key.policy == id);
        let tracked = of_policy.filter(|(_, state)| state.tracked.is_some());
        tracked.map(|(key, _)| key.subject.repository.clone()).collect()
    }

    fn assert_workloads(&self) {
        for (key, facts) in &self.missing.facts {
            let is_settled = !self.has_work();
            let is_held = self.watches.held_since(&key.subject.namespace).is_some();
            assert!(
                facts.required > 0 || !is_settled || is_held,
                "{key:?} has no Pods"
            );
            let shown = facts.state.shown.as_ref();
            assert_eq!(facts.state.tracked.is_some(), shown.is_some(), "{key:?}");
            if let Some(Shown { violation, .. }) = shown {
                assert_eq!(violation.subject, Subject::Workload(key.subject.clone()));
            }
            if is_settled && !is_held {
                assert_eq!(
                    facts.state.tracked.is_some(),
                    !facts.lacking.is_empty(),
                    "{key:?}"
                );
                let pods = shown
                    .and_then(|shown| shown.series.as_ref())
                    .map(|(_, pods)| *pods);
                assert!(
                    pods.is_none_or(|pods| pods == facts.lacking.len() as u64),
                    "{key:?}"
                );
            }
        }
        for (key, state) in &self.image_states.states {
            assert_eq!(state.tracked.is_some(), state.shown.is_some(), "{key:?}");
        }
        let mut with_deadline = self.missing.queue.assert_deadlines();
        assert!(with_deadline.all(|key| self.missing.facts.contains_key(key)));
    }

    fn all_pods(&self) -> impl Iterator<Item = (PodId, &PodEntry)> {
        self.pods.iter().map(|(id, pod)| (*id, &**pod))
    }
}

impl Index {
    /// Evaluates every Pod, whether its deadline has passed or not.
    pub(crate) fn reevaluate_all(&mut self, now: Timestamp) -> Effects {
        self.latest = self.latest.max(now);
        let pods: Vec<PodId> = self.pods.keys().copied().collect();
        let mut effects = Effects::default();
        for id in pods {
            self.reevaluate_live(id, Selected::All, now, &mut effects);
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
            for (id, tracked) in pod.all_tracked() {
                let (policy, matched) = (&self.policies[&id], pod.matches.get(id).unwrap());
                let violation = |tracked| {
                    policy
                        .violation(&pod.observation, &matched.version.spec, tracked)
                        .unwrap()
                };
                let gone = tracked.iter().filter(|tracked| tracked.gone_since.is_some());
                kept.extend(gone.map(|tracked| violation(tracked).key()));
            }
        }
        kept
    }

    /// Panics if data of any Pod remains.
    pub(crate) fn assert_no_pods(&self) {
        assert_eq!(self.all_pods().count(), 0);
        assert!(self.deadlines.is_empty() && self.workloads.pods().is_empty());
        assert_eq!(self.watches.waiting().count(), 0);
        assert_eq!(self.startups.pods().count(), 0);
        assert!(self.missing.facts.is_empty() && self.missing.queue.next_deadline().is_none());
        assert!(self.image_states.states.is_empty() && self.image_states.queue.next_deadline().is_none());
        for policy in self.policies.values() {
            assert_eq!(policy.counts, Counts::default());
            assert_eq!(policy.images.pods(), (BTreeMap::new(), 0));
            assert!(policy.violations.is_empty() && policy.restarts.is_empty());
            let mut kills = WorkloadCounts::default();
            policy.recent_kills.count(&mut kills);
            assert_eq!(policy.workloads, kills);
        }
    }
}
