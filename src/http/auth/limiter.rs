//! Limits the number of reviews per client and in total, with token buckets. Clients with an allowed token have a total of their
//! own, a reserve, so that reviews of others do not use it up.

use std::{collections::HashMap, net::IpAddr, time::Duration};

use tokio::time::Instant;

/// Reviews per second and burst of one client.
const PER_CLIENT: Rate = Rate {
    per_second: 1.0,
    burst: 5.0,
};
/// Reviews per second and burst of all clients together.
const TOTAL: Rate = Rate {
    per_second: 10.0,
    burst: 20.0,
};
/// Time for which a client has the reserve after its token was allowed. Longer than a token of a ServiceAccount lasts.
const KNOWN: Duration = Duration::from_hours(2);
/// Maximum number of clients with a bucket of their own. Above that, reviews are refused until another bucket is full.
const MAX_CLIENTS: usize = 256;

#[derive(Clone, Copy)]
struct Rate {
    per_second: f64,
    burst: f64,
}

/// A token bucket.
#[derive(Clone, Copy)]
struct Bucket {
    level: f64,
    updated: Instant,
}

impl Bucket {
    /// Returns the level at this time.
    fn level(&self, rate: Rate, now: Instant) -> f64 {
        let gained = now.duration_since(self.updated).as_secs_f64() * rate.per_second;
        (self.level + gained).min(rate.burst)
    }
}

/// The buckets. A missing bucket is full.
#[derive(Default)]
pub(super) struct Limiter {
    total: Option<Bucket>,
    reserve: Option<Bucket>,
    clients: HashMap<IpAddr, Bucket>,
    /// The clients with the reserve, and when a token of each was allowed last.
    known: HashMap<IpAddr, Instant>,
}

impl Limiter {
    /// Records that the token of a client was allowed.
    pub(super) fn allowed(&mut self, client: IpAddr, now: Instant) {
        if self.known.len() >= MAX_CLIENTS && !self.known.contains_key(&client) {
            let oldest = self.known.iter().min_by_key(|(_, at)| **at);
            if let Some(oldest) = oldest.map(|(client, _)| *client) {
                self.known.remove(&oldest);
            }
        }
        self.known.insert(client, now);
    }

    /// Reports whether a client has the reserve.
    pub(super) fn is_known(&self, client: IpAddr, now: Instant) -> bool {
        self.known
            .get(&client)
            .is_some_and(|at| now.duration_since(*at) < KNOWN)
    }

    /// Takes one review for a client. Returns false, and takes none, if a limit is reached.
    pub(super) fn take(&mut self, client: IpAddr, now: Instant) -> bool {
        let level =
            |bucket: Option<&Bucket>, rate: Rate| bucket.map_or(rate.burst, |bucket| bucket.level(rate, now));
        let own = level(self.clients.get(&client), PER_CLIENT);
        let is_known = self.is_known(client, now);
        let shared = if is_known {
            &mut self.reserve
        } else {
            &mut self.total
        };
        let total = level(shared.as_ref(), TOTAL);
        if own < 1.0 || total < 1.0 {
            return false;
        }
        let bucket = |level| Bucket { level, updated: now };
        if self.clients.len() >= MAX_CLIENTS && !self.clients.contains_key(&client) && !is_known {
            self.clients
                .retain(|_, bucket| bucket.level(PER_CLIENT, now) < PER_CLIENT.burst);
            if self.clients.len() >= MAX_CLIENTS {
                return false;
            }
        }
        self.clients.insert(client, bucket(own - 1.0));
        *shared = Some(bucket(total - 1.0));
        true
    }
}

#[cfg(test)]
mod tests {
    use std::{net::Ipv4Addr, time::Duration};

    use super::*;

    fn client(n: u16) -> IpAddr {
        let [high, low] = n.to_be_bytes();
        Ipv4Addr::new(10, 0, high, low).into()
    }

    /// The number of reviews of a client that tries 100 times.
    fn taken(limiter: &mut Limiter, n: u16, now: Instant) -> usize {
        (0..100).filter(|_| limiter.take(client(n), now)).count()
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_whose_token_was_allowed_has_a_reserve() {
        let mut limiter = Limiter::default();
        let start = Instant::now();
        limiter.allowed(client(0), start);
        for second in 0..600 {
            let now = start + Duration::from_secs(second);
            for n in 1..1000 {
                limiter.take(client(n), now);
            }
            if second % 60 == 0 {
                assert!(limiter.take(client(0), now), "after {second} s");
            }
        }
        let later = start + KNOWN;
        assert!(!limiter.is_known(client(0), later) && limiter.is_known(client(0), start));
        for n in 0..1000 {
            limiter.allowed(client(n), later);
        }
        assert_eq!(limiter.known.len(), MAX_CLIENTS);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_has_its_own_limit() {
        let mut limiter = Limiter::default();
        let now = Instant::now();
        assert_eq!(taken(&mut limiter, 1, now), 5);
        assert_eq!(taken(&mut limiter, 2, now), 5, "another client");
        assert_eq!(taken(&mut limiter, 1, now + Duration::from_secs(3)), 3);
        assert_eq!(
            taken(&mut limiter, 1, now + Duration::from_hours(1)),
            5,
            "not more than the burst"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn all_clients_together_have_a_limit() {
        let mut limiter = Limiter::default();
        let now = Instant::now();
        let all = |limiter: &mut Limiter, now| (0..1000).map(|n| taken(limiter, n, now)).sum::<usize>();
        assert_eq!(all(&mut limiter, now), 20);
        assert_eq!(all(&mut limiter, now + Duration::from_secs(1)), 10);
        for second in 0..100 {
            all(&mut limiter, now + Duration::from_secs(second));
            assert!(limiter.clients.len() <= MAX_CLIENTS);
        }
    }
}
