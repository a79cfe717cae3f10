//! The time from the response to a status PATCH until `/metrics` shows the change.

use std::time::Duration;

use anyhow::{Result, bail, ensure};

use super::client::{ClientKind, RunningClient};
use super::pods::NATIVE_SIDECAR;
use super::population::{Identity, PODS_PER_WORKLOAD};
use super::status_updates::StatusUpdates;
use crate::ControlPlane;
use crate::poll::eventually;

const SHOWN_WITHIN: Duration = Duration::from_mins(1);
const POLICY_ACTIVE_WITHIN: Duration = Duration::from_mins(1);
const PAUSE: Duration = Duration::from_millis(50);

/// Changes the readiness of a native sidecar so many times, one after the other, and scrapes without a pause until each
/// change is shown. Returns the milliseconds from each response to the end of the scrape.
pub(super) async fn measure(
    plane: &ControlPlane,
    kind: ClientKind,
    client: &RunningClient,
    updates: &StatusUpdates,
    probes: u32,
) -> Result<Vec<f64>> {
    let namespace = Identity::of(0).namespace;
    if kind != ClientKind::KubeStateMetrics {
        plane.apply(&policy(&namespace)).await?;
        wait_for_policy(client).await?;
    }
    let mut latencies = Vec::new();
    for probe in 0..probes {
        let (pod, ready) = (probe / 2 % PODS_PER_WORKLOAD, probe % 2 == 1);
        let name = Identity::of(pod).pod_name();
        let responded = updates.set_sidecar_ready(pod, ready).await?;
        let deadline = responded + SHOWN_WITHIN;
        loop {
            let scrape = client.scrape().await?;
            if shown(kind, scrape.text()?, &name, ready) {
                latencies.push((scrape.ended - responded).as_secs_f64() * 1000.0);
                break;
            }
            if scrape.began > deadline {
                bail!("/metrics does not show within {SHOWN_WITHIN:?} that {name} has ready={ready}");
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
    if kind != ClientKind::KubeStateMetrics {
        let delete = format!("delete sidecarpolicy latency --namespace {namespace}");
        plane.kubectl_line(&delete).await?;
    }
    Ok(latencies)
}

/// A policy that reports an unready sidecar at once.
fn policy(namespace: &str) -> String {
    format!(
        "{{apiVersion: sidewatch.dev/v1alpha1, kind: SidecarPolicy, metadata: {{name: latency, namespace: {namespace}}}, \
         spec: {{checks: {{notReady: {{for: 0s, keepFiringFor: 0s}}}}}}}}"
    )
}

async fn wait_for_policy(client: &RunningClient) -> Result<()> {
    eventually(POLICY_ACTIVE_WITHIN, async || {
        let scrape = client.scrape().await?;
        let is_evaluated = scrape.text()?.contains("policy=\"latency\"");
        ensure!(is_evaluated, "the operator does not evaluate the policy");
        Ok(())
    })
    .await
}

/// Whether a page shows this readiness of the Pod's native sidecar.
fn shown(kind: ClientKind, page: &str, pod: &str, ready: bool) -> bool {
    let pod = format!("pod=\"{pod}\"");
    let container = format!("container=\"{NATIVE_SIDECAR}\"");
    let mut lines = page.lines();
    match kind {
        ClientKind::Sidewatch | ClientKind::Standby => {
            let violation = lines.any(|line| {
                line.starts_with("sidewatch_violation{")
                    && line.contains(&pod)
                    && line.contains("check=\"NotReady\"")
                    && line.contains("policy=\"latency\"")
            });
            violation != ready
        }
        ClientKind::KubeStateMetrics => {
            let value = if ready { " 1" } else { " 0" };
            lines.any(|line| {
                line.starts_with("kube_pod_init_container_status_ready{")
                    && line.contains(&pod)
                    && line.contains(&container)
                    && line.ends_with(value)
            })
        }
    }
}
