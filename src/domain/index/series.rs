//! The series of the metrics, as owned values of bounded number.
//!
//! [`Index::series`] copies what the metrics show, so that the caller can release the lock of the index before it
//! formats text. The cost grows with the number of workloads that have a violation, not with the number of Pods.

mod bounded;

use std::{cmp::Reverse, collections::BTreeMap, sync::Arc};

pub use bounded::{Bounded, Row};
use bounded::{Counted, bound};

use jiff::Timestamp;

use super::{ContainerClass, Durations, Index};
use crate::domain::{
    observation::{Observation, Workload},
    policy::{Check, Mode, PolicyKey, Severity},
    violation::{Subject, Violation},
};

/// The maximum length of a label value, in bytes. Names of Kubernetes objects have at most 253.
pub const LABEL_LIMIT: usize = 256;

/// Upper limits on the number of series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeriesLimits {
    /// Firing violations with series of their own.
    pub pods: usize,
    /// Series that count the Pods of a workload in violation.
    pub workloads: usize,
    /// Series that count the restarts of a workload's sidecars.
    pub restarts: usize,
}

impl Default for SeriesLimits {
    fn default() -> Self {
        Self {
            pods: 1_000,
            workloads: 10_000,
            restarts: 10_000,
        }
    }
}

/// A copy of everything that the metrics show about Pods and policies.
#[derive(Clone, Debug)]
pub struct Series {
    /// The policies that are evaluated.
    pub policies: Vec<PolicySeries>,
    /// The number of policies that are not evaluated, because their namespace has too many.
    pub excess_policies: usize,
    /// Pods in violation, by workload.
    pub workloads: Bounded<ViolationKind, WorkloadContainer>,
    /// Firing violations: most severe first, then oldest.
    pub violations: Vec<Violation>,
    /// The number of firing violations that are not in `violations`.
    pub omitted: usize,
    /// Restarts of sidecars, by workload and the reason of the exit before.
    pub restarts: Bounded<&'static str, (Arc<Workload>, Arc<str>)>,
    /// The durations of resolved violations.
    pub durations: Durations,
    /// The number of known Pods, evaluated or not.
    pub tracked_pods: usize,
    /// The number of container statuses whose name is not in the spec.
    pub stray_statuses: u64,
}

/// The counts of a policy.
#[derive(Clone, Debug)]
pub struct PolicySeries {
    /// The policy.
    pub key: PolicyKey,
    /// Whether the current spec is valid.
    pub ready: bool,
    /// The mode of the version in use; `Off` if there is none.
    pub mode: Mode,
    /// The number of evaluated Pods that match.
    pub pods: u32,
    /// The number of containers by class.
    pub containers: [(ContainerClass, u32); ContainerClass::ALL.len()],
    /// The number of violations that have fired, by check.
    pub fired: [(Check, u64); Check::ALL.len()],
}

/// The facts about a violation that do not depend on its subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ViolationKind {
    /// The failing check.
    pub check: Check,
    /// The severity that the policy gives the check.
    pub severity: Severity,
    /// The stricter of the policy's mode and the check's mode.
    pub mode: Mode,
    /// `true` when the violation fires, `false` while it is pending.
    pub firing: bool,
}

/// A container of the Pods of a workload.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WorkloadContainer {
    /// The workload.
    pub workload: Arc<Workload>,
    /// The name of the container.
    pub container: Arc<str>,
    /// The image as the spec writes it, cut to [`LABEL_LIMIT`]. Images that are equal up to there share a series.
    pub image: Arc<str>,
    /// The container is a native sidecar.
    pub native: bool,
}

/// The number of Pods in violation under one policy, by workload. Updated with each violation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct WorkloadCounts(BTreeMap<SeriesKey, u32>);

/// Namespace, kind and container of a series.
pub(super) type SeriesKey = (Arc<str>, ViolationKind, WorkloadContainer);

impl WorkloadCounts {
    pub(super) fn add(&mut self, pod: &Observation, container: usize, violation: &Violation) {
        if let Some(key) = series_key(pod, container, violation) {
            *self.0.entry(key).or_default() += 1;
        }
    }

    /// Undoes [`Self::add`] of the same violation.
    pub(super) fn remove(&mut self, pod: &Observation, container: usize, violation: &Violation) {
        let Some(key) = series_key(pod, container, violation) else {
            return;
        };
        if let Some(pods) = self.0.get_mut(&key) {
            *pods -= 1;
            if *pods == 0 {
                self.0.remove(&key);
            }
        }
    }
}

/// The series that counts a violation.
pub(super) fn series_key(pod: &Observation, container: usize, violation: &Violation) -> Option<SeriesKey> {
    let Subject::Container(subject) = &violation.subject;
    let kind = ViolationKind {
        check: violation.check,
        severity: violation.severity,
        mode: violation.mode,
        firing: violation.firing,
    };
    let container = WorkloadContainer {
        workload: Arc::clone(&subject.workload),
        container: Arc::clone(&subject.container),
        image: label(&pod.shape.containers.get(container)?.image),
        native: subject.native,
    };
    Some((Arc::clone(&subject.namespace), kind, container))
}

/// The text of a label value.
fn label(text: &Arc<str>) -> Arc<str> {
    match text.get(..text.floor_char_boundary(LABEL_LIMIT)) {
        Some(cut) if cut.len() < text.len() => cut.into(),
        _ => Arc::clone(text),
    }
}

impl Index {
    /// Copies what the metrics show at `now`.
    pub fn series(&self, limits: &SeriesLimits, now: Timestamp) -> Series {
        let (violations, omitted) = self.firing_violations(limits.pods);
        Series {
            policies: self.policy_series(),
            excess_policies: self.excess_policies(),
            workloads: bound(
                || self.workload_violations(now),
                WorkloadContainer::clone,
                limits.workloads,
            ),
            violations,
            omitted,
            restarts: bound(
                || self.restart_rows(),
                |(workload, container)| (Arc::clone(workload), Arc::clone(container)),
                limits.restarts,
            ),
            durations: self.durations().clone(),
            tracked_pods: self.tracked_pods(),
            stray_statuses: self.stray_statuses(),
        }
    }

    fn policy_series(&self) -> Vec<PolicySeries> {
        let active = self.policies().filter(|policy| policy.active);
        let series = active.map(|policy| PolicySeries {
            key: policy.key.clone(),
            ready: policy.ready,
            mode: policy.mode,
            pods: policy.pods,
            containers: policy.containers,
            fired: policy.fired,
        });
        series.collect()
    }

    /// The Pods in violation by workload, and those whose OOM kill has ended too recently to have been scraped.
    fn workload_violations(
        &self,
        now: Timestamp,
    ) -> impl Iterator<Item = Counted<'_, ViolationKind, &WorkloadContainer>> {
        self.entries().flat_map(move |entry| {
            let counts = &entry.workloads.0;
            let recent = entry.recent_kills.counts(now);
            let only_recent: Vec<_> = recent
                .iter()
                .filter(|(key, _)| !counts.contains_key(**key))
                .map(|(key, pods)| (*key, *pods))
                .collect();
            let counted = counts.iter().map(move |(key, pods)| {
                let ended = recent.get(key).copied().unwrap_or_default();
                (key, pods + ended)
            });
            counted
                .chain(only_recent)
                .map(|((namespace, kind, container), pods)| Counted {
                    policy: &entry.key,
                    kind: *kind,
                    namespace,
                    subject: container,
                    count: u64::from(pods),
                })
        })
    }

    fn restart_rows(&self) -> impl Iterator<Item = Counted<'_, &'static str, (&Arc<Workload>, &Arc<str>)>> {
        let active = self.entries().filter(|entry| entry.is_active());
        active.flat_map(|entry| {
            let restarts = entry.restarts.iter();
            restarts.map(|((namespace, workload, container, reason), count)| Counted {
                policy: &entry.key,
                kind: *reason,
                namespace,
                subject: (workload, container),
                count: *count,
            })
        })
    }

    /// The first `limit` firing violations, and the number of the others.
    fn firing_violations(&self, limit: usize) -> (Vec<Violation>, usize) {
        let mut firing: Vec<&Violation> = self.violations().filter(|violation| violation.firing).collect();
        let order = |a: &&Violation, b: &&Violation| {
            let rank = |violation: &Violation| (Reverse(violation.severity), violation.onset);
            rank(a).cmp(&rank(b)).then_with(|| a.cmp(b))
        };
        let omitted = firing.len().saturating_sub(limit);
        if omitted > 0 {
            firing.select_nth_unstable_by(limit, order);
            firing.truncate(limit);
        }
        firing.sort_unstable_by(order);
        (firing.into_iter().cloned().collect(), omitted)
    }
}
