//! Whether the operator sees what it should: one [`Monitor`] per watch, and the health pages over all of them.
//!
//! Written by the watches, read by the health pages and the metrics. Knows nothing of what the watches bring.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use http::StatusCode;
use jiff::Timestamp;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::{
    clock::Clock,
    domain::index::Scope,
    http::server::{Page, Pages},
    kubernetes::client::Pulse,
    telemetry::clean,
};

/// How long a resource that was in sync may be out of it before the operator is not ready.
const PATIENCE: Duration = Duration::from_mins(1);
/// How long the reconciler may take for a turn before the process counts as stuck. An idle one turns far more often.
const STUCK: Duration = Duration::from_mins(1);

/// What is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Resource {
    /// `pods`
    Pods,
    /// `namespaces`
    Namespaces,
    /// `sidecarpolicies.sidewatch.dev`
    SidecarPolicies,
    /// `clustersidecarpolicies.sidewatch.dev`
    ClusterSidecarPolicies,
}

impl Resource {
    /// The plural name, as in RBAC rules.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pods => "pods",
            Self::Namespaces => "namespaces",
            Self::SidecarPolicies => "sidecarpolicies",
            Self::ClusterSidecarPolicies => "clustersidecarpolicies",
        }
    }

    /// Whether a CRD of ours defines it.
    pub const fn is_policy(self) -> bool {
        matches!(self, Self::SidecarPolicies | Self::ClusterSidecarPolicies)
    }
}

/// The state of one watch.
pub struct Monitor {
    /// What is watched.
    pub resource: Resource,
    /// Where.
    pub scope: Scope,
    /// What the client sees of its requests.
    pub pulse: Arc<Pulse>,
    state: Mutex<State>,
}

struct State {
    /// A list has been complete once.
    was_synced: bool,
    in_sync: bool,
    out_since: Instant,
    /// Until when our picture was the server's, as of when it was lost.
    last_synced: Timestamp,
    /// Why it is out of sync, in a sentence; as it was logged last.
    problem: Option<String>,
}

impl Monitor {
    /// A watch that has not begun.
    pub fn new(resource: Resource, scope: Scope, clock: Arc<dyn Clock>) -> Self {
        Self {
            resource,
            scope,
            pulse: Arc::new(Pulse::new(clock)),
            state: Mutex::new(State {
                was_synced: false,
                in_sync: false,
                out_since: Instant::now(),
                last_synced: Timestamp::MIN,
                problem: None,
            }),
        }
    }

    /// Our picture is no longer the server's. Returns until when it was: the first loss counts, until it is in sync
    /// again, because the lists of a resync that fails half-way show only some of the objects.
    pub fn lost(&self) -> Timestamp {
        let mut state = self.state();
        if state.in_sync {
            state.in_sync = false;
            state.out_since = Instant::now();
            state.last_synced = self.pulse.last_activity().unwrap_or(Timestamp::MIN);
        }
        state.last_synced
    }

    /// A try failed, and why, in a sentence for people. Logged when that differs from the last failure.
    pub fn failed(&self, reason: &'static str, problem: &str) {
        let problem = clean(problem);
        let mut state = self.state();
        if state.problem.as_ref() == Some(&problem) {
            return;
        }
        warn!(
            resource = self.resource.as_str(),
            scope = self.scope.as_deref(),
            reason,
            "{problem}"
        );
        state.problem = Some(problem);
    }

    /// Our picture is the server's.
    pub fn in_sync(&self) {
        let mut state = self.state();
        if !state.was_synced || state.problem.is_some() {
            info!(
                resource = self.resource.as_str(),
                scope = self.scope.as_deref(),
                "in sync"
            );
        }
        state.was_synced = true;
        state.in_sync = true;
        state.problem = None;
    }

    /// Whether our picture is the server's.
    pub fn is_in_sync(&self) -> bool {
        self.state().in_sync
    }

    /// What keeps the operator from being ready, if it is this watch.
    fn awaited(&self) -> Option<String> {
        let state = self.state();
        if state.in_sync || state.was_synced && state.out_since.elapsed() < PATIENCE {
            return None;
        }
        Some(state.problem.clone().unwrap_or_else(|| {
            let place = self
                .scope
                .as_ref()
                .map(|ns| format!(" in namespace {ns}"))
                .unwrap_or_default();
            format!("the list of {}{place} is under way", self.resource.as_str())
        }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All watches of the process, and its heartbeat.
pub struct Health {
    /// The watches.
    pub monitors: Vec<Arc<Monitor>>,
    turned: Mutex<Instant>,
}

impl Health {
    /// Watches that are all awaited.
    pub fn new(monitors: Vec<Arc<Monitor>>) -> Self {
        Self {
            monitors,
            turned: Mutex::new(Instant::now()),
        }
    }

    /// The reconciler has made a turn.
    pub fn turned(&self) {
        *self.turned.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// What keeps the operator from being ready, a line each; empty when it is ready.
    pub fn awaited(&self) -> Vec<String> {
        self.monitors
            .iter()
            .filter_map(|monitor| monitor.awaited())
            .collect()
    }

    fn is_alive(&self) -> bool {
        self.turned
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .elapsed()
            < STUCK
    }
}

impl Pages for Health {
    fn page(&self, path: &str) -> Option<Page> {
        match path {
            "/livez" if self.is_alive() => Some(Page::text(StatusCode::OK, "ok\n")),
            "/livez" => Some(Page::text(
                StatusCode::INTERNAL_SERVER_ERROR,
                "the reconciler is stuck\n",
            )),
            "/readyz" => {
                let awaited = self.awaited();
                Some(if awaited.is_empty() {
                    Page::text(StatusCode::OK, "ok\n")
                } else {
                    let list = awaited.join("\n- ");
                    Page::text(
                        StatusCode::SERVICE_UNAVAILABLE,
                        format!("not ready, waiting for:\n- {list}\n"),
                    )
                })
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    fn health() -> Health {
        let clock: Arc<dyn Clock> = Arc::new(|| Timestamp::UNIX_EPOCH);
        let monitor = |resource, scope| Arc::new(Monitor::new(resource, scope, Arc::clone(&clock)));
        Health::new(vec![
            monitor(Resource::Pods, Some("pay".into())),
            monitor(Resource::SidecarPolicies, None),
        ])
    }

    fn readyz(health: &Health) -> (u16, String) {
        let page = health.page("/readyz").unwrap();
        (page.status.as_u16(), page.body)
    }

    #[tokio::test(start_paused = true)]
    async fn ready_when_every_first_list_is_complete() {
        let health = health();
        let (status, body) = readyz(&health);
        assert_eq!(status, 503);
        assert!(
            body.contains("the list of pods in namespace pay is under way"),
            "{body}"
        );
        assert!(
            body.contains("the list of sidecarpolicies is under way"),
            "{body}"
        );

        health.monitors[0].failed("forbidden", "cannot list pods:\nforbidden");
        health.monitors[1].in_sync();
        let expected = "not ready, waiting for:\n- cannot list pods: forbidden\n";
        assert_eq!(
            readyz(&health),
            (503, expected.to_owned()),
            "names what is missing, on one line"
        );

        health.monitors[0].in_sync();
        assert_eq!(readyz(&health), (200, "ok\n".to_owned()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_resource_may_be_out_of_sync_for_a_minute() {
        let health = health();
        for monitor in &health.monitors {
            monitor.in_sync();
        }
        health.monitors[0].lost();
        health.monitors[0].failed("transport", "cannot watch pods: connection refused");
        advance(Duration::from_secs(59)).await;
        assert_eq!(readyz(&health).0, 200, "a short outage");
        assert!(!health.monitors[0].is_in_sync());
        health.monitors[0].lost();
        advance(Duration::from_secs(1)).await;
        let (status, body) = readyz(&health);
        assert!(
            status == 503 && body.contains("connection refused"),
            "{status} {body}"
        );
        health.monitors[0].in_sync();
        assert_eq!(readyz(&health).0, 200);
    }

    #[tokio::test(start_paused = true)]
    async fn alive_while_the_reconciler_turns() {
        let health = health();
        assert_eq!(health.page("/livez").unwrap().status, 200);
        advance(STUCK).await;
        assert_eq!(health.page("/livez").unwrap().status, 500);
        health.turned();
        assert_eq!(health.page("/livez").unwrap().status, 200);
        assert!(health.page("/").is_none());
    }
}
