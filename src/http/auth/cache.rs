//! The outcomes of reviews. The keys are digests, so that no token stays in memory.

use std::{collections::HashMap, time::Duration};

use ring::{
    hmac::{self, HMAC_SHA256},
    rand::SystemRandom,
};
use tokio::time::Instant;

use super::review::Outcome;

/// Age from which an allowed token is reviewed again.
const ALLOWED_FRESH: Duration = Duration::from_mins(1);
/// Age until which an allowed token stays allowed if it cannot be reviewed.
const ALLOWED_KEPT: Duration = Duration::from_mins(5);
/// Age until which a refused token stays refused without a review.
const REFUSED_FRESH: Duration = Duration::from_secs(10);
/// Maximum number of outcomes.
const CAPACITY: usize = 256;

/// The digest of a token.
pub(super) type Key = [u8; 32];

/// Computes digests with a key that is random in each process.
pub(super) struct Digests(hmac::Key);

impl Digests {
    pub(super) fn new() -> Result<Self, ring::error::Unspecified> {
        hmac::Key::generate(HMAC_SHA256, &SystemRandom::new()).map(Self)
    }

    pub(super) fn digest(&self, token: &str) -> Key {
        let mut key = Key::default();
        let digest = hmac::sign(&self.0, token.as_bytes());
        for (to, from) in key.iter_mut().zip(digest.as_ref()) {
            *to = *from;
        }
        key
    }
}

/// What the cache knows about a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cached {
    /// The outcome needs no review.
    Fresh(Outcome),
    /// The token was allowed at most [`ALLOWED_KEPT`] ago. It needs a review.
    Allowed,
    /// The token needs a review.
    Unknown,
}

/// At most [`CAPACITY`] outcomes.
#[derive(Default)]
pub(super) struct Cache(HashMap<Key, (Outcome, Instant)>);

impl Cache {
    pub(super) fn get(&self, key: &Key, now: Instant) -> Cached {
        match self.0.get(key) {
            Some((outcome, at)) => cached(*outcome, now.duration_since(*at)),
            None => Cached::Unknown,
        }
    }

    /// Stores an outcome. Makes room by removing what is expired, then the oldest refusal, then the oldest outcome.
    pub(super) fn insert(&mut self, key: Key, outcome: Outcome, now: Instant) {
        if self.0.len() >= CAPACITY && !self.0.contains_key(&key) {
            (self.0).retain(|_, (outcome, at)| cached(*outcome, now.duration_since(*at)) != Cached::Unknown);
        }
        if self.0.len() >= CAPACITY && !self.0.contains_key(&key) {
            let rank = |(outcome, at): &(Outcome, Instant)| (*outcome == Outcome::Allowed, *at);
            let oldest = self.0.iter().min_by_key(|(_, entry)| rank(entry));
            if let Some(oldest) = oldest.map(|(key, _)| *key) {
                self.0.remove(&oldest);
            }
        }
        self.0.insert(key, (outcome, now));
    }
}

fn cached(outcome: Outcome, age: Duration) -> Cached {
    match outcome {
        Outcome::Allowed if age < ALLOWED_FRESH => Cached::Fresh(outcome),
        Outcome::Allowed if age < ALLOWED_KEPT => Cached::Allowed,
        Outcome::Unauthenticated | Outcome::Forbidden if age < REFUSED_FRESH => Cached::Fresh(outcome),
        _ => Cached::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn key(n: usize) -> Key {
        let mut key = Key::default();
        key[..8].copy_from_slice(&n.to_le_bytes());
        key
    }

    #[tokio::test(start_paused = true)]
    async fn an_outcome_expires() {
        let begun = Instant::now();
        let (allowed, refused) = (Cached::Fresh(Outcome::Allowed), Cached::Fresh(Outcome::Forbidden));
        #[rustfmt::skip]
        let table = [
            (Outcome::Allowed, 0, allowed, "new"),
            (Outcome::Allowed, 59, allowed, "not yet due for a review"),
            (Outcome::Allowed, 60, Cached::Allowed, "due for a review"),
            (Outcome::Allowed, 299, Cached::Allowed, "kept while reviews fail"),
            (Outcome::Allowed, 300, Cached::Unknown, "expired"),
            (Outcome::Forbidden, 9, refused, "not yet due for a review"),
            (Outcome::Forbidden, 10, Cached::Unknown, "due for a review"),
        ];
        for (outcome, age, expected, why) in table {
            let mut cache = Cache::default();
            cache.insert(key(1), outcome, begun);
            assert_eq!(cache.get(&key(1), begun + age * SECOND), expected, "{why}");
            assert_eq!(cache.get(&key(2), begun), Cached::Unknown);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn refused_tokens_do_not_displace_an_allowed_one() {
        let now = Instant::now();
        let mut cache = Cache::default();
        cache.insert(key(0), Outcome::Allowed, now);
        for n in 1..10 * CAPACITY {
            cache.insert(key(n), Outcome::Unauthenticated, now + SECOND);
            assert!(cache.0.len() <= CAPACITY, "refused tokens");
        }
        assert_eq!(cache.get(&key(0), now), Cached::Fresh(Outcome::Allowed));
        for n in 0..2 * CAPACITY {
            cache.insert(key(n), Outcome::Allowed, now + 2 * SECOND);
            assert!(cache.0.len() <= CAPACITY, "allowed tokens");
        }
    }

    #[test]
    fn a_digest_depends_on_the_token_and_the_process() {
        let (one, other) = (Digests::new().unwrap(), Digests::new().unwrap());
        assert_eq!(one.digest("token"), one.digest("token"));
        assert_ne!(one.digest("token"), one.digest("tokem"));
        assert_ne!(one.digest("token"), other.digest("token"));
    }
}
