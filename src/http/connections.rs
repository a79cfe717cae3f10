//! Tracks the open connections of a server, and chooses which one to close when there are too many.
//!
//! The connection to close belongs to the client with the most connections. Of these, a connection without a request is
//! closed first, then the one that has been idle for longest. So a client that opens many connections closes only its
//! own, and a scrape that makes progress is closed last. A connection of a client whose token was allowed before is closed only
//! if there is no other, so that many clients cannot close it either.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use parking_lot::Mutex;
use tokio::{task::AbortHandle, time::Instant};

/// The activity of a connection.
#[derive(Debug)]
pub(super) struct Activity {
    peer: IpAddr,
    /// A token of the client was allowed before.
    is_known: bool,
    requested: AtomicBool,
    last: Mutex<Instant>,
}

impl Activity {
    pub(super) fn new(peer: IpAddr) -> Self {
        Self {
            // A client may connect to a dual-stack listener by either family.
            peer: peer.to_canonical(),
            is_known: false,
            requested: AtomicBool::new(false),
            last: Mutex::new(Instant::now()),
        }
    }

    /// Marks a connection of a client whose token was allowed before.
    pub(super) fn known(self, is_known: bool) -> Self {
        Self { is_known, ..self }
    }

    /// Returns the address of the client.
    pub(super) fn peer(&self) -> IpAddr {
        self.peer
    }

    /// Records that the request arrived.
    pub(super) fn requested(&self) {
        self.requested.store(true, Ordering::Relaxed);
        self.record();
    }

    /// Records that the client received a part of the response.
    pub(super) fn record(&self) {
        *self.last.lock() = Instant::now();
    }

    fn last(&self) -> Instant {
        *self.last.lock()
    }
}

/// The open connections.
#[derive(Default)]
pub(super) struct Connections(Vec<(Arc<Activity>, AbortHandle)>);

impl Connections {
    /// Adds a connection. If there would be more than `limit`, closes another one first.
    pub(super) fn add(&mut self, activity: Arc<Activity>, task: AbortHandle, limit: usize) {
        self.0.retain(|(_, task)| !task.is_finished());
        if self.0.len() >= limit {
            self.close_one(activity.peer);
        }
        self.0.push((activity, task));
    }

    fn close_one(&mut self, newcomer: IpAddr) {
        let mut by_peer = HashMap::from([(newcomer, 1_usize)]);
        for (activity, _) in &self.0 {
            *by_peer.entry(activity.peer).or_default() += 1;
        }
        let rank = |activity: &Activity| {
            let count = by_peer.get(&activity.peer).copied().unwrap_or_default();
            let is_idle = !activity.requested.load(Ordering::Relaxed);
            (
                !activity.is_known,
                count,
                is_idle,
                std::cmp::Reverse(activity.last()),
            )
        };
        let worst = (self.0.iter().enumerate()).max_by_key(|(_, (activity, _))| rank(activity));
        if let Some(position) = worst.map(|(position, _)| position) {
            self.0.swap_remove(position).1.abort();
        }
    }
}

impl Drop for Connections {
    fn drop(&mut self) {
        for (_, task) in &self.0 {
            task.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{net::Ipv4Addr, time::Duration};

    use tokio::{task::JoinHandle, time::advance};

    use super::*;

    struct Client {
        activity: Arc<Activity>,
        task: JoinHandle<()>,
    }

    fn connect(open: &mut Connections, host: u8, limit: usize) -> Client {
        let activity = Arc::new(Activity::new(Ipv4Addr::new(10, 0, 0, host).into()));
        let task = tokio::spawn(std::future::pending());
        open.add(Arc::clone(&activity), task.abort_handle(), limit);
        Client { activity, task }
    }

    async fn is_closed(client: &Client) -> bool {
        tokio::task::yield_now().await;
        client.task.is_finished()
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_with_many_connections_closes_only_its_own() {
        let mut open = Connections::default();
        let scraper = connect(&mut open, 1, 8);
        advance(Duration::from_millis(1)).await;
        for _ in 0..100 {
            let client = connect(&mut open, 2, 8);
            client.activity.requested();
            advance(Duration::from_millis(1)).await;
        }
        assert!(
            !is_closed(&scraper).await,
            "it is the oldest connection and has sent nothing"
        );
        assert_eq!(open.0.len(), 8);
    }

    #[tokio::test(start_paused = true)]
    async fn many_clients_do_not_close_the_connection_of_a_known_one() {
        let mut open = Connections::default();
        let known = Arc::new(Activity::new(Ipv4Addr::new(10, 0, 0, 1).into()).known(true));
        let task = tokio::spawn(std::future::pending::<()>());
        open.add(known, task.abort_handle(), 8);
        for host in 2..200 {
            advance(Duration::from_millis(1)).await;
            connect(&mut open, host, 8).activity.requested();
        }
        tokio::task::yield_now().await;
        assert!(!task.is_finished());
        assert_eq!(open.0.len(), 8);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_without_a_request_is_closed_first_and_then_the_most_idle_one() {
        let mut open = Connections::default();
        let stalled = connect(&mut open, 1, 3);
        stalled.activity.requested();
        advance(Duration::from_millis(1)).await;
        let silent = connect(&mut open, 1, 3);
        advance(Duration::from_millis(1)).await;
        let reading = connect(&mut open, 1, 3);
        reading.activity.requested();

        let third = connect(&mut open, 1, 3);
        third.activity.requested();
        assert!(is_closed(&silent).await && !is_closed(&stalled).await);
        advance(Duration::from_millis(1)).await;
        reading.activity.record();
        connect(&mut open, 1, 3);
        assert!(is_closed(&stalled).await && !is_closed(&reading).await);
    }
}
