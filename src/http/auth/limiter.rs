//! Limits the number of reviews per client and in total, with token buckets.

use std::{collections::HashMap, net::IpAddr};

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
    clients: HashMap<IpAddr, Bucket>,
}

impl Limiter {
    /// Takes one review for a client. Returns false, and takes none, if a limit is reached.
    pub(super) fn take(&mut self, client: IpAddr, now: Instant) -> bool {
        let level =
            |bucket: Option<&Bucket>, rate: Rate| bucket.map_or(rate.burst, |bucket| bucket.level(rate, now));
        let own = level(self.clients.get(&client), PER_CLIENT);
        let total = level(self.total.as_ref(), TOTAL);
        if own < 1.0 || total < 1.0 {
            return false;
        }
        if self.clients.len() >= MAX_CLIENTS && !self.clients.contains_key(&client) {
            self.clients
                .retain(|_, bucket| bucket.level(PER_CLIENT, now) < PER_CLIENT.burst);
            if self.clients.len() >= MAX_CLIENTS {
                return false;
            }
        }
        let bucket = |level| Bucket { level, updated: now };
        self.clients.insert(client, bucket(own - 1.0));
        self.total = Some(bucket(total - 1.0));
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
