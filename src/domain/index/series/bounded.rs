//! Limits a number of series: the namespaces with the most series collapse into one series each.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use super::counts::SeriesCounts;
use crate::domain::policy::PolicyKey;

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
    /// The policy; `None` if even one series per policy is too many.
    pub policy: Option<PolicyKey>,
    /// The labels that a collapsed series keeps.
    pub kind: K,
    /// The namespace of the workload. Empty if even one series per namespace is too many.
    pub namespace: Arc<str>,
    /// The workload and its container; `None` in a collapsed series.
    pub subject: Option<S>,
    /// The value.
    pub count: u64,
}

/// Copies the series of policies. Above `limit` the namespaces with the most series collapse into one series each per policy
/// and kind. If that is still too many, all namespaces collapse into one, and then all policies. The kinds are few, so
/// the result has at most `limit` rows or one per kind.
///
/// The cost depends on `limit` and on the number of policies and kinds, not on the number of series. `all_namespaces` is
/// the number of namespaces that collapse if all of them do.
pub(super) fn bound<'a, K, S>(
    policies: impl Iterator<Item = (&'a PolicyKey, &'a SeriesCounts<K, S>)> + Clone,
    all_namespaces: usize,
    limit: usize,
) -> Bounded<K, S>
where
    K: Ord + Copy + 'a,
    S: Ord + Default + Clone + 'a,
{
    let total: usize = policies.clone().map(|(_, counts)| counts.len()).sum();
    let collapsed_total: usize = policies.clone().map(|(_, counts)| counts.namespace_sums()).sum();
    if total <= limit {
        let rows = policies.flat_map(|(policy, counts)| {
            let rows = counts.iter();
            rows.map(move |(namespace, kind, subject, count)| {
                row(Some(policy), kind, namespace, Some(subject.clone()), count)
            })
        });
        Bounded {
            rows: rows.collect(),
            collapsed: 0,
        }
    } else if collapsed_total <= limit {
        collapse_largest(policies, total, limit)
    } else {
        Bounded {
            rows: collapse_all(policies, limit),
            collapsed: all_namespaces,
        }
    }
}

/// Collapses the namespaces with the most series until at most `limit` series remain. There are at most `limit` sums by
/// namespace and kind.
fn collapse_largest<'a, K, S>(
    policies: impl Iterator<Item = (&'a PolicyKey, &'a SeriesCounts<K, S>)> + Clone,
    mut total: usize,
    limit: usize,
) -> Bounded<K, S>
where
    K: Ord + Copy + 'a,
    S: Ord + Default + Clone + 'a,
{
    let mut sizes = HashMap::<&Arc<str>, (usize, usize)>::new();
    for (namespace, _, sum) in policies.clone().flat_map(|(_, counts)| counts.by_namespace()) {
        let (series, kinds) = sizes.entry(namespace).or_default();
        *series += sum.series;
        *kinds += 1;
    }
    let mut largest: Vec<_> = sizes.into_iter().collect();
    largest.sort_unstable_by(|(a, (m, _)), (b, (n, _))| n.cmp(m).then_with(|| a.cmp(b)));
    let mut collapsed = HashSet::new();
    for (namespace, (series, kinds)) in largest {
        if total <= limit {
            break;
        }
        total = total - series + kinds;
        collapsed.insert(namespace);
    }
    let mut rows = Vec::with_capacity(total);
    for (policy, counts) in policies {
        for (namespace, kind, sum) in counts.by_namespace() {
            if collapsed.contains(namespace) {
                rows.push(row(Some(policy), kind, namespace, None, sum.count));
                continue;
            }
            let of_namespace = counts.from(namespace, kind, S::default());
            rows.extend(
                of_namespace
                    .map(|(subject, count)| row(Some(policy), kind, namespace, Some(subject.clone()), count)),
            );
        }
    }
    Bounded {
        rows,
        collapsed: collapsed.len(),
    }
}

/// Collapses all namespaces into one, and the policies as well if there are too many.
fn collapse_all<'a, K, S>(
    policies: impl Iterator<Item = (&'a PolicyKey, &'a SeriesCounts<K, S>)>,
    limit: usize,
) -> Vec<Row<K, S>>
where
    K: Ord + Copy + 'a,
    S: Ord + Default + 'a,
{
    let namespace: Arc<str> = Arc::default();
    let by_policy: Vec<_> = policies
        .flat_map(|(policy, counts)| {
            let sums = counts.by_kind();
            sums.map(move |(kind, count)| (policy, kind, count))
        })
        .collect();
    if by_policy.len() <= limit {
        let rows = by_policy.into_iter();
        let rows = rows.map(|(policy, kind, count)| row(Some(policy), kind, &namespace, None, count));
        return rows.collect();
    }
    let mut sums = BTreeMap::<K, u64>::new();
    for (_, kind, count) in by_policy {
        *sums.entry(kind).or_default() += count;
    }
    let rows = sums.into_iter();
    rows.map(|(kind, count)| row(None, kind, &namespace, None, count))
        .collect()
}

fn row<K, S>(
    policy: Option<&PolicyKey>,
    kind: K,
    namespace: &Arc<str>,
    subject: Option<S>,
    count: u64,
) -> Row<K, S> {
    Row {
        policy: policy.cloned(),
        kind,
        namespace: Arc::clone(namespace),
        subject,
        count,
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, cmp::Ordering};

    use super::*;
    use crate::domain::testing::key;

    /// The counts of a policy: `series` series of each namespace, alternately of two kinds.
    fn counts<S: Ord + Default + From<u32>>(namespaces: &[(&str, u32)]) -> SeriesCounts<u8, S> {
        let mut counts = SeriesCounts::default();
        for (namespace, series) in namespaces {
            for n in 0..*series {
                counts.add((Arc::from(*namespace), u8::from(n % 2 == 0), S::from(n)), 3);
            }
        }
        counts
    }

    /// Namespace, whether it is collapsed, and the value, of each series.
    fn bounded(namespaces: &[(&str, u32)], limit: usize) -> (Vec<(String, bool, u64)>, usize) {
        let (policy, counts) = (key("mesh"), counts::<u32>(namespaces));
        let bounded = bound([(&policy, &counts)].into_iter(), namespaces.len(), limit);
        let sum: u64 = bounded.rows.iter().map(|row| row.count).sum();
        let series: u32 = namespaces.iter().map(|(_, series)| series).sum();
        assert_eq!(sum, 3 * u64::from(series), "the sum is complete");
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

    #[test]
    fn too_many_policies_collapse_into_one() {
        let policies: Vec<_> = (0..50).map(|n| key(&format!("mesh-{n}"))).collect();
        let counts = counts::<u32>(&[("a", 2), ("b", 3)]);
        let bounded = bound(policies.iter().map(|policy| (policy, &counts)), 2, 10);
        let shown = bounded.rows.iter().map(|row| {
            let is_merged = row.policy.is_none() && row.subject.is_none();
            (is_merged, row.kind, &*row.namespace, row.count)
        });
        assert_eq!(
            shown.collect::<Vec<_>>(),
            [(true, 0, "", 300), (true, 1, "", 450)]
        );
        assert_eq!(bounded.collapsed, 2);
    }

    thread_local! {
        static UNITS: Cell<usize> = const { Cell::new(0) };
    }

    /// A subject that counts its copies and comparisons.
    #[derive(Default, PartialEq, Eq)]
    struct Counting(u32);

    impl Counting {
        fn count() {
            UNITS.set(UNITS.get() + 1);
        }
    }

    impl From<u32> for Counting {
        fn from(n: u32) -> Self {
            Self(n)
        }
    }

    impl Clone for Counting {
        fn clone(&self) -> Self {
            Self::count();
            Self(self.0)
        }
    }

    impl Ord for Counting {
        fn cmp(&self, other: &Self) -> Ordering {
            Self::count();
            self.0.cmp(&other.0)
        }
    }

    impl PartialOrd for Counting {
        fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
            Some(self.cmp(other))
        }
    }

    #[test]
    fn the_cost_of_a_copy_does_not_depend_on_the_number_of_series() {
        let units = |series: u32| {
            let (policy, counts) = (key("mesh"), counts::<Counting>(&[("a", series), ("b", 50)]));
            UNITS.set(0);
            let bounded = bound([(&policy, &counts)].into_iter(), 2, 60);
            assert_eq!((bounded.rows.len(), bounded.collapsed), (52, 1));
            UNITS.get()
        };
        let (few, many) = (units(100), units(100_000));
        assert!(few >= 50 && many <= 2 * few, "{few} units, then {many}");
    }
}
