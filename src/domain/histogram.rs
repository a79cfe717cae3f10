//! A histogram of durations, as Prometheus shows it.

use jiff::SignedDuration;

/// A histogram of durations in seconds.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    /// The upper bounds, in ascending order.
    pub bounds: &'static [f64],
    /// The number of durations up to each bound and above the previous one. The last entry counts durations above all
    /// bounds.
    pub counts: Box<[u64]>,
    /// The sum of all durations.
    pub sum: f64,
}

impl Histogram {
    /// Creates an empty histogram.
    pub fn new(bounds: &'static [f64]) -> Self {
        Self {
            bounds,
            counts: vec![0; bounds.len() + 1].into(),
            sum: 0.0,
        }
    }

    /// Adds a duration. A negative one counts as zero.
    pub fn observe(&mut self, duration: SignedDuration) {
        let seconds = duration.as_secs_f64().max(0.0);
        let bucket = self.bounds.iter().position(|bound| seconds <= *bound);
        if let Some(count) = self.counts.get_mut(bucket.unwrap_or(self.bounds.len())) {
            *count += 1;
        }
        self.sum += seconds;
    }

    /// The number of durations.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_in_the_bucket_of_the_first_bound_that_is_not_lower() {
        let mut histogram = Histogram::new(&[0.5, 2.0]);
        for millis in [-100, 500, 501, 2_000, 90_000] {
            histogram.observe(SignedDuration::from_millis(millis));
        }
        assert_eq!(*histogram.counts, [2, 2, 1]);
        assert_eq!((histogram.count(), histogram.sum), (5, 93.001));
    }
}
