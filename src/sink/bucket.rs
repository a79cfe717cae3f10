//! Token buckets that limit how many Events are written.

use std::{collections::HashMap, hash::Hash, time::Duration};

use tokio::time::Instant;

/// Size and refill rate of a bucket.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rate {
    /// Number of tokens in a full bucket.
    pub(super) burst: u32,
    /// Time in which one token is added.
    pub(super) every: Duration,
}

/// One bucket.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    tokens: f64,
    updated: Instant,
}

impl Bucket {
    fn full(rate: Rate, now: Instant) -> Self {
        Self {
            tokens: f64::from(rate.burst),
            updated: now,
        }
    }

    fn fill(&mut self, rate: Rate, now: Instant) {
        let added = now.saturating_duration_since(self.updated).as_secs_f64() / rate.every.as_secs_f64();
        self.tokens = (self.tokens + added).min(f64::from(rate.burst));
        self.updated = now;
    }

    fn has_one(&self, reserve: f64) -> bool {
        self.tokens + reserve >= 1.0
    }

    fn is_full(&self, rate: Rate) -> bool {
        self.tokens >= f64::from(rate.burst)
    }
}

/// Token buckets by key. Full buckets are removed, because they equal new ones.
#[derive(Debug)]
pub(super) struct Buckets<K> {
    rate: Rate,
    by_key: HashMap<K, Bucket>,
    sweep_at: usize,
}

impl<K: Hash + Eq> Buckets<K> {
    pub(super) fn new(rate: Rate) -> Self {
        Self {
            rate,
            by_key: HashMap::new(),
            sweep_at: 1024,
        }
    }

    /// Reports whether the key has a token, or has overdrawn its bucket by fewer than `reserve` tokens. A negative reserve is a
    /// number of tokens that the key leaves in the bucket.
    pub(super) fn has_one(&mut self, key: K, reserve: f64, now: Instant) -> bool {
        self.bucket(key, now).has_one(reserve)
    }

    /// Takes a token.
    pub(super) fn take(&mut self, key: K, now: Instant) {
        self.bucket(key, now).tokens -= 1.0;
    }

    fn bucket(&mut self, key: K, now: Instant) -> &mut Bucket {
        let rate = self.rate;
        if self.by_key.len() >= self.sweep_at {
            self.by_key.retain(|_, bucket| {
                bucket.fill(rate, now);
                !bucket.is_full(rate)
            });
            self.sweep_at = 1024.max(self.by_key.len() * 2);
        }
        let bucket = self.by_key.entry(key).or_insert_with(|| Bucket::full(rate, now));
        bucket.fill(rate, now);
        bucket
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate {
        burst: 3,
        every: Duration::from_secs(10),
    };

    fn try_take(buckets: &mut Buckets<u32>, key: u32, now: Instant) -> bool {
        let has_one = buckets.has_one(key, 0.0, now);
        if has_one {
            buckets.take(key, now);
        }
        has_one
    }

    #[test]
    fn a_burst_is_followed_by_one_token_per_period() {
        let start = Instant::now();
        let mut buckets = Buckets::new(RATE);
        let table = [
            (0, true, "first token of the burst"),
            (0, true, "second"),
            (0, true, "third"),
            (0, false, "the bucket is empty"),
            (9, false, "too early"),
            (10, true, "one token was added"),
            (11, false, "and is used"),
            (100, true, "full again"),
            (100, true, "with the whole burst"),
            (100, true, "up to its size"),
            (100, false, "and no more"),
        ];
        for (seconds, expected, why) in table {
            let now = start + Duration::from_secs(seconds);
            assert_eq!(try_take(&mut buckets, 1, now), expected, "{seconds} s: {why}");
        }
        assert!(try_take(&mut buckets, 2, start), "each key has its own bucket");
    }

    #[test]
    fn full_buckets_are_removed() {
        let start = Instant::now();
        let mut buckets = Buckets::new(RATE);
        for key in 0..5000 {
            try_take(&mut buckets, key, start);
        }
        assert!(buckets.by_key.len() >= 5000, "none is full yet");
        let later = start + Duration::from_secs(10);
        for key in 5000..50_000 {
            try_take(&mut buckets, key, later + Duration::from_secs(u64::from(key)));
        }
        assert!(buckets.by_key.len() < 10_000, "{} are kept", buckets.by_key.len());
    }
}
