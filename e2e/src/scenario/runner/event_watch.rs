//! The Events of the operator in all namespaces, polled once a second for all scenarios.
//!
//! Errors of the API server are ignored until the next poll.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::events::v1::Event;
use kube::api::ListParams;
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::task::JoinHandle;

const INTERVAL: Duration = Duration::from_secs(1);
const SELECTOR: &str = "reportingController=sidewatch.dev/operator";

/// Polls Events until it is dropped.
#[derive(Debug)]
pub(super) struct EventWatch {
    pub(super) events: watch::Receiver<Arc<Vec<Event>>>,
    task: JoinHandle<()>,
}

impl EventWatch {
    pub(super) fn start(client: Client) -> Self {
        let (sender, events) = watch::channel(Arc::default());
        let task = tokio::spawn(async move {
            loop {
                if let Ok(all) = all(&client).await {
                    sender.send_replace(Arc::new(all));
                }
                tokio::time::sleep(INTERVAL).await;
            }
        });
        Self { events, task }
    }
}

impl Drop for EventWatch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The current Events of the operator in all namespaces.
pub(super) async fn all(client: &Client) -> kube::Result<Vec<Event>> {
    let events = Api::<Event>::all(client.clone());
    Ok(events.list(&ListParams::default().fields(SELECTOR)).await?.items)
}
