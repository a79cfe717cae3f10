//! Exponential back-off with jitter.
//!
//! The limits are those of client-go: 0.8 s to 30 s. Without jitter, all watches and writes would reach a server at the
//! same moment after an outage. The longest wait has no jitter: by then the retries are spread, and each watch or write
//! sends one request per 30 s.

use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};

/// The first wait.
pub const FIRST: Duration = Duration::from_millis(800);
/// The longest wait, jitter included.
pub const LONGEST: Duration = Duration::from_secs(30);

/// Maximum `Retry-After` that is respected.
pub(super) const LONGEST_RETRY_AFTER: Duration = Duration::from_mins(1);

/// The back-off of one repeated operation.
#[derive(Clone, Debug, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// Returns the wait before the next attempt. The full wait doubles at each failure, up to [`LONGEST`]. The result
    /// is between half of the full wait and all of it.
    pub fn next_wait(&mut self) -> Duration {
        let full = FIRST.saturating_mul(1 << self.failures.min(6)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        if full == LONGEST {
            return LONGEST;
        }
        full / 2 + full.mul_f64(random() / 2.0)
    }

    /// Returns the wait before the next attempt, not shorter than `Retry-After` (up to one minute).
    pub fn next_wait_or(&mut self, retry_after: Option<Duration>) -> Duration {
        self.next_wait()
            .max(retry_after.unwrap_or_default().min(LONGEST_RETRY_AFTER))
    }

    /// Starts again with the first wait.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

/// Returns a random number in `[0, 1]`. The random keys of the hash maps of std are good enough to spread load.
fn random() -> f64 {
    let bits = RandomState::new().hash_one(0_u8) >> 32;
    f64::from(u32::try_from(bits).unwrap_or_default()) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_limit_until_reset() {
        let mut backoff = Backoff::default();
        for full in [0.8, 1.6, 3.2, 6.4, 12.8, 25.6] {
            let wait = backoff.next_wait().as_secs_f64();
            assert!(
                (full / 2.0..=full).contains(&wait),
                "{wait} is not between half of {full} and {full}"
            );
        }
        for _ in 0..100 {
            assert_eq!(
                backoff.next_wait(),
                LONGEST,
                "the limit holds for all further failures"
            );
        }
        assert_eq!(
            backoff.next_wait_or(Some(Duration::from_secs(45))),
            Duration::from_secs(45),
            "Retry-After is respected"
        );
        assert_eq!(
            backoff.next_wait_or(Some(Duration::from_hours(1))),
            Duration::from_mins(1),
            "up to one minute"
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
