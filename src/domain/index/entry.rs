//! A policy in the index: its latest version, and the counts and violations of its Pods.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::{SignedDuration, Timestamp};

use super::{
    counts::Counts,
    images::ImageCounts,
    matches::{Match, Version},
    policy_limits::Standing,
    recent_kills::RecentKills,
    series::{RestartCounts, SeriesKey, WorkloadCounts, series_key},
    stored::Stored,
    subjects::Shown,
};
use crate::domain::{
    checks::Common,
    expected::{Expectation, Expected},
    observation::{ContainerKind, NamespaceMetadata, Observation, Workload},
    policy::{Check, InvalidSpec, Mode, Policy, PolicyKey, PolicyKind},
    selector::Selector,
    tracker::Tracked,
    violation::{ContainerSubject, StoredViolation, Subject, Violation},
};

/// The number of a policy in the index. A number is never reused.
pub(super) type PolicyId = u32;

/// All policies. Boxed, because the nodes of the map are half full if the numbers grow.
pub(super) type Policies = BTreeMap<PolicyId, Box<PolicyEntry>>;

/// A policy with the counts and violations of its Pods.
#[derive(Debug)]
pub(super) struct PolicyEntry {
    pub(super) key: PolicyKey,
    pub(super) uid: Arc<str>,
    pub(super) created: Timestamp,
    pub(super) standing: Standing,
    /// The checks whose severity in the spec is above the limit.
    pub(super) capped: Vec<Check>,
    pub(super) generation: i64,
    /// The error in the current spec, if it is invalid.
    pub(super) invalid: Option<InvalidSpec>,
    /// The latest valid version; `None` if there was none, or after the deletion of the policy.
    pub(super) latest: Option<Arc<Version>>,
    /// The policy was deleted. The entry stays until no Pod is under it.
    pub(super) deleted: bool,
    /// The violations that an earlier operator process stored, until every Pod has been evaluated.
    pub(super) stored: Stored,
    /// Every Pod has been evaluated. Nothing that an earlier process stored is adopted any more.
    pub(super) adoption_ended: bool,
    /// The time of a checkpoint that lists every violation under the latest version: other faults began later. `None`
    /// without such a checkpoint, and after every Pod has been evaluated.
    pub(super) covered_until: Option<Timestamp>,
    pub(super) counts: Counts,
    /// The versions of the sidecar images.
    pub(super) images: ImageCounts,
    /// The violations, in the order of the status.
    pub(super) violations: BTreeSet<Violation>,
    /// The Pods in violation by workload, with the recent OOM kills.
    pub(super) workloads: WorkloadCounts,
    /// The OOM kills that ended before the metrics had shown them for long enough.
    pub(super) recent_kills: RecentKills,
    /// The number of violations that have fired, by check.
    pub(super) fired: [u64; Check::ALL.len()],
    /// The restarts of sidecars, by workload and reason.
    pub(super) restarts: RestartCounts,
}

impl PolicyEntry {
    /// Creates an active policy without a version.
    pub(super) fn new(
        key: PolicyKey,
        uid: Arc<str>,
        created: Timestamp,
        generation: i64,
        stored: Vec<StoredViolation>,
    ) -> Self {
        Self {
            key,
            uid,
            created,
            standing: Standing::Active,
            capped: Vec::new(),
            generation,
            invalid: None,
            latest: None,
            deleted: false,
            stored: Stored::from_status(stored),
            adoption_ended: false,
            covered_until: None,
            counts: Counts::default(),
            images: ImageCounts::default(),
            violations: BTreeSet::new(),
            workloads: WorkloadCounts::default(),
            recent_kills: RecentKills::default(),
            fired: [0; Check::ALL.len()],
            restarts: RestartCounts::default(),
        }
    }

    /// The latest valid spec.
    pub(super) fn spec(&self) -> Option<&Policy> {
        self.latest.as_ref().map(|version| &version.spec)
    }

    /// Whether matching or the expected sidecars need the labels or annotations of namespaces.
    pub(super) fn needs_namespaces(&self) -> bool {
        let is_selective = |spec: &Policy| {
            let allowed = spec.exemptions.as_ref();
            let selects_exemptions = allowed.is_some_and(|allowed| !allowed.namespaces.is_empty());
            self.key.kind == PolicyKind::ClusterSidecarPolicy
                && (!spec.namespaces.is_empty() || selects_exemptions)
        };
        let expects = |spec: &Policy| spec.expected.iter().any(Expected::reads_namespace);
        self.spec()
            .is_some_and(|spec| is_selective(spec) || expects(spec))
    }

    /// Whether the policy is evaluated, with the limit on the policies of a namespace.
    pub(super) fn is_active(&self) -> bool {
        self.standing == Standing::Active
    }

    /// The latest version with the roles that it assigns, if the policy is active and on, and selects the Pod. `namespace`
    /// has the labels and annotations of the Pod's namespace.
    pub(super) fn latest_match(
        &self,
        pod: &Observation,
        namespace: Option<&NamespaceMetadata>,
    ) -> Option<Match> {
        let version = self
            .latest
            .as_ref()
            .filter(|version| self.is_active() && version.spec.mode != Mode::Off)?;
        let Policy {
            namespaces,
            exemptions,
            ..
        } = &version.spec;
        // `None`: the labels of the namespace are not known, and the selector needs them.
        let matches = |selector: &Selector| match namespace {
            _ if selector.is_empty() => Some(true),
            namespace => namespace.map(|namespace| selector.matches(&namespace.labels)),
        };
        let (namespace_matches, exempt_for) = match self.key.kind {
            PolicyKind::SidecarPolicy => (self.key.namespace == pod.namespace, Some(SignedDuration::MAX)),
            PolicyKind::ClusterSidecarPolicy => {
                let exempt_for = match exemptions {
                    Some(allowed) => matches(&allowed.namespaces)?.then_some(allowed.max_duration),
                    None => None,
                };
                (matches(namespaces)?, exempt_for)
            }
        };
        let selected = namespace_matches && version.spec.pods.matches(&pod.labels);
        selected.then(|| Match {
            version: Arc::clone(version),
            roles: version.roles_in(&pod.shape),
            expectation: Expectation::of(&version.spec.expected, pod, namespace),
            exempt_for,
        })
    }

    /// Adds a Pod to the counts and its violations to the list.
    pub(super) fn add_pod(&mut self, pod: &Observation, matched: &Match, tracked: &[Tracked]) {
        self.counts.add(pod, &matched.roles, tracked);
        for (tracked, violation) in self.violations_of(pod, matched, tracked) {
            if let Some(series) = visible_series(pod, tracked, &violation) {
                self.workloads.add(series, 1);
            }
            self.violations.insert(violation);
        }
    }

    /// Undoes [`Self::add_pod`]. Must be called before the Pod, its violations or its match change.
    pub(super) fn remove_pod(&mut self, pod: &Observation, matched: &Match, tracked: &[Tracked]) {
        self.counts.remove(pod, &matched.roles, tracked);
        for (tracked, violation) in self.violations_of(pod, matched, tracked) {
            if let Some(series) = visible_series(pod, tracked, &violation) {
                self.workloads.subtract(series, 1);
            }
            self.violations.remove(&violation);
        }
    }

    /// Adds the violation of a workload or an image to the counts and the list.
    pub(super) fn add_subject(&mut self, shown: &Shown) {
        let Shown { violation, series } = shown;
        self.counts.add_subject(violation);
        if let Some((series, pods)) = series {
            self.workloads.add(series.clone(), *pods);
        }
        self.violations.insert(violation.clone());
    }

    /// Undoes [`Self::add_subject`].
    pub(super) fn remove_subject(&mut self, shown: &Shown) {
        let Shown { violation, series } = shown;
        self.counts.remove_subject(violation);
        if let Some((series, pods)) = series {
            self.workloads.subtract(series.clone(), *pods);
        }
        self.violations.remove(violation);
    }

    fn violations_of<'a>(
        &self,
        pod: &Observation,
        matched: &Match,
        tracked: &'a [Tracked],
    ) -> Vec<(&'a Tracked, Violation)> {
        let spec = &matched.version.spec;
        let violations = tracked
            .iter()
            .filter(|tracked| !tracked.is_exempt())
            .filter_map(|tracked| Some((tracked, self.violation(pod, spec, tracked)?)));
        violations.collect()
    }

    /// Removes the restart series of a workload.
    pub(super) fn remove_restarts(&mut self, namespace: &Arc<str>, workload: &Arc<Workload>) {
        let mut gone = Vec::new();
        for (reason, _) in self.restarts.by_kind() {
            let first = (Arc::clone(workload), Arc::default());
            let series = self.restarts.from(namespace, reason, first);
            let of_workload = series.take_while(|((of, _), _)| of == workload);
            gone.extend(
                of_workload.map(|(subject, count)| ((Arc::clone(namespace), reason, subject.clone()), count)),
            );
        }
        for (series, count) in gone {
            self.restarts.subtract(series, count);
        }
    }

    /// Keeps the OOM kills among violations that end at `now`, for the metrics.
    pub(super) fn keep_kill(&mut self, pod: &Observation, spec: &Policy, tracked: &Tracked, now: Timestamp) {
        if tracked.check == Check::OOMKilled
            && !tracked.is_exempt()
            && let Some(violation) = self.violation(pod, spec, tracked)
        {
            self.recent_kills
                .keep(pod, tracked, &violation, now, &mut self.workloads);
        }
    }

    /// The number of firing violations.
    pub(super) fn firing(&self) -> usize {
        self.counts.summary().firing as usize
    }

    /// Counts a violation that begins to fire.
    pub(super) fn count_fired(&mut self, check: Check) {
        if let Some(n) = self.fired.get_mut(check as usize) {
            *n += 1;
        }
    }

    /// A violation as the status, the metrics and the log show it. `spec` is the version that evaluated the Pod.
    pub(super) fn violation(&self, pod: &Observation, spec: &Policy, tracked: &Tracked) -> Option<Violation> {
        let container = pod.shape.containers.get(usize::from(tracked.container))?;
        let Common { severity, .. } = spec.checks.common(tracked.check);
        Some(Violation {
            policy: self.key.clone(),
            check: tracked.check,
            severity,
            mode: spec.mode_of(tracked.check),
            subject: Subject::Container(ContainerSubject {
                namespace: pod.namespace.clone(),
                workload: pod.workload.clone(),
                pod: pod.name.clone(),
                container: container.name.clone(),
                uid: pod.uid.clone(),
                native: container.kind == ContainerKind::Native,
            }),
            firing: tracked.is_firing(),
            visible: tracked.visible,
            onset: tracked.onset,
        })
    }
}

/// The series that counts a violation, if it is visible.
pub(super) fn visible_series(
    pod: &Observation,
    tracked: &Tracked,
    violation: &Violation,
) -> Option<SeriesKey> {
    let series = || series_key(pod, usize::from(tracked.container), violation);
    violation.visible.then(series).flatten()
}
