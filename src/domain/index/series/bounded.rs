//! Limits a number of series: the namespaces with the most series collapse into one series each.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
};

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

/// A count in the index, from which a [`Row`] is made.
#[derive(Clone, Copy)]
pub(super) struct Counted<'a, K, S> {
    pub(super) policy: &'a PolicyKey,
    pub(super) kind: K,
    pub(super) namespace: &'a Arc<str>,
    pub(super) subject: S,
    pub(super) count: u64,
}

impl<K, S> Counted<'_, K, S> {
    fn row<T>(self, subject: impl FnOnce(S) -> T) -> Row<K, T> {
        Row {
            policy: Some(self.policy.clone()),
            kind: self.kind,
            namespace: Arc::clone(self.namespace),
            subject: Some(subject(self.subject)),
            count: self.count,
        }
    }
}

/// Copies the rows. Above `limit` the namespaces with the most series collapse into one series each per policy and
/// kind. If that is still too many, all namespaces collapse into one, and then all policies. The kinds are few, so the
/// result has at most `limit` rows or one per kind. Only the rows of the result are copied.
pub(super) fn bound<'a, K, S, T, I>(
    rows: impl Fn() -> I,
    subject: impl Fn(S) -> T,
    limit: usize,
) -> Bounded<K, T>
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
    let mut sizes = HashMap::<&Arc<str>, (usize, BTreeSet<_>)>::new();
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
    let mut sums: BTreeMap<(Option<&PolicyKey>, K, &Arc<str>), u64> = BTreeMap::new();
    for row in rows() {
        if collapsed.contains(row.namespace) {
            let namespace = all_namespaces.as_ref().unwrap_or(row.namespace);
            let key = (Some(row.policy), row.kind, namespace);
            *sums.entry(key).or_default() += row.count;
        } else {
            kept.push(row.row(&subject));
        }
    }
    if kept.len() + sums.len() > limit {
        let mut merged = BTreeMap::new();
        for ((_, kind, namespace), count) in sums {
            *merged.entry((None, kind, namespace)).or_default() += count;
        }
        sums = merged;
    }
    kept.extend(sums.into_iter().map(|((policy, kind, namespace), count)| Row {
        policy: policy.cloned(),
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
                policy: Some(key("mesh")),
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
            policy: row.policy.as_ref().unwrap(),
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

    #[test]
    fn too_many_policies_collapse_into_one() {
        let rows: Vec<TestRow> = rows(&[("a", 2), ("b", 3)])
            .into_iter()
            .flat_map(|row| {
                (0..50).map(move |n| Row {
                    policy: Some(key(&format!("mesh-{n}"))),
                    ..row.clone()
                })
            })
            .collect();
        let bounded = bound(|| rows.iter().map(as_counted), |n| n, 10);
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
}
