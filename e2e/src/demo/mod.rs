//! The demo: a control plane, the operator, half a dozen Pods of which some go bad, and what a person would see of it.
//!
//! Input: whether to keep everything up at the end. Output: on standard output, what kubectl and the metrics show; an error
//! when an expected finding did not come, or one came that should not.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use k8s_openapi::api::events::v1::Event;
use kube::Api;

use crate::ControlPlane;
use crate::fake_kubelet::{Container, FakeKubelet, PodSpec, RestartPolicy, Step};
use crate::operator::Operator;

const NAMESPACE: &str = "shop";
const EVERYTHING_WITHIN: Duration = Duration::from_secs(75);
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

/// What must be said, as Pod, container and reason; `SidecarRecovered` once for each of two checks.
const EXPECTED: &[(&str, &str, &str)] = &[
    (WEB, PROXY, "MainContainerReadyButSidecarNot"),
    (WEB, PROXY, "SidecarContainerNotReady"),
    (WEB, PROXY, "SidecarRecovered"),
    (WEB, PROXY, "SidecarRecovered"),
    (
        CART,
        "spec.initContainers{log-shipper}",
        "SidecarRestartingFrequently",
    ),
    (
        CHECKOUT,
        "spec.initContainers{vault-agent}",
        "SidecarBlocksStartup",
    ),
    (REPORT, "spec.containers{log-sidecar}", "SidecarHoldsJobOpen"),
    (SEARCH, "spec.containers{fluent-bit}", "SidecarOOMKilled"),
];
const WEB: &str = "web-7d9f8c6b5-x2x7k";
const CART: &str = "cart-0";
const CHECKOUT: &str = "checkout-5c4f7d8b9-q8wzt";
const REPORT: &str = "report-29384756-m4kzp";
const SEARCH: &str = "search-6b7c9d4f8-t5j2n";
const PROXY: &str = "spec.initContainers{istio-proxy}";

/// Runs the demo; with `hold`, keeps everything up at the end until Ctrl-C.
pub async fn run(hold: bool) -> Result<()> {
    say("Starting etcd and kube-apiserver, and Sidewatch under its own ServiceAccount");
    let plane = ControlPlane::start().await?;
    let (operator, _kubeconfig) = Operator::install(&plane).await?;
    plane.kubectl(["create", "namespace", NAMESPACE]).await?;
    plane.apply(POLICY).await?;
    say("The policy, with short times so that nobody has to wait");
    print!("{}", POLICY.trim_start());
    say(
        "Six Pods start, and five of them go bad. Their kubelet is played: kubectl get events -n shop --watch",
    );
    let mut watch = tokio::process::Command::new(plane.kubectl_path())
        .args(["get", "events", "--namespace", NAMESPACE, "--watch"])
        .env("KUBECONFIG", plane.kubeconfig_path())
        .env("KUBECACHEDIR", plane.dir().join("kubectl"))
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .context("run kubectl")?;
    let found = tokio::select! {
        found = expect_findings(&plane) => found,
        played = play(&plane) => played.map(|never| match never {}),
    };
    // The last lines are on their way to the screen.
    tokio::time::sleep(POLL).await;
    watch.kill().await?;
    show(&plane, &operator).await?;
    if let Err(error) = found {
        bail!(
            "{error:#}; the operator's log ends with:\n{}",
            last_lines(&operator.log()?, 15)
        );
    }
    say("Every expected finding came, and no other.");
    if hold {
        say("HOLD: everything stays up until Ctrl-C. In another terminal:");
        println!("export KUBECONFIG={}", plane.kubeconfig_path().display());
        println!("curl http://{}/metrics", operator.metrics_address());
        tokio::signal::ctrl_c().await?;
    }
    let status = operator.stop().await?;
    if !status.success() {
        bail!("the operator did not end well: {status}");
    }
    plane.stop()
}

/// Plays the kubelet. Does not end by itself: Pods that are well stay up.
async fn play(plane: &ControlPlane) -> Result<std::convert::Infallible> {
    let kubelet = FakeKubelet::new(plane.client().await?);
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

/// A main container and a native sidecar, both well.
async fn fine(kubelet: &FakeKubelet) -> Result<()> {
    let pod = of_deployment("fine-84d5f6c7b-h9vds", "fine-84d5f6c7b")
        .container(Container::native("istio-proxy").readiness_probe())
        .container(Container::regular("app").readiness_probe());
    kubelet.run(NAMESPACE, pod).await.map(drop)
}

/// The native sidecar becomes unready beside a ready main, and recovers.
async fn web(kubelet: &FakeKubelet) -> Result<()> {
    let pod = of_deployment(WEB, "web-7d9f8c6b5")
        .container(Container::native("istio-proxy").readiness_probe())
        .container(Container::regular("app").readiness_probe());
    let mut pod = kubelet.run(NAMESPACE, pod).await?;
    pause(2).await;
    pod.step(Step::Unready("istio-proxy")).await?;
    pause(18).await;
    pod.step(Step::Ready("istio-proxy")).await
}

/// The native sidecar crashes again and again.
async fn cart(kubelet: &FakeKubelet) -> Result<()> {
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
async fn checkout(kubelet: &FakeKubelet) -> Result<()> {
    let pod = of_deployment(CHECKOUT, "checkout-5c4f7d8b9")
        .container(Container::native("vault-agent").startup_probe())
        .container(Container::regular("app"));
    let mut pod = kubelet.create(NAMESPACE, pod).await?;
    pod.schedule().await?;
    pod.steps(&[Step::Admit, Step::SandboxReady, Step::Start("vault-agent")])
        .await
}

/// The main container of a Job is done, and the classic sidecar runs on.
async fn report(kubelet: &FakeKubelet) -> Result<()> {
    let pod = PodSpec::new(REPORT)
        .owned_by("batch/v1", "Job", "report-29384756")
        .restart_policy(RestartPolicy::Never)
        .container(Container::regular("report"))
        .container(Container::regular("log-sidecar"));
    let mut pod = kubelet.run(NAMESPACE, pod).await?;
    pause(3).await;
    pod.step(Step::Exit("report", 0)).await
}

/// A classic sidecar runs out of memory once.
async fn search(kubelet: &FakeKubelet) -> Result<()> {
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

/// Waits until every expected Event is there; fails when one does not come, or at the first that nobody expects.
async fn expect_findings(plane: &ControlPlane) -> Result<()> {
    let events: Api<Event> = Api::namespaced(plane.client().await?, NAMESPACE);
    let deadline = Instant::now() + EVERYTHING_WITHIN;
    loop {
        let mut missing = EXPECTED.to_vec();
        for event in events.list(&kube::api::ListParams::default()).await? {
            let regarding = event.regarding.unwrap_or_default();
            let (pod, path) = (
                regarding.name.unwrap_or_default(),
                regarding.field_path.unwrap_or_default(),
            );
            let reason = event.reason.unwrap_or_default();
            match missing
                .iter()
                .position(|expected| *expected == (&*pod, &*path, &*reason))
            {
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
async fn show(plane: &ControlPlane, operator: &Operator) -> Result<()> {
    wait_for_status(plane, operator).await?;
    say("kubectl get sidecarpolicies -n shop -o wide");
    print!(
        "{}",
        plane
            .kubectl(["get", "sidecarpolicies", "-n", NAMESPACE, "-o", "wide"])
            .await?
    );
    say("curl /metrics | grep ^sidewatch_violation{");
    for line in firing(operator).await? {
        println!("{line}");
    }
    Ok(())
}

/// A status is written at most once in ten seconds; the metrics are always of the moment.
async fn wait_for_status(plane: &ControlPlane, operator: &Operator) -> Result<()> {
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
    while plane.kubectl(query).await? != firing(operator).await?.len().to_string() {
        if Instant::now() > deadline {
            bail!("the policy's status does not follow the metrics");
        }
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}

async fn firing(operator: &Operator) -> Result<Vec<String>> {
    let metrics = operator.metrics().await?;
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

async fn pause(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}
