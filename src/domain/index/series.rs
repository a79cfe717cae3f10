//! The series of the metrics, as owned values of bounded number.
//!
//! [`Index::series`] copies what the metrics show, so that the caller can release the lock of the index before it
//! formats text. The cost grows with the limits on the number of series and with the number of policies, not with the
//! number of violations.

mod bounded;
mod counts;
mod images;

use std::{
    cmp::{Ordering, Reverse},
    collections::BinaryHeap,
    sync::Arc,
};

use bounded::bound;
pub use bounded::{Bounded, Row};
pub(super) use counts::SeriesCounts;
use images::image_series;
pub use images::{ImageRow, ImageSeries};

use jiff::Timestamp;

use super::{ContainerClass, Index, StartupDurations, counts::pairs, entry::PolicyEntry};
use crate::domain::{
    histogram::Histogram,
    observation::{Observation, Workload},
    policy::{Check, Mode, PolicyKey, Severity},
    violation::Violation,
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
    /// Series that count Pods by the version of a sidecar image.
    pub images: usize,
}

impl Default for SeriesLimits {
    fn default() -> Self {
        Self {
            pods: 1_000,
            workloads: 10_000,
            restarts: 10_000,
            images: 10_000,
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
    /// Pods by the version of a sidecar image.
    pub images: ImageSeries,
    /// The durations of resolved violations.
    pub durations: Histogram,
    /// The durations of the starts of sidecars.
    pub startups: StartupDurations,
    /// The number of known Pods, evaluated or not.
    pub tracked_pods: usize,
    /// The number of container statuses whose name is not in the spec.
    pub stray_statuses: u64,
    /// The number of restarts and flaps that were removed from histories because their namespace has too many.
    pub dropped_history_entries: u64,
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
    /// The number of firing violations that exemptions hide, by check.
    pub exempted: [(Check, u32); Check::ALL.len()],
}

impl PolicySeries {
    pub(super) fn of(entry: &PolicyEntry) -> Self {
        Self {
            key: entry.key.clone(),
            ready: entry.invalid.is_none(),
            mode: entry.spec().map_or(Mode::Off, |spec| spec.mode),
            pods: entry.counts.summary().pods,
            containers: entry.counts.containers(),
            fired: pairs(Check::ALL, entry.fired),
            exempted: entry.counts.exempted(),
        }
    }
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

impl ViolationKind {
    fn of(violation: &Violation) -> Self {
        Self {
            check: violation.check,
            severity: violation.severity,
            mode: violation.mode,
            firing: violation.firing,
        }
    }
}

/// A container of the Pods of a workload. The default is the lowest value.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
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

/// The number of Pods in violation under one policy, by workload.
pub(super) type WorkloadCounts = SeriesCounts<ViolationKind, WorkloadContainer>;
/// The number of restarts under one policy, by workload and reason of the exit before.
pub(super) type RestartCounts = SeriesCounts<&'static str, (Arc<Workload>, Arc<str>)>;

/// Namespace, kind and container of a series.
pub(super) type SeriesKey = (Arc<str>, ViolationKind, WorkloadContainer);

/// The series that counts a violation.
pub(super) fn series_key(pod: &Observation, container: usize, violation: &Violation) -> Option<SeriesKey> {
    let subject = violation.subject.as_container()?;
    let container = WorkloadContainer {
        workload: Arc::clone(&subject.workload),
        container: Arc::clone(&subject.container),
        image: label(&pod.shape.containers.get(container)?.image),
        native: subject.native,
    };
    Some((
        Arc::clone(&subject.namespace),
        ViolationKind::of(violation),
        container,
    ))
}

/// The series that counts the Pods of a violation of a workload or an image.
pub(super) fn subject_series(violation: &Violation) -> SeriesKey {
    let subject = &violation.subject;
    let container = WorkloadContainer {
        workload: Arc::clone(subject.workload()),
        container: Arc::clone(subject.container()),
        image: label(&subject.image().into()),
        native: false,
    };
    (
        Arc::clone(subject.namespace()),
        ViolationKind::of(violation),
        container,
    )
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
    pub fn series(&mut self, limits: &SeriesLimits, now: Timestamp) -> Series {
        for policy in self.policies.values_mut() {
            policy.recent_kills.expire(now, &mut policy.workloads);
        }
        let namespaces = self.namespaces.values();
        let namespaces = namespaces.filter(|namespace| !namespace.pods.is_empty()).count();
        let (violations, omitted) = self.firing_violations(limits.pods);
        let active = self.entries().filter(|entry| entry.is_active());
        Series {
            policies: active.clone().map(PolicySeries::of).collect(),
            excess_policies: self.excess_policies(),
            workloads: bound(
                self.entries().map(|entry| (&entry.key, &entry.workloads)),
                namespaces,
                limits.workloads,
            ),
            violations,
            omitted,
            restarts: bound(
                active.clone().map(|entry| (&entry.key, &entry.restarts)),
                namespaces,
                limits.restarts,
            ),
            images: image_series(
                active.map(|entry| (&entry.key, entry.images.summary())),
                limits.images,
            ),
            durations: self.durations().clone(),
            startups: self.startups().clone(),
            tracked_pods: self.tracked_pods(),
            stray_statuses: self.stray_statuses(),
            dropped_history_entries: self.dropped_history_entries(),
        }
    }

    /// The first `limit` firing violations, most severe first and then oldest, and the number of the others.
    fn firing_violations(&self, limit: usize) -> (Vec<Violation>, usize) {
        // The violations of a policy begin with its firing ones, in this order.
        let mut next: BinaryHeap<Reverse<Firing<'_, _>>> = self
            .entries()
            .filter_map(|entry| Firing::first(entry.violations.iter()))
            .map(Reverse)
            .collect();
        let mut violations = Vec::new();
        while violations.len() < limit
            && let Some(Reverse(Firing { violation, following })) = next.pop()
        {
            violations.push(violation.clone());
            next.extend(Firing::first(following).map(Reverse));
        }
        let firing: usize = self.entries().map(PolicyEntry::firing).sum();
        let omitted = firing.saturating_sub(violations.len());
        (violations, omitted)
    }
}

/// The next firing violation of a policy, and the ones after it.
struct Firing<'a, I> {
    violation: &'a Violation,
    following: I,
}

impl<'a, I: Iterator<Item = &'a Violation>> Firing<'a, I> {
    fn first(mut violations: I) -> Option<Self> {
        let violation = violations.next().filter(|violation| violation.firing)?;
        Some(Self {
            violation,
            following: violations,
        })
    }
}

impl<I> Ord for Firing<'_, I> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.violation.cmp(other.violation)
    }
}

impl<I> PartialOrd for Firing<'_, I> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<I> PartialEq for Firing<'_, I> {
    fn eq(&self, other: &Self) -> bool {
        self.violation == other.violation
    }
}

impl<I> Eq for Firing<'_, I> {}
