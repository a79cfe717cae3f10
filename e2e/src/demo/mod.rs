//! The demo: a cluster with the operator and six Pods, five of which fail.
//!
//! ```text
//! enter     selects the kubelet: a real one in new Linux namespaces, or a simulated one
//! run
//!   env     the cluster and the operator
//!   Pods    shop.yaml for a real kubelet, simulated.rs without one: the same faults
//!   Events  until all expected ones have arrived
//! ```
//!
//! Prints what kubectl and the metrics show. An expected Event that is missing, or an unexpected one, is an error.

mod env;
mod simulated;

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;
use k8s_openapi::api::events::v1::Event;
use kube::Api;
use kube::api::ListParams;

use crate::metrics::samples;
use crate::poll::eventually;
use crate::process::last_lines;
use crate::tools::Tool;
use crate::{ControlPlane, node};
use env::DemoEnv;

const NAMESPACE: &str = "shop";
const EVERYTHING_WITHIN: Duration = Duration::from_mins(2);
const POLL: Duration = Duration::from_millis(250);

const POLICY: &str = r"
apiVersion: sidewatch.dev/v1alpha1
kind: SidecarPolicy
metadata: {name: mesh, namespace: shop}
spec:
  checks:
    notReady: {for: 12s, keepFiringFor: 2s}
    mainReadySidecarNotReady: {for: 4s, keepFiringFor: 2s}
    frequentRestarts: {count: 3, window: 5m}
    startupBlocked: {for: 8s}
    jobHeldOpen: {for: 6s}
";

/// Expected Events: prefix of the Pod name, container and reason. Two checks report the fault of `web`; it has one
/// `SidecarRecovered`.
const EXPECTED: &[(&str, &str, &str)] = &[
    ("web-", PROXY, "MainContainerReadyButSidecarNot"),
    ("web-", PROXY, "SidecarContainerNotReady"),
    ("web-", PROXY, "SidecarRecovered"),
    (
        "cart-0",
        "spec.initContainers{log-shipper}",
        "SidecarRestartingFrequently",
    ),
    (
        "checkout-",
        "spec.initContainers{vault-agent}",
        "SidecarBlocksStartup",
    ),
    ("report-", "spec.containers{log-sidecar}", "SidecarHoldsJobOpen"),
    ("search-", "spec.containers{fluent-bit}", "SidecarOOMKilled"),
];
const PROXY: &str = "spec.initContainers{istio-proxy}";

/// Field selector of Events of Sidewatch; a real kubelet sends many others.
const OURS: &str = "reportingComponent=sidewatch.dev/operator";

/// Kubelet of the demo.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kubelet {
    /// A kubelet with containerd: needs Linux and root.
    Real,
    /// No container runs; the harness writes the Pod statuses.
    Simulated,
}

/// Selects the kubelet, by default a real one where it can run. For a real one, continues in new Linux namespaces, see
/// [`node::enter`]. Call it before [`run`].
pub fn enter(kubelet: Option<Kubelet>) -> Result<()> {
    if node::is_inside() {
        return Ok(());
    }
    if kubelet == Some(Kubelet::Simulated) {
        say("Simulated kubelet: no container runs");
        return Ok(());
    }
    match node::unavailable() {
        None => {
            say("A real node: kubelet, containerd and runc, in Linux namespaces that end with this command");
            node::enter(&[Tool::Helm])?;
        }
        Some(reason) if kubelet.is_some() => bail!("{reason}"),
        Some(reason) => say(&format!("Simulated kubelet, no container runs: {reason}")),
    }
    Ok(())
}

/// Runs the demo; with `hold`, keeps everything up at the end until Ctrl-C.
pub async fn run(hold: bool) -> Result<()> {
    let env = DemoEnv::start().await?;
    let plane = env.plane();
    plane
        .kubectl_line(&format!("create namespace {NAMESPACE}"))
        .await?;
    plane.apply(POLICY).await?;
    say("The policy, with short times for the demo");
    print!("{}", POLICY.trim_start());
    say(&format!(
        "Six Pods start, and five of them fail: kubectl get events -n {NAMESPACE} --field-selector {OURS} --watch"
    ));
    let mut watch = tokio::process::Command::new(plane.kubectl_path())
        .args(["get", "events", "--namespace", NAMESPACE])
        .args(["--field-selector", OURS, "--watch"])
        .env("KUBECONFIG", plane.kubeconfig_path())
        .env("KUBECACHEDIR", plane.dir().join("kubectl"))
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .context("run kubectl")?;
    let found = tokio::select! {
        found = expect_findings(plane) => found,
        failed = env.run_pods() => failed.map(|never| match never {}),
    };
    // kubectl still has to print the last lines.
    tokio::time::sleep(POLL).await;
    watch.kill().await?;
    show(&env).await?;
    if let Err(error) = found {
        bail!(
            "{error:#}; the log of the operator ends with:\n{}",
            last_lines(&env.log().await?, 15)
        );
    }
    say("All expected Events came, and no other.");
    if hold {
        say("HOLD: everything stays up until Ctrl-C. To connect from another terminal:");
        for line in env.connect_commands().await? {
            println!("{line}");
        }
        tokio::signal::ctrl_c().await?;
    }
    env.stop().await
}

/// Waits for all expected Events. An unexpected one is an error.
async fn expect_findings(plane: &ControlPlane) -> Result<()> {
    let events: Api<Event> = Api::namespaced(plane.client().await?, NAMESPACE);
    let ours = ListParams::default().fields("reportingController=sidewatch.dev/operator");
    let unexpected = eventually(EVERYTHING_WITHIN, async || {
        let mut missing = EXPECTED.to_vec();
        for event in events.list(&ours).await? {
            let regarding = event.regarding.unwrap_or_default();
            let pod = regarding.name.unwrap_or_default();
            let path = regarding.field_path.unwrap_or_default();
            let reason = event.reason.unwrap_or_default();
            let found = missing.iter().position(|(expected, its_path, its_reason)| {
                pod.starts_with(expected) && path == *its_path && reason == *its_reason
            });
            let Some(found) = found else {
                let note = event.note.unwrap_or_default();
                return Ok(Some(format!("unexpected {reason} for {pod} {path}: {note}")));
            };
            missing.remove(found);
        }
        ensure!(missing.is_empty(), "missing Events: {missing:?}");
        Ok(None)
    });
    unexpected.await?.map_or(Ok(()), |event| bail!("{event}"))
}

/// Prints the policies and the firing violations.
async fn show(env: &DemoEnv) -> Result<()> {
    wait_for_status(env).await?;
    say("kubectl get sidecarpolicies -n shop -o wide");
    let policies = format!("get sidecarpolicies -n {NAMESPACE} -o wide");
    print!("{}", env.plane().kubectl_line(&policies).await?);
    say("curl /metrics | grep ^sidewatch_violation{");
    for line in firing(env).await? {
        println!("{line}");
    }
    Ok(())
}

/// Waits until the status of the policy agrees with the metrics. A status is written at most once in ten seconds.
async fn wait_for_status(env: &DemoEnv) -> Result<()> {
    let query = format!("get sidecarpolicies mesh -n {NAMESPACE} -o jsonpath={{.status.summary.firing}}");
    eventually(Duration::from_secs(15), async || {
        let (status, metrics) = (env.plane().kubectl_line(&query).await?, firing(env).await?.len());
        ensure!(
            status == metrics.to_string(),
            "status {status}, metrics {metrics}"
        );
        Ok(())
    })
    .await
    .context("the status of the policy does not follow the metrics")
}

/// Lines of the firing violations.
async fn firing(env: &DemoEnv) -> Result<Vec<String>> {
    let metrics = env.metrics().await?;
    let mut firing = samples(&metrics)?;
    firing.retain(|sample| sample.matches("sidewatch_violation", &[("state", "firing")]));
    Ok(firing
        .iter()
        .map(|sample| format!("{} {}", sample.series, sample.value))
        .collect())
}

fn say(text: &str) {
    println!("\n\u{1b}[1m# {text}\u{1b}[0m");
}
