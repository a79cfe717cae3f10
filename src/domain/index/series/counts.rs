//! Counts by namespace, kind and subject, with their sums by namespace and by kind.
//!
//! Each change updates the sums, so that a copy of bounded size visits only what it copies.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::Arc,
};

/// The counts of one policy. `K` is what remains of a series when its namespace collapses, and `S` is what it is about.
/// The default of `S` is its lowest value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::domain::index) struct SeriesCounts<K, S> {
    rows: BTreeMap<(Arc<str>, K, S), u64>,
    namespaces: BTreeMap<(Arc<str>, K), Sum>,
    kinds: BTreeMap<K, u64>,
}

/// The sum of the series of a namespace and kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sum {
    /// The number of series.
    pub(super) series: usize,
    /// The sum of their counts.
    pub(super) count: u64,
}

impl<K, S> Default for SeriesCounts<K, S> {
    fn default() -> Self {
        Self {
            rows: BTreeMap::new(),
            namespaces: BTreeMap::new(),
            kinds: BTreeMap::new(),
        }
    }
}

impl<K: Ord + Copy, S: Ord + Default> SeriesCounts<K, S> {
    /// Adds to a count. Zero changes nothing.
    pub(in crate::domain::index) fn add(&mut self, series: (Arc<str>, K, S), count: u64) {
        if count == 0 {
            return;
        }
        let of_namespace = (Arc::clone(&series.0), series.1);
        let row = self.rows.entry(series);
        let is_new = matches!(row, Entry::Vacant(_));
        *row.or_default() += count;
        *self.kinds.entry(of_namespace.1).or_default() += count;
        let sum = self.namespaces.entry(of_namespace).or_default();
        sum.series += usize::from(is_new);
        sum.count += count;
    }

    /// Subtracts from a count. A series whose count is zero is removed.
    pub(in crate::domain::index) fn subtract(&mut self, series: (Arc<str>, K, S), count: u64) {
        let of_namespace = (Arc::clone(&series.0), series.1);
        let Entry::Occupied(mut row) = self.rows.entry(series) else {
            return;
        };
        let count = count.min(*row.get());
        *row.get_mut() -= count;
        let is_gone = *row.get() == 0;
        if is_gone {
            row.remove();
        }
        if let Entry::Occupied(mut kind) = self.kinds.entry(of_namespace.1) {
            *kind.get_mut() -= count;
            if *kind.get() == 0 {
                kind.remove();
            }
        }
        if let Entry::Occupied(mut sum) = self.namespaces.entry(of_namespace) {
            sum.get_mut().series -= usize::from(is_gone);
            sum.get_mut().count -= count;
            if sum.get().series == 0 {
                sum.remove();
            }
        }
    }

    /// The number of series.
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Reports whether there are no series.
    #[cfg(test)]
    pub(in crate::domain::index) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// All series with their counts.
    pub(in crate::domain::index) fn iter(&self) -> impl Iterator<Item = (&Arc<str>, K, &S, u64)> {
        let rows = self.rows.iter();
        rows.map(|((namespace, kind, subject), count)| (namespace, *kind, subject, *count))
    }

    /// The series of one namespace and kind, from this subject on.
    pub(in crate::domain::index) fn from<'a>(
        &'a self,
        namespace: &'a Arc<str>,
        kind: K,
        subject: S,
    ) -> impl Iterator<Item = (&'a S, u64)> {
        let first = (Arc::clone(namespace), kind, subject);
        let rows = self.rows.range(first..);
        let rows = rows.take_while(move |((of, is, _), _)| of == namespace && *is == kind);
        rows.map(|((_, _, subject), count)| (subject, *count))
    }

    /// The number of sums by namespace and kind.
    pub(super) fn namespace_sums(&self) -> usize {
        self.namespaces.len()
    }

    /// The sums by namespace and kind.
    pub(super) fn by_namespace(&self) -> impl Iterator<Item = (&Arc<str>, K, Sum)> {
        let sums = self.namespaces.iter();
        sums.map(|((namespace, kind), sum)| (namespace, *kind, *sum))
    }

    /// The sums by kind.
    pub(in crate::domain::index) fn by_kind(&self) -> impl Iterator<Item = (K, u64)> {
        self.kinds.iter().map(|(kind, count)| (*kind, *count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Namespace, kind, number of series and count of each sum by namespace, and the sums by kind.
    type Sums<'a> = (Vec<(&'a str, u8, usize, u64)>, Vec<(u8, u64)>);

    fn sums(counts: &SeriesCounts<u8, u8>) -> Sums<'_> {
        let by_namespace = counts
            .by_namespace()
            .map(|(namespace, kind, sum)| (&**namespace, kind, sum.series, sum.count));
        (by_namespace.collect(), counts.by_kind().collect())
    }

    #[test]
    fn sums_follow_each_change() {
        let mut counts = SeriesCounts::default();
        let series = |namespace: &str, kind: u8, subject: u8| (Arc::from(namespace), kind, subject);
        counts.add(series("a", 1, 1), 2);
        counts.add(series("a", 1, 1), 3);
        counts.add(series("a", 1, 2), 1);
        counts.add(series("a", 2, 1), 4);
        counts.add(series("b", 1, 1), 5);
        counts.add(series("b", 1, 7), 0);
        let expected = vec![("a", 1, 2, 6), ("a", 2, 1, 4), ("b", 1, 1, 5)];
        assert_eq!(sums(&counts), (expected, vec![(1, 11), (2, 4)]));
        assert_eq!((counts.len(), counts.namespace_sums()), (4, 3));
        let namespace = Arc::from("a");
        let rows: Vec<_> = counts.from(&namespace, 1, 2).collect();
        assert_eq!(rows, [(&2, 1)]);

        counts.subtract(series("a", 1, 1), 4);
        counts.subtract(series("a", 2, 1), 4);
        counts.subtract(series("c", 1, 1), 1);
        assert_eq!(
            sums(&counts),
            (vec![("a", 1, 2, 2), ("b", 1, 1, 5)], vec![(1, 7)])
        );
        for (subject, count) in [(1, 1), (2, 1)] {
            counts.subtract(series("a", 1, subject), count);
        }
        counts.subtract(series("b", 1, 1), 5);
        assert_eq!(counts, SeriesCounts::default());
    }
}
