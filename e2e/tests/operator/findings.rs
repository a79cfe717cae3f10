//! A fault causes an Event, a series and an entry in the status, and nothing else does.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use e2e::simulated_kubelet::{Container, PodSpec, RestartPolicy, SimulatedPod, Step};
use e2e::tools::{self, Tool};
use kube::ResourceExt;

use super::support::{TestNamespace, condition, eventually, no_series, series, web, world};

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
async fn an_event_has_pod_container_fault_and_policy() {
    let world = world().await;
    let place = TestNamespace::new(world.plane, "event").await;
    place
        .policy(
            "mesh",
            "{checks: {mainReadySidecarNotReady: {for: 1s}, notReady: {mode: Observe, for: 0s}}}",
        )
        .await;
    let mut pod = place.kubelet.run(&place.namespace, web()).await.unwrap();
    pod.step(Step::Unready("istio-proxy")).await.unwrap();

    let event = place.event("MainContainerReadyButSidecarNot").await;
    let regarding = event.regarding.clone().unwrap();
    assert_eq!(regarding.kind.as_deref(), Some("Pod"));
    assert_eq!(regarding.name.as_deref(), Some("web-1-x"));
    assert_eq!(regarding.uid.as_deref(), Some(pod.uid()));
    assert_eq!(
        regarding.field_path.as_deref(),
        Some("spec.initContainers{istio-proxy}")
    );
    let related = event.related.clone().unwrap();
    assert_eq!(related.kind.as_deref(), Some("SidecarPolicy"));
    assert_eq!(related.name.as_deref(), Some("mesh"));
    assert_eq!(event.type_.as_deref(), Some("Warning"));
    assert_eq!(
        event.reporting_controller.as_deref(),
        Some("sidewatch.dev/operator")
    );
    assert_eq!(event.action.as_deref(), Some("Evaluate"));
    assert!(event.name_any().starts_with("web-1-x."), "{}", event.name_any());
    let note = event.note.unwrap();
    assert!(
        note.starts_with("Main container 'app' is ready but sidecar 'istio-proxy' (native) is not"),
        "{note}"
    );
    assert!(
        note.contains(&format!("SidecarPolicy {}/mesh", place.namespace)),
        "{note}"
    );

    let status = place
        .status_when("mesh", "both violations", |status| {
            status["summary"]["firing"] == 2
        })
        .await;
    assert_eq!(
        condition(&status, "SidecarsHealthy"),
        Some(("False", "ViolationsFiring"))
    );
    let listed = &status["violations"][0];
    assert_eq!(
        (&listed["container"], &listed["workload"]),
        (&"istio-proxy".into(), &"Deployment/web".into())
    );
    assert!(
        !place
            .reasons()
            .await
            .contains(&"SidecarContainerNotReady".to_owned()),
        "a check with mode Observe sends no Event"
    );
    let observed = [
        ("namespace", &*place.namespace),
        ("check", "NotReady"),
        ("mode", "observe"),
    ];
    assert_eq!(
        series(&world.operator, "sidewatch_violation", &observed)
            .await
            .len(),
        1,
        "but has its series"
    );
}

#[tokio::test]
async fn each_fault_causes_one_event_for_the_right_container() {
    let world = world().await;
    let place = TestNamespace::new(world.plane, "faults").await;
    place
        .policy(
            "p",
            "{checks: {startupBlocked: {for: 1s}, jobHeldOpen: {for: 1s}, flapping: {count: 2}}}",
        )
        .await;
    let crashing = create_faults(&place).await.unwrap();
    let namespace = &place.namespace;

    let expected = [
        (
            "SidecarRestartingFrequently",
            "crashing",
            "spec.initContainers{log-shipper}",
        ),
        (
            "SidecarBlocksStartup",
            "blocked",
            "spec.initContainers{vault-agent}",
        ),
        ("SidecarHoldsJobOpen", "job", "spec.containers{log-sidecar}"),
        ("SidecarOOMKilled", "hungry", "spec.containers{fluent-bit}"),
        ("SidecarFlapping", "web-1-x", "spec.initContainers{istio-proxy}"),
    ];
    for (reason, _, _) in expected {
        place.event(reason).await;
    }
    let events = place.events().await;
    assert_eq!(
        events.len(),
        expected.len(),
        "one Event each: {:?}",
        place.reasons().await
    );
    for (reason, pod, path) in expected {
        let event = events
            .iter()
            .find(|event| event.reason.as_deref() == Some(reason))
            .unwrap();
        let regarding = event.regarding.clone().unwrap();
        assert_eq!(
            (regarding.name.as_deref(), regarding.field_path.as_deref()),
            (Some(pod), Some(path)),
            "{reason}"
        );
    }
    let restarts = [
        ("namespace", &**namespace),
        ("container", "log-shipper"),
        ("reason", "Error"),
    ];
    let restarts = series(&world.operator, "sidewatch_sidecar_restarts_total", &restarts).await;
    assert!(restarts.len() == 1 && restarts[0].ends_with(" 3"), "{restarts:?}");

    crashing.remove_now().await.unwrap();
    let gone = [("namespace", &**namespace), ("pod", "crashing")];
    no_series(&world.operator, "sidewatch_violation", &gone).await;
    let restarts = [gone[0], ("container", "log-shipper")];
    no_series(&world.operator, "sidewatch_sidecar_restarts_total", &restarts).await;
}

/// Creates a Pod for each fault and a healthy one; returns the one that crashes.
async fn create_faults(place: &TestNamespace) -> anyhow::Result<SimulatedPod> {
    let (kubelet, namespace) = (&place.kubelet, &place.namespace);

    let crashing = PodSpec::new("crashing")
        .container(Container::native("log-shipper"))
        .container(Container::regular("app"));
    let mut crashing = kubelet.run(namespace, crashing).await?;
    for _ in 0..3 {
        crashing.step(Step::Exit("log-shipper", 1)).await?;
        crashing.step(Step::Start("log-shipper")).await?;
    }
    let blocked = PodSpec::new("blocked")
        .container(Container::native("vault-agent").startup_probe())
        .container(Container::regular("app"));
    let mut blocked = kubelet.create(namespace, blocked).await?;
    blocked.schedule().await?;
    blocked
        .steps(&[Step::Admit, Step::SandboxReady, Step::Start("vault-agent")])
        .await
        .unwrap();
    let job = PodSpec::new("job")
        .restart_policy(RestartPolicy::Never)
        .container(Container::regular("main"))
        .container(Container::regular("log-sidecar"));
    let mut job = kubelet.run(namespace, job).await?;
    job.step(Step::Exit("main", 0)).await?;
    let hungry = PodSpec::new("hungry")
        .container(Container::regular("app"))
        .container(Container::regular("fluent-bit").memory_limit("64Mi"));
    let mut hungry = kubelet.run(namespace, hungry).await?;
    hungry
        .steps(&[Step::OomKill("fluent-bit"), Step::Start("fluent-bit")])
        .await
        .unwrap();
    let mut flapping = kubelet.run(namespace, web()).await?;
    for _ in 0..2 {
        flapping
            .steps(&[Step::Unready("istio-proxy"), Step::Ready("istio-proxy")])
            .await
            .unwrap();
    }
    let fine = PodSpec::new("fine")
        .container(Container::native("envoy"))
        .container(Container::regular("app"));
    kubelet.run(namespace, fine).await?;
    Ok(crashing)
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
        "sidewatch_build_info",
        "sidewatch_tracked_pods",
        "sidewatch_watch_synced",
        "sidewatch_watch_events_total",
        "sidewatch_watch_last_activity_timestamp_seconds",
        "sidewatch_api_writes_total",
        "sidewatch_evaluation_seconds",
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
