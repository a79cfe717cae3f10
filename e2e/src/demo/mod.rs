//! The demo: a cluster, the operator, half a dozen Pods of which some go bad, and what a person would see of it.
//!
//! ```text
//! enter     which kubelet: a real one, in namespaces of its own, or one that is played
//! run
//!   stand   the cluster, and the operator in it
//!   Pods    shop.yaml for a real kubelet, played.rs where there is none: the same story
//!   Events  until every expected finding is there, and none that nobody expects
//! ```
//!
//! Output: on standard output, what kubectl and the metrics show; an error when an expected finding did not come, or one came
//! that should not.

mod env;
mod simulated;

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use k8s_openapi::api::events::v1::Event;
use kube::Api;
use kube::api::ListParams;

use crate::ControlPlane;
use crate::node;
use crate::tools::Tool;
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

/// What must be said: how the Pod's name begins, container and reason; `SidecarRecovered` once for each of two checks.
const EXPECTED: &[(&str, &str, &str)] = &[
    ("web-", PROXY, "MainContainerReadyButSidecarNot"),
    ("web-", PROXY, "SidecarContainerNotReady"),
    ("web-", PROXY, "SidecarRecovered"),
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

/// A real kubelet also says a lot.
const OURS: &str = "reportingComponent=sidewatch.dev/operator";

/// What runs the demo's Pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kubelet {
    /// A kubelet with containerd: needs Linux and root.
    Real,
    /// Nothing: somebody writes their statuses.
    Simulated,
}

/// Says which kubelet it is, by default a real one where it can run. For a real one, goes on in namespaces of its own as
/// [`node::enter`] does. Call it before [`run`].
pub fn enter(kubelet: Option<Kubelet>) -> Result<()> {
    if node::is_inside() {
        return Ok(());
    }
    if kubelet == Some(Kubelet::Simulated) {
        say("The kubelet is played, as you wish: no container runs");
        return Ok(());
    }
    match node::unavailable() {
        None => {
            say("A real node: kubelet, containerd and runc, in namespaces that end with this command");
            node::enter(&[Tool::Helm])?;
        }
        Some(reason) if kubelet.is_some() => bail!("{reason}"),
        Some(reason) => say(&format!("The kubelet is played, and no container runs: {reason}")),
    }
    Ok(())
}

/// Runs the demo; with `hold`, keeps everything up at the end until Ctrl-C.
pub async fn run(hold: bool) -> Result<()> {
    let stand = DemoEnv::start().await?;
    let plane = stand.plane();
    plane.kubectl(["create", "namespace", NAMESPACE]).await?;
    plane.apply(POLICY).await?;
    say("The policy, with short times so that nobody has to wait");
    print!("{}", POLICY.trim_start());
    say(&format!(
        "Six Pods start, and five of them go bad: kubectl get events -n {NAMESPACE} --field-selector {OURS} --watch"
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
        played = stand.play() => played.map(|never| match never {}),
    };
    // The last lines are on their way to the screen.
    tokio::time::sleep(POLL).await;
    watch.kill().await?;
    show(&stand).await?;
    if let Err(error) = found {
        bail!(
            "{error:#}; the operator's log ends with:\n{}",
            last_lines(&stand.log().await?, 15)
        );
    }
    say("Every expected finding came, and no other.");
    if hold {
        say("HOLD: everything stays up until Ctrl-C. In another terminal:");
        for line in stand.way_in().await? {
            println!("{line}");
        }
        tokio::signal::ctrl_c().await?;
    }
    stand.stop().await
}

/// Waits until every expected Event is there; fails when one does not come, or at the first that nobody expects.
async fn expect_findings(plane: &ControlPlane) -> Result<()> {
    let events: Api<Event> = Api::namespaced(plane.client().await?, NAMESPACE);
    let ours = ListParams::default().fields("reportingController=sidewatch.dev/operator");
    let deadline = Instant::now() + EVERYTHING_WITHIN;
    loop {
        let mut missing = EXPECTED.to_vec();
        for event in events.list(&ours).await? {
            let regarding = event.regarding.unwrap_or_default();
            let (pod, path) = (
                regarding.name.unwrap_or_default(),
                regarding.field_path.unwrap_or_default(),
            );
            let reason = event.reason.unwrap_or_default();
            let found = missing.iter().position(|(expected, its_path, its_reason)| {
                pod.starts_with(expected) && path == *its_path && reason == *its_reason
            });
            match found {
                Some(found) => drop(missing.remove(found)),
                None => bail!(
                    "nobody expected {reason} for {pod} {path}: {}",
                    event.note.unwrap_or_default()
                ),
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("these findings did not come: {missing:?}");
        }
        tokio::time::sleep(POLL).await;
    }
}

/// What a person would look at next.
async fn show(stand: &DemoEnv) -> Result<()> {
    wait_for_status(stand).await?;
    say("kubectl get sidecarpolicies -n shop -o wide");
    print!(
        "{}",
        stand
            .plane()
            .kubectl(["get", "sidecarpolicies", "-n", NAMESPACE, "-o", "wide"])
            .await?
    );
    say("curl /metrics | grep ^sidewatch_violation{");
    for line in firing(stand).await? {
        println!("{line}");
    }
    Ok(())
}

/// A status is written at most once in ten seconds; the metrics are always of the moment.
async fn wait_for_status(stand: &DemoEnv) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(15);
    let query = [
        "get",
        "sidecarpolicies",
        "mesh",
        "-n",
        NAMESPACE,
        "-o",
        "jsonpath={.status.summary.firing}",
    ];
    while stand.plane().kubectl(query).await? != firing(stand).await?.len().to_string() {
        if Instant::now() > deadline {
            bail!("the policy's status does not follow the metrics");
        }
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}

async fn firing(stand: &DemoEnv) -> Result<Vec<String>> {
    let metrics = stand.metrics().await?;
    let is_firing =
        |line: &&str| line.starts_with("sidewatch_violation{") && line.contains("state=\"firing\"");
    Ok(metrics.lines().filter(is_firing).map(str::to_owned).collect())
}

fn say(text: &str) {
    println!("\n\u{1b}[1m# {text}\u{1b}[0m");
}

fn last_lines(text: &str, n: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines
        .get(lines.len().saturating_sub(n)..)
        .unwrap_or_default()
        .join("\n")
}
