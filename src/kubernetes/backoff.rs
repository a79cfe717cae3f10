//! How long to wait before the next try: doubling, bounded, with jitter.
//!
//! The figures are client-go's: from 0.8 s to 30 s. Without jitter the watches and writes of one process, and of every
//! operator in a cluster, would come back in the same instant to a server that has just recovered. The longest wait has
//! none: by then they are spread, and in a long outage the server is to be asked once in it and no more.

use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};

/// The first wait.
pub const FIRST: Duration = Duration::from_millis(800);
/// No wait is longer, jitter included.
pub const LONGEST: Duration = Duration::from_secs(30);

/// The longest wait that we let the API server ask for.
const LONGEST_ASKED: Duration = Duration::from_mins(1);

/// The waits of one thing that is tried again and again.
#[derive(Clone, Debug, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The wait before the next try: between half of the doubled time and all of it, or the longest.
    pub fn next_wait(&mut self) -> Duration {
        let full = FIRST.saturating_mul(1 << self.failures.min(6)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        if full == LONGEST {
            return LONGEST;
        }
        full / 2 + full.mul_f64(chance() / 2.0)
    }

    /// The same, and not before the API server wants to be asked again (`Retry-After`), as far as that is reasonable.
    pub fn next_wait_asked(&mut self, asked: Option<Duration>) -> Duration {
        self.next_wait().max(asked.unwrap_or_default().min(LONGEST_ASKED))
    }

    /// The next wait is the first one again.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

/// A number in `[0, 1)` that differs from call to call. It spreads load and need not be unpredictable: the hash keys
/// that std draws for its maps are random enough.
fn chance() -> f64 {
    let bits = RandomState::new().hash_one(0_u8) >> 32;
    f64::from(u32::try_from(bits).unwrap_or_default()) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_to_a_limit_and_start_anew() {
        let mut backoff = Backoff::default();
        for full in [0.8, 1.6, 3.2, 6.4, 12.8, 25.6] {
            let wait = backoff.next_wait().as_secs_f64();
            assert!(
                (full / 2.0..=full).contains(&wait),
                "{wait} is not between half of {full} and {full}"
            );
        }
        for _ in 0..100 {
            assert_eq!(backoff.next_wait(), LONGEST, "however often it fails");
        }
        assert_eq!(
            backoff.next_wait_asked(Some(Duration::from_secs(45))),
            Duration::from_secs(45),
            "as asked"
        );
        assert_eq!(
            backoff.next_wait_asked(Some(Duration::from_hours(1))),
            Duration::from_mins(1),
            "within reason"
        );
        backoff.reset();
        assert!(backoff.next_wait() <= FIRST);
    }

    #[test]
    fn waits_differ() {
        let waits: std::collections::BTreeSet<_> = (0..20).map(|_| Backoff::default().next_wait()).collect();
        assert!(waits.len() > 10, "jitter: {waits:?}");
    }
}
