//! A scripted API server for tests: an HTTP server on loopback that answers exactly what a test tells it to, request by
//! request, and an operator that talks to it.
//!
//! A test takes the requests of a path from a [`Route`] and answers each; every wait has a limit, so a request that
//! does not come fails the test too. Requests of paths that nobody took wait unanswered, as at a server that hangs.

mod objects;
mod operator;
mod server;
mod virtual_time;

pub use objects::{list, pod, policy, status_error};
pub use operator::{
    CLUSTER_POLICIES, EVENTS, MESH_STATUS, NAMESPACES, PODS, POLICIES, Running, clients, pods,
    quiet_but_pods, start, start_at,
};
pub use server::{Exchange, Route, Routes, Server, WatchStream};
pub use virtual_time::{clients_in_process, start_in_process, virtual_clock};

use std::{future::Future, time::Duration};

/// How long a test waits for what must come. Generous: the machine may be busy.
pub const SOON: Duration = Duration::from_secs(20);

/// Waits for what must come.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    let value = tokio::time::timeout(SOON, future).await;
    value.unwrap_or_else(|_| panic!("waited {SOON:?} in vain: {what}"))
}

/// Waits until a condition holds.
pub async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    soon(what, async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}
