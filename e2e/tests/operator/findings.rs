//! A fault is visible at once, and Prometheus accepts the metrics.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use e2e::simulated_kubelet::Step;
use e2e::tools::{self, Tool};

use super::support::{TestNamespace, eventually, no_series, series, web, world};

/// The documented time is a second; the rest is for a busy machine.
const IMMEDIATELY: Duration = Duration::from_secs(5);

#[tokio::test]
async fn a_status_change_is_in_metrics_and_an_event_immediately() {
    let world = world().await;
    let place = TestNamespace::new(world.plane, "at-once").await;
    place
        .policy("p", "{checks: {notReady: {for: 0s, keepFiringFor: 0s}}}")
        .await;
    let mut pod = place.kubelet.run(&place.namespace, web()).await.unwrap();
    place
        .status_when("p", "the Pod counted", |status| status["summary"]["pods"] == 1)
        .await;

    // A short unready time after the start may have caused Events.
    let before = place.events().await.len();
    pod.step(Step::Unready("istio-proxy")).await.unwrap();
    let began = Instant::now();
    let labels = [
        ("namespace", &*place.namespace),
        ("check", "NotReady"),
        ("state", "firing"),
    ];
    let found = eventually("the series", || async {
        let found = series(&world.operator, "sidewatch_violation", &labels).await;
        found.first().cloned().context("no series")
    })
    .await;
    let in_metrics = began.elapsed();
    eventually("the Event", || async {
        let events = place.events().await.len();
        ensure!(events > before, "{events} Events");
        Ok(())
    })
    .await;
    let in_event = began.elapsed();
    assert!(in_metrics < IMMEDIATELY, "in the metrics after {in_metrics:?}");
    assert!(in_event < IMMEDIATELY, "in an Event after {in_event:?}");
    for (name, value) in [
        ("policy_kind", "SidecarPolicy"),
        ("policy_namespace", &*place.namespace),
        ("policy", "p"),
        ("severity", "warning"),
        ("mode", "alert"),
        ("workload_kind", "Deployment"),
        ("workload", "web"),
        ("pod", "web-1-x"),
        ("container", "istio-proxy"),
        ("native", "true"),
    ] {
        assert!(
            found.contains(&format!("{name}=\"{value}\"")),
            "{name} in {found}"
        );
    }
    assert!(found.ends_with(" 1"), "{found}");

    pod.step(Step::Ready("istio-proxy")).await.unwrap();
    no_series(&world.operator, "sidewatch_violation", &labels).await;
    let recovered = place.event("SidecarRecovered").await;
    assert_eq!(recovered.type_.as_deref(), Some("Normal"));
}

#[tokio::test]
async fn promtool_accepts_the_metrics() {
    let world = world().await;
    let place = TestNamespace::new(world.plane, "promtool").await;
    place.policy("p", "{checks: {notReady: {for: 0s}}}").await;
    let mut pod = place.kubelet.run(&place.namespace, web()).await.unwrap();
    pod.steps(&[
        Step::Unready("istio-proxy"),
        Step::Exit("istio-proxy", 1),
        Step::Start("istio-proxy"),
    ])
    .await
    .unwrap();
    place.event("SidecarContainerNotReady").await;
    let metrics = world.operator.metrics().await.unwrap();
    let output = check_metrics(&metrics).await;
    assert_eq!(output, "", "promtool check metrics");
    for family in [
        "sidewatch_workload_violations",
        "sidewatch_violation",
        "sidewatch_violation_onset_timestamp_seconds",
        "sidewatch_policy_pods",
        "sidewatch_policy_containers",
        "sidewatch_policy_ready",
        "sidewatch_sidecar_restarts_total",
        "sidewatch_violations_total",
        "sidewatch_violation_duration_seconds",
        "sidewatch_sidecar_images",
        "sidewatch_sidecar_startup_seconds",
        "sidewatch_build_info",
        "sidewatch_tracked_pods",
        "sidewatch_watch_synced",
        "sidewatch_watch_events_total",
        "sidewatch_watch_last_activity_timestamp_seconds",
        "sidewatch_api_writes_total",
        "sidewatch_evaluation_seconds",
        "sidewatch_leader",
        "process_resident_memory_bytes",
    ] {
        assert!(
            metrics.contains(&format!("# TYPE {family} ")),
            "{family} is missing"
        );
    }
    let wrong = check_metrics("# HELP x_total A gauge.\n# TYPE x_total gauge\nx_total 1\n").await;
    assert!(!wrong.is_empty(), "promtool reports errors");
}

/// Output of promtool for a text of metrics.
async fn check_metrics(text: &str) -> String {
    use tokio::io::AsyncWriteExt;
    let tools = tokio::task::spawn_blocking(|| tools::ensure(&[Tool::Promtool]))
        .await
        .unwrap()
        .unwrap();
    let mut promtool = tokio::process::Command::new(tools.path(Tool::Promtool).unwrap())
        .args(["check", "metrics"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = promtool.stdin.take().unwrap();
    stdin.write_all(text.as_bytes()).await.unwrap();
    drop(stdin);
    let output = promtool.wait_with_output().await.unwrap();
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}
