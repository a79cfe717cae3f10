//! Shares equal values of Pods.
//!
//! The Pods of a Deployment differ in names and UIDs, and in few other values. Labels, container names, images and
//! whole shapes are therefore stored once and shared through [`Arc`]. Most of the memory savings of observations come
//! from this.

use std::{borrow::Borrow, collections::HashSet, hash::Hash, sync::Arc};

use crate::domain::observation::{Labels, Shape, Workload};

/// Shares equal values. Drops values that have no other owner, so its size depends on the values in use and not on all
/// values since the start.
#[derive(Debug, Default)]
pub struct Interner {
    strings: Pool<str>,
    labels: Pool<Labels>,
    workloads: Pool<Workload>,
    shapes: Pool<Shape>,
}

impl Interner {
    /// Returns the shared copy of a string: a namespace, a container's name, an image, a reason.
    pub fn string(&mut self, text: &str) -> Arc<str> {
        self.strings.share(text)
    }

    /// Returns the shared copy of a set of labels.
    pub fn labels(&mut self, labels: Labels) -> Arc<Labels> {
        self.labels.share(labels)
    }

    /// Returns the shared copy of a workload.
    pub fn workload(&mut self, workload: Workload) -> Arc<Workload> {
        self.workloads.share(workload)
    }

    /// Returns the shared copy of a shape.
    pub fn shape(&mut self, shape: Shape) -> Arc<Shape> {
        self.shapes.share(shape)
    }
}

/// The shared values of one type.
#[derive(Debug)]
struct Pool<T: ?Sized> {
    values: HashSet<Arc<T>>,
    /// Number of values at which a sweep drops the values without another owner: twice the number that the last sweep
    /// kept. So the amortized cost of sweeps is constant for each new value.
    sweep_at: usize,
}

/// Minimum number of values for a sweep. Smaller pools use too little memory to matter.
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
    fn equal_values_are_shared() {
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
    fn values_without_another_owner_are_dropped() {
        let mut interner = Interner::default();
        let held: Vec<_> = (0..100).map(|i| interner.string(&format!("held-{i}"))).collect();
        let mut most = 0;
        for i in 0..100_000 {
            interner.string(&format!("dropped-{i}"));
            most = most.max(interner.strings.values.len());
        }
        assert_eq!(most, SMALLEST_SWEEP, "dropped values do not accumulate");
        for (i, text) in held.iter().enumerate() {
            assert!(
                Arc::ptr_eq(text, &interner.string(&format!("held-{i}"))),
                "a held value is still shared"
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
