//! One copy of what many Pods have in common.
//!
//! The Pods of a Deployment differ in their names and UIDs and in little else. Labels, container names, images and whole
//! shapes are therefore kept once and shared through [`Arc`], which is most of what makes an observation small.

use std::{borrow::Borrow, collections::HashSet, hash::Hash, sync::Arc};

use crate::domain::observation::{Labels, Shape, Workload};

/// Hands out shared values. It forgets those that nobody else holds any more, so it grows with what lives and not with
/// what has ever been seen.
#[derive(Debug, Default)]
pub struct Interner {
    strings: Pool<str>,
    labels: Pool<Labels>,
    workloads: Pool<Workload>,
    shapes: Pool<Shape>,
}

impl Interner {
    /// The shared copy of a string: a namespace, a container's name, an image, a reason.
    pub fn string(&mut self, text: &str) -> Arc<str> {
        self.strings.share(text)
    }

    /// The shared copy of a set of labels.
    pub fn labels(&mut self, labels: Labels) -> Arc<Labels> {
        self.labels.share(labels)
    }

    /// The shared copy of a workload.
    pub fn workload(&mut self, workload: Workload) -> Arc<Workload> {
        self.workloads.share(workload)
    }

    /// The shared copy of a shape.
    pub fn shape(&mut self, shape: Shape) -> Arc<Shape> {
        self.shapes.share(shape)
    }
}

/// The shared values of one type.
#[derive(Debug)]
struct Pool<T: ?Sized> {
    values: HashSet<Arc<T>>,
    /// How many values there may be before those that only the pool holds are dropped: twice what the last sweep left,
    /// so that a sweep costs each value handed out since a constant.
    sweep_at: usize,
}

/// Below this many values a sweep frees too little to matter.
const SMALLEST_SWEEP: usize = 256;

impl<T: ?Sized> Default for Pool<T> {
    fn default() -> Self {
        Self {
            values: HashSet::new(),
            sweep_at: SMALLEST_SWEEP,
        }
    }
}

impl<T: ?Sized + Eq + Hash> Pool<T> {
    fn share<V: Borrow<T> + Into<Arc<T>>>(&mut self, value: V) -> Arc<T> {
        if let Some(shared) = self.values.get(value.borrow()) {
            return Arc::clone(shared);
        }
        if self.values.len() >= self.sweep_at {
            self.values.retain(|shared| Arc::strong_count(shared) > 1);
            self.sweep_at = (self.values.len() * 2).max(SMALLEST_SWEEP);
            self.values.shrink_to(self.sweep_at);
        }
        let shared = value.into();
        self.values.insert(Arc::clone(&shared));
        shared
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_are_one() {
        let mut interner = Interner::default();
        let first = interner.string("envoy");
        assert!(Arc::ptr_eq(&first, &interner.string("envoy")), "the same string");
        assert!(!Arc::ptr_eq(&first, &interner.string("vault")), "another string");
        let labels = |value: &str| Labels::from_iter([("app", value)]);
        let web = interner.labels(labels("web"));
        assert!(
            Arc::ptr_eq(&web, &interner.labels(labels("web"))),
            "the same labels"
        );
        assert!(!Arc::ptr_eq(&web, &interner.labels(labels("db"))), "other labels");
    }

    #[test]
    fn what_nobody_holds_is_forgotten() {
        let mut interner = Interner::default();
        let held: Vec<_> = (0..100).map(|i| interner.string(&format!("held-{i}"))).collect();
        let mut most = 0;
        for i in 0..100_000 {
            interner.string(&format!("passing-{i}"));
            most = most.max(interner.strings.values.len());
        }
        assert_eq!(most, SMALLEST_SWEEP, "values that pass by must not make it grow");
        for (i, text) in held.iter().enumerate() {
            assert!(
                Arc::ptr_eq(text, &interner.string(&format!("held-{i}"))),
                "a held value stays the one copy"
            );
        }
    }

    #[test]
    fn sweeps_are_rare_while_everything_is_held() {
        let mut interner = Interner::default();
        let mut sweeps = 0;
        let mut held = Vec::new();
        for i in 0..100_000 {
            let before = interner.strings.sweep_at;
            held.push(interner.string(&i.to_string()));
            sweeps += usize::from(interner.strings.sweep_at != before);
        }
        assert!(
            sweeps < 12,
            "{sweeps} sweeps for 100,000 values: each must double the next bound"
        );
    }
}
