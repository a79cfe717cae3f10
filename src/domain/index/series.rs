//! The series of the metrics, as owned values of bounded number.
//!
//! [`Index::series`] copies what the metrics show, so that the caller can release the lock of the index before it
//! formats text. The cost grows with the number of workloads that have a violation, not with the number of Pods.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use super::{ContainerClass, Durations, Index};
use crate::domain::{
    observation::{Observation, Workload},
    policy::{Check, Mode, PolicyKey, Severity},
    violation::{Subject, Violation},
};

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
    /// All policies.
    pub policies: Vec<PolicySeries>,
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

/// Series about workloads. `K` is what remains of a series when its namespace collapses, besides policy and namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bounded<K, S> {
    /// The series.
    pub rows: Vec<Row<K, S>>,
    /// The number of namespaces whose series are collapsed.
    pub collapsed: usize,
}

/// One series about a workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row<K, S> {
    /// The policy.
    pub policy: PolicyKey,
    /// The labels that a collapsed series keeps.
    pub kind: K,
    /// The namespace of the workload. Empty if even one series per namespace is too many.
    pub namespace: Arc<str>,
    /// The workload and its container; `None` in a collapsed series.
    pub subject: Option<S>,
    /// The value.
    pub count: u64,
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
    /// The image as the spec writes it.
    pub image: Arc<str>,
    /// The container is a native sidecar.
    pub native: bool,
}

/// The number of Pods in violation under one policy, by workload. Updated with each violation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct WorkloadCounts(BTreeMap<(Arc<str>, ViolationKind, WorkloadContainer), u32>);

impl WorkloadCounts {
    pub(super) fn add(&mut self, pod: &Observation, container: usize, violation: &Violation) {
        if let Some(key) = key(pod, container, violation) {
            *self.0.entry(key).or_default() += 1;
        }
    }

    /// Undoes [`Self::add`] of the same violation.
    pub(super) fn remove(&mut self, pod: &Observation, container: usize, violation: &Violation) {
        let Some(key) = key(pod, container, violation) else {
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

fn key(
    pod: &Observation,
    container: usize,
    violation: &Violation,
) -> Option<(Arc<str>, ViolationKind, WorkloadContainer)> {
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
        image: Arc::clone(&pod.shape.containers.get(container)?.image),
        native: subject.native,
    };
    Some((Arc::clone(&subject.namespace), kind, container))
}

impl Index {
    /// Copies what the metrics show.
    pub fn series(&self, limits: &SeriesLimits) -> Series {
        let (violations, omitted) = self.firing_violations(limits.pods);
        Series {
            policies: self.policy_series(),
            workloads: bound(
                || self.workload_violations(),
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
        let series = self.policies().map(|policy| PolicySeries {
            key: policy.key.clone(),
            ready: policy.ready,
            mode: policy.mode,
            pods: policy.pods,
            containers: policy.containers,
            fired: policy.fired,
        });
        series.collect()
    }

    fn workload_violations(&self) -> impl Iterator<Item = Counted<'_, ViolationKind, &WorkloadContainer>> {
        self.entries().flat_map(|entry| {
            let counts = entry.workloads.0.iter();
            counts.map(|((namespace, kind, container), pods)| Counted {
                policy: &entry.key,
                kind: *kind,
                namespace,
                subject: container,
                count: u64::from(*pods),
            })
        })
    }

    fn restart_rows(&self) -> impl Iterator<Item = Counted<'_, &'static str, (&Arc<Workload>, &Arc<str>)>> {
        self.entries().flat_map(|entry| {
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

/// A count in the index, from which a [`Row`] is made.
#[derive(Clone, Copy)]
struct Counted<'a, K, S> {
    policy: &'a PolicyKey,
    kind: K,
    namespace: &'a Arc<str>,
    subject: S,
    count: u64,
}

impl<K, S> Counted<'_, K, S> {
    fn row<T>(self, subject: impl FnOnce(S) -> T) -> Row<K, T> {
        Row {
            policy: self.policy.clone(),
            kind: self.kind,
            namespace: Arc::clone(self.namespace),
            subject: Some(subject(self.subject)),
            count: self.count,
        }
    }
}

/// Copies the rows. Above `limit` the namespaces with the most series collapse into one series each per policy and
/// kind, and if that is still too many, all namespaces into one. Only the rows of the result are copied.
fn bound<'a, K, S, T, I>(rows: impl Fn() -> I, subject: impl Fn(S) -> T, limit: usize) -> Bounded<K, T>
where
    K: Ord + Copy,
    I: Iterator<Item = Counted<'a, K, S>>,
{
    let mut total = rows().count();
    if total <= limit {
        return Bounded {
            rows: rows().map(|row| row.row(&subject)).collect(),
            collapsed: 0,
        };
    }
    let mut sizes: HashMap<&Arc<str>, (usize, BTreeSet<(&PolicyKey, K)>)> = HashMap::new();
    for row in rows() {
        let (series, kinds) = sizes.entry(row.namespace).or_default();
        *series += 1;
        kinds.insert((row.policy, row.kind));
    }
    let sizes = sizes
        .into_iter()
        .map(|(namespace, (series, kinds))| (namespace, series, kinds.len()));
    let mut largest: Vec<_> = sizes.collect();
    largest.sort_unstable_by(|(a, m, _), (b, n, _)| n.cmp(m).then_with(|| a.cmp(b)));
    let mut collapsed = HashSet::new();
    for (namespace, series, kinds) in largest {
        if total <= limit {
            break;
        }
        total = total - series + kinds;
        collapsed.insert(namespace);
    }
    let all_namespaces: Option<Arc<str>> = (total > limit).then(Arc::default);
    let mut kept = Vec::new();
    let mut sums: BTreeMap<(&PolicyKey, K, &Arc<str>), u64> = BTreeMap::new();
    for row in rows() {
        if collapsed.contains(row.namespace) {
            let namespace = all_namespaces.as_ref().unwrap_or(row.namespace);
            *sums.entry((row.policy, row.kind, namespace)).or_default() += row.count;
        } else {
            kept.push(row.row(&subject));
        }
    }
    kept.extend(sums.into_iter().map(|((policy, kind, namespace), count)| Row {
        policy: policy.clone(),
        kind,
        namespace: Arc::clone(namespace),
        subject: None,
        count,
    }));
    Bounded {
        rows: kept,
        collapsed: collapsed.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::testing::key;

    type TestRow = Row<u8, usize>;

    fn rows(namespaces: &[(&str, usize)]) -> Vec<TestRow> {
        let rows = namespaces.iter().flat_map(|(namespace, series)| {
            (0..*series).map(|n| Row {
                policy: key("mesh"),
                kind: u8::from(n % 2 == 0),
                namespace: Arc::from(*namespace),
                subject: Some(n),
                count: 3,
            })
        });
        rows.collect()
    }

    fn as_counted(row: &TestRow) -> Counted<'_, u8, usize> {
        Counted {
            policy: &row.policy,
            kind: row.kind,
            namespace: &row.namespace,
            subject: row.subject.unwrap(),
            count: row.count,
        }
    }

    /// Namespace, whether it is collapsed, and the value, of each series.
    fn bounded(namespaces: &[(&str, usize)], limit: usize) -> (Vec<(String, bool, u64)>, usize) {
        let rows = rows(namespaces);
        let bounded = bound(|| rows.iter().map(as_counted), |n| n, limit);
        let sum: u64 = bounded.rows.iter().map(|row| row.count).sum();
        assert_eq!(
            sum,
            rows.iter().map(|row| row.count).sum::<u64>(),
            "the sum is complete"
        );
        let shown = bounded
            .rows
            .iter()
            .map(|row| (row.namespace.to_string(), row.subject.is_none(), row.count));
        (shown.collect(), bounded.collapsed)
    }

    #[test]
    fn up_to_the_limit_every_series_is_kept() {
        let (rows, collapsed) = bounded(&[("a", 2), ("b", 3)], 5);
        assert_eq!((rows.len(), collapsed), (5, 0));
    }

    #[test]
    fn above_the_limit_the_namespaces_with_the_most_series_collapse() {
        let (rows, collapsed) = bounded(&[("a", 10), ("b", 3), ("c", 40)], 20);
        assert_eq!(collapsed, 1);
        assert_eq!(rows.len(), 15);
        let collapsed: Vec<_> = rows.into_iter().filter(|row| row.1).collect();
        let expected = [("c".to_owned(), true, 60), ("c".to_owned(), true, 60)];
        assert_eq!(collapsed, expected, "one series per kind");
    }

    #[test]
    fn too_many_namespaces_collapse_into_one() {
        let names: Vec<String> = (0..100).map(|n| format!("ns-{n}")).collect();
        let namespaces: Vec<_> = names.iter().map(|name| (name.as_str(), 1)).collect();
        let (rows, collapsed) = bounded(&namespaces, 10);
        assert_eq!((rows, collapsed), (vec![(String::new(), true, 300)], 100));
    }
}
