//! A scripted API server, and an operator that is connected to it.
//!
//! A test takes the requests of one method and path from a [`Route`] and answers each. Every wait has a limit, so a
//! missing request also fails the test. Requests that no test takes stay unanswered, as with a server that hangs.
//!
//! Requests reach the server without a network, so a test can pause the clock of tokio. Minutes then pass in
//! milliseconds. [`ApiServer::listen`] serves the same routes on loopback.

mod checkpoint;
mod lease;
mod objects;
mod operator;
mod server;
mod stored_object;
mod transport;

pub use checkpoint::{ServedCheckpoint, checkpoint_location};
pub use lease::{ServedLease, candidate, candidate_ahead_by};
pub use objects::{failure, list, pod, policy, status_error};
pub use operator::{
    CLUSTER_POLICIES, EVENTS, EXEMPTIONS, MESH_STATUS, NAMESPACES, PODS, POLICIES, READ, Running, Setup,
    in_pay, server_without, start, start_as, start_at, start_stored,
};
pub use server::{ApiServer, Exchange, Route, WatchStream};
pub use transport::{Listener, paused_runtime, virtual_clock, virtual_clock_from};

use std::{future::Future, time::Duration};

/// Limit of each wait in a test. It is longer than the longest back-off of the operator.
pub const SOON: Duration = Duration::from_mins(1);

/// Waits for a future, at most [`SOON`].
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    let value = tokio::time::timeout(SOON, future).await;
    value.unwrap_or_else(|_| panic!("timed out after {SOON:?}: {what}"))
}

/// Polls until a condition holds, at most [`SOON`].
pub async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    soon(what, async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}
