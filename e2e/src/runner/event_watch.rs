//! All that the operator has told the cluster in Events, as everybody may read it at any time.
//!
//! One task asks once a second, whatever the number of those who wait. An API server that is away is asked again.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::events::v1::Event;
use kube::api::ListParams;
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::task::JoinHandle;

const EVERY: Duration = Duration::from_secs(1);
const OURS: &str = "reportingController=sidewatch.dev/operator";

/// Ends with its handle.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) events: watch::Receiver<Arc<Vec<Event>>>,
    task: JoinHandle<()>,
}

impl Told {
    pub(super) fn listen(client: Client) -> Self {
        let (sender, events) = watch::channel(Arc::default());
        let task = tokio::spawn(async move {
            loop {
                if let Ok(all) = all(&client).await {
                    sender.send_replace(Arc::new(all));
                }
                tokio::time::sleep(EVERY).await;
            }
        });
        Self { events, task }
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The Events of every namespace, now.
pub(super) async fn all(client: &Client) -> kube::Result<Vec<Event>> {
    let events = Api::<Event>::all(client.clone());
    let ours = ListParams::default().fields(OURS);
    Ok(events.list(&ours).await?.items)
}
