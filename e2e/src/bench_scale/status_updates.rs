//! Writes to `pods/status`, as a kubelet makes them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use http_body_util::BodyExt;
use jiff::Timestamp;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::pods::{NATIVE_SIDECAR_STATUS, READY_CONDITIONS};
use super::population::{Identity, PODS_PER_WORKLOAD, Population};

/// Requests that wait for an answer at the same time.
const CONCURRENCY: usize = 32;
/// A stride through the Pods, so that two updates in a row do not concern Pods next to each other in the store.
const STRIDE: u64 = 7919;

/// The writer. Each update changes a status.
pub(super) struct StatusUpdates {
    client: Client,
    population: Population,
    /// Updates so far: the Pods are updated in turn, over all runs.
    sent: u32,
}

impl StatusUpdates {
    pub(super) fn new(client: Client, population: Population) -> Self {
        Self {
            client,
            population,
            sent: 0,
        }
    }

    pub(super) fn population(&self) -> Population {
        self.population
    }

    /// Updates the readiness and the restart count of the main containers of so many Pods. Returns the updates per second.
    pub(super) async fn send(&mut self, count: u32, per_second: u32) -> Result<f64> {
        let mut interval = tokio::time::interval(Duration::from_secs(1) / per_second);
        let slots = Arc::new(Semaphore::new(CONCURRENCY));
        let mut requests = JoinSet::new();
        let began = Instant::now();
        for _ in 0..count {
            interval.tick().await;
            let slot = slots.clone().acquire_owned().await?;
            let (pod, patch) = self.next();
            let client = self.client.clone();
            requests.spawn(async move {
                let _slot = slot;
                patch_status(&client, pod, &patch).await
            });
            while let Some(finished) = requests.try_join_next() {
                finished??;
            }
        }
        while let Some(finished) = requests.join_next().await {
            finished??;
        }
        Ok(f64::from(count) / began.elapsed().as_secs_f64())
    }

    /// The Pods of the first workload are left to [`Self::set_sidecar_ready`].
    fn next(&mut self) -> (u32, Value) {
        let others = self.population.pods.saturating_sub(PODS_PER_WORKLOAD).max(1);
        let (round, number) = (self.sent / others, self.sent % others);
        self.sent += 1;
        let pod = u64::from(number) * STRIDE % u64::from(others);
        let pod = PODS_PER_WORKLOAD + u32::try_from(pod).unwrap_or_default();
        let ready = round % 2 == 1;
        let mut patch = ready_conditions(ready);
        patch.push(replace("/status/containerStatuses/0/ready", ready));
        patch.push(replace("/status/containerStatuses/0/restartCount", round + 1));
        (pod, patch.into())
    }

    /// Changes the readiness of the native sidecar of one Pod of the first workload. Returns when the response was there.
    pub(super) async fn set_sidecar_ready(&self, pod: u32, ready: bool) -> Result<Instant> {
        let mut patch = ready_conditions(ready);
        let field = format!("/status/initContainerStatuses/{NATIVE_SIDECAR_STATUS}/ready");
        patch.push(replace(&field, ready));
        patch_status(&self.client, pod, &patch.into()).await?;
        Ok(Instant::now())
    }
}

fn ready_conditions(ready: bool) -> Vec<Value> {
    let now = Timestamp::now()
        .round(jiff::Unit::Second)
        .unwrap_or_default()
        .to_string();
    let status = if ready { "True" } else { "False" };
    READY_CONDITIONS
        .iter()
        .flat_map(|index| {
            [
                replace(&format!("/status/conditions/{index}/status"), status),
                replace(
                    &format!("/status/conditions/{index}/lastTransitionTime"),
                    now.as_str(),
                ),
            ]
        })
        .collect()
}

fn replace(path: &str, value: impl Into<Value>) -> Value {
    json!({"op": "replace", "path": path, "value": value.into()})
}

async fn patch_status(client: &Client, pod: u32, change: &Value) -> Result<()> {
    let identity = Identity::of(pod);
    let path = format!(
        "/api/v1/namespaces/{}/pods/{}/status?fieldManager=kubelet",
        identity.namespace,
        identity.pod_name()
    );
    let request = http::Request::patch(&path)
        .header("Content-Type", "application/json-patch+json")
        // a kubelet's encoding, and less work for the API server than JSON
        .header("Accept", "application/vnd.kubernetes.protobuf")
        .body(Body::from(serde_json::to_vec(change)?))?;
    let response = client.send(request).await.with_context(|| path.clone())?;
    let status = response.status();
    let body = response.into_body().collect().await?.to_bytes();
    ensure!(
        status.is_success(),
        "{path}: {status}: {}",
        String::from_utf8_lossy(&body)
    );
    Ok(())
}
