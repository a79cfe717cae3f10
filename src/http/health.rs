//! Serves `/livez` and `/readyz`: whether the reconciler makes progress, and whether every watch is in sync.

use std::{sync::Arc, time::Duration};

use http::StatusCode;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::{
    http::server::{Page, Pages},
    telemetry::monitor::Monitor,
};

/// Maximum time between two heartbeats of the reconciler. After that, the process counts as stuck. An idle reconciler
/// sends heartbeats far more often.
const STUCK: Duration = Duration::from_mins(1);

/// The watches of the process, and the heartbeat of the reconciler.
pub struct Health {
    /// The watches.
    pub monitors: Vec<Arc<Monitor>>,
    last_heartbeat: Mutex<Instant>,
}

impl Health {
    /// Creates the health of a process with these watches.
    pub fn new(monitors: Vec<Arc<Monitor>>) -> Self {
        Self {
            monitors,
            last_heartbeat: Mutex::new(Instant::now()),
        }
    }

    /// Records a heartbeat of the reconciler.
    pub fn record_heartbeat(&self) {
        *self.last_heartbeat.lock() = Instant::now();
    }

    /// Returns the reasons why the operator is not ready, one line each. Empty when it is ready.
    pub fn not_ready_reasons(&self) -> Vec<String> {
        self.monitors
            .iter()
            .filter_map(|monitor| monitor.not_ready_reason())
            .collect()
    }

    fn is_alive(&self) -> bool {
        self.last_heartbeat.lock().elapsed() < STUCK
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
                let reasons = self.not_ready_reasons();
                Some(if reasons.is_empty() {
                    Page::text(StatusCode::OK, "ok\n")
                } else {
                    let list = reasons.join("\n- ");
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
    use jiff::Timestamp;
    use tokio::time::advance;

    use super::*;
    use crate::{clock::Clock, telemetry::monitor::Resource};

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
        (page.status.as_u16(), page.body.to_text())
    }

    #[tokio::test(start_paused = true)]
    async fn the_operator_is_ready_when_every_first_list_is_complete() {
        let health = health();
        let expected = "not ready, waiting for:\n- the list of pods in namespace pay is in progress\n\
                        - the list of sidecarpolicies is in progress\n";
        assert_eq!(readyz(&health), (503, expected.to_owned()));

        health.monitors[0].failed("forbidden", "cannot list pods:\nforbidden");
        health.monitors[1].in_sync();
        let expected = "not ready, waiting for:\n- cannot list pods: forbidden\n";
        assert_eq!(
            readyz(&health),
            (503, expected.to_owned()),
            "one line for each watch that is not ready"
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
    async fn the_process_is_alive_while_the_reconciler_sends_heartbeats() {
        let health = health();
        assert_eq!(health.page("/livez").unwrap().status, 200);
        advance(STUCK).await;
        assert_eq!(health.page("/livez").unwrap().status, 500);
        health.record_heartbeat();
        assert_eq!(health.page("/livez").unwrap().status, 200);
        assert!(health.page("/").is_none());
    }
}
