//! The Pods of the demo with a simulated kubelet: no container runs.

use std::convert::Infallible;
use std::time::Duration;

use anyhow::Result;
use jiff::Timestamp;

use super::NAMESPACE;
use crate::ControlPlane;
use crate::simulated_kubelet::{Container, PodSpec, RestartPolicy, SimulatedKubelet, Step};

const WEB: &str = "web-7d9f8c6b5-x2x7k";
const CART: &str = "cart-0";
const CHECKOUT: &str = "checkout-5c4f7d8b9-q8wzt";
const SEARCH: &str = "search-6b7c9d4f8-t5j2n";

/// Runs the Pods. Returns only on an error.
pub(super) async fn run(plane: &ControlPlane) -> Result<Infallible> {
    let kubelet = SimulatedKubelet::new(plane.client().await?);
    tokio::try_join!(
        fine(&kubelet),
        web(&kubelet),
        cart(&kubelet),
        checkout(&kubelet),
        report(&kubelet),
        search(&kubelet)
    )?;
    std::future::pending().await
}

/// A main container and a native sidecar without a fault.
async fn fine(kubelet: &SimulatedKubelet) -> Result<()> {
    let pod = of_deployment("fine-84d5f6c7b-h9vds", "fine-84d5f6c7b")
        .container(Container::native("istio-proxy").readiness_probe())
        .container(Container::regular("app").readiness_probe());
    kubelet.run(NAMESPACE, pod).await.map(drop)
}

/// The native sidecar becomes unready while the main container is ready, and recovers.
async fn web(kubelet: &SimulatedKubelet) -> Result<()> {
    let pod = of_deployment(WEB, "web-7d9f8c6b5")
        .container(Container::native("istio-proxy").readiness_probe())
        .container(Container::regular("app").readiness_probe());
    let mut pod = kubelet.run(NAMESPACE, pod).await?;
    pause(2).await;
    pod.step(Step::Unready("istio-proxy")).await?;
    pause(18).await;
    pod.step(Step::Ready("istio-proxy")).await
}

/// The native sidecar crashes repeatedly.
async fn cart(kubelet: &SimulatedKubelet) -> Result<()> {
    let pod = PodSpec::new(CART)
        .owned_by("apps/v1", "StatefulSet", "cart")
        .container(Container::native("log-shipper"))
        .container(Container::regular("app").readiness_probe());
    let mut pod = kubelet.run(NAMESPACE, pod).await?;
    for back_off in [0, 1, 2] {
        pause(1).await;
        pod.step(Step::Exit("log-shipper", 1)).await?;
        if back_off > 0 {
            pod.step(Step::BackOff("log-shipper")).await?;
        }
        pause(back_off).await;
        pod.step(Step::Start("log-shipper")).await?;
    }
    Ok(())
}

/// The startup probe of the native sidecar never passes, so the app is never started.
async fn checkout(kubelet: &SimulatedKubelet) -> Result<()> {
    let pod = of_deployment(CHECKOUT, "checkout-5c4f7d8b9")
        .container(Container::native("vault-agent").startup_probe())
        .container(Container::regular("app"));
    let mut pod = kubelet.create(NAMESPACE, pod).await?;
    pod.schedule().await?;
    pod.steps(&[Step::Admit, Step::SandboxReady, Step::Start("vault-agent")])
        .await
}

/// The main container of a Job finishes, and the classic sidecar continues.
async fn report(kubelet: &SimulatedKubelet) -> Result<()> {
    // The name of a CronJob's Job ends in the scheduled time.
    let job = format!("report-{}", Timestamp::now().as_second() / 60);
    let pod = PodSpec::new(&format!("{job}-m4kzp"))
        .owned_by("batch/v1", "Job", &job)
        .restart_policy(RestartPolicy::Never)
        .container(Container::regular("report"))
        .container(Container::regular("log-sidecar"));
    let mut pod = kubelet.run(NAMESPACE, pod).await?;
    pause(3).await;
    pod.step(Step::Exit("report", 0)).await
}

/// A classic sidecar is OOM-killed once.
async fn search(kubelet: &SimulatedKubelet) -> Result<()> {
    let pod = of_deployment(SEARCH, "search-6b7c9d4f8")
        .container(Container::regular("app").readiness_probe())
        .container(Container::regular("fluent-bit").memory_limit("64Mi"));
    let mut pod = kubelet.run(NAMESPACE, pod).await?;
    pause(4).await;
    pod.step(Step::OomKill("fluent-bit")).await?;
    pod.step(Step::Start("fluent-bit")).await
}

fn of_deployment(name: &str, replica_set: &str) -> PodSpec {
    let hash = replica_set.rsplit('-').next().unwrap_or_default();
    PodSpec::new(name)
        .owned_by("apps/v1", "ReplicaSet", replica_set)
        .label("pod-template-hash", hash)
}

async fn pause(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}
