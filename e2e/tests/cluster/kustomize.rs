//! `config/`: installed with `kubectl apply -k`, and every sample policy with a Pod that fails its check.

use std::time::Duration;

use anyhow::Context;
use e2e::ControlPlane;
use e2e::compat::SELECTABLE_FIELDS;
use e2e::operator::{NAMESPACE, Operator, SERVICE_ACCOUNT, repository};
use e2e::poll;
use e2e::simulated_kubelet::{Container, PodSpec, RestartPolicy, SimulatedKubelet, Step};
use serde_json::{Value, json};
use sidewatch::domain::checks::rule;
use sidewatch::domain::policy::Check;

const SOON: Duration = Duration::from_mins(1);

async fn apply(plane: &ControlPlane, directory: &str, flags: &[&str]) -> String {
    let directory = repository().join("config").join(directory);
    let args = [&["apply", "-k", directory.to_str().unwrap()], flags].concat();
    plane.kubectl(args).await.unwrap()
}

async fn get(plane: &ControlPlane, args: &[&str]) -> Value {
    let args = [&["get", "--output=json"], args].concat();
    serde_json::from_str(&plane.kubectl(args).await.unwrap()).unwrap()
}

/// Waits until `look` finds a value.
async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, look: impl Fn() -> F) -> T {
    let found = poll::eventually(SOON, || async { look().await.context("missing") }).await;
    found.unwrap_or_else(|error| panic!("{what}: {error:#}"))
}

#[tokio::test]
async fn one_command_installs() {
    let plane = ControlPlane::start().await.unwrap();
    let _controllers = plane
        .start_controllers(&["deployment-controller", "replicaset-controller"])
        .await
        .unwrap();
    let applied = apply(&plane, "default", &[]).await;
    assert!(
        applied.lines().all(|line| line.ends_with(" created")),
        "{applied}"
    );
    for line in apply(&plane, "default", &[]).await.lines() {
        // kubectl always sends the selector of a PodDisruptionBudget.
        let is_budget = line.starts_with("poddisruptionbudget.policy/");
        // An API server without selectable fields removes them from the CRDs.
        let is_definition =
            line.starts_with("customresourcedefinition") && !SELECTABLE_FIELDS.is_selected().unwrap();
        assert!(
            is_budget || is_definition || line.ends_with(" unchanged"),
            "applied twice: {line}"
        );
    }

    let token = plane
        .token(NAMESPACE, SERVICE_ACCOUNT, Duration::from_hours(1))
        .await;
    let kubeconfig = plane.kubeconfig_for_token(&token.unwrap()).unwrap();
    let mut operator = Operator::start(&plane, kubeconfig.path(), &[]).await.unwrap();
    operator.wait_until_ready().await.unwrap();

    // The namespace enforces the restricted Pod Security Standard, so an existing Pod satisfies it.
    let namespace = ["namespace", NAMESPACE];
    let labels = &get(&plane, &namespace).await["metadata"]["labels"];
    assert_eq!(labels["pod-security.kubernetes.io/enforce"], "restricted");
    let pods = ["pods", "--namespace", NAMESPACE];
    let pod = eventually("a Pod of the Deployment", || async {
        get(&plane, &pods).await["items"].get(0).cloned()
    });
    let pod = pod.await;
    assert_eq!(pod["spec"]["serviceAccountName"], SERVICE_ACCOUNT);
}

/// Creates a Pod that fails a check and returns the faulty container.
async fn fail(kubelet: &SimulatedKubelet, namespace: &str, check: Check) -> &'static str {
    let proxied = || {
        PodSpec::new("web")
            .container(Container::native("istio-proxy").readiness_probe().startup_probe())
            .container(Container::regular("app").readiness_probe())
    };
    match check {
        Check::NotReady | Check::MainReadySidecarNotReady => {
            let mut pod = kubelet.run(namespace, proxied()).await.unwrap();
            pod.step(Step::Unready("istio-proxy")).await.unwrap();
            "istio-proxy"
        }
        Check::FrequentRestarts => {
            let mut pod = kubelet.run(namespace, proxied()).await.unwrap();
            for _ in 0..3 {
                pod.step(Step::Exit("app", 1)).await.unwrap();
                pod.step(Step::Start("app")).await.unwrap();
            }
            "app"
        }
        Check::StartupBlocked => {
            let mut pod = kubelet.create(namespace, proxied()).await.unwrap();
            pod.schedule().await.unwrap();
            pod.steps(&[Step::Admit, Step::SandboxReady, Step::Start("istio-proxy")])
                .await
                .unwrap();
            "istio-proxy"
        }
        Check::JobHeldOpen => {
            let pod = PodSpec::new("report")
                .restart_policy(RestartPolicy::Never)
                .container(Container::regular("report"))
                .container(Container::regular("log-sidecar"));
            let mut pod = kubelet.run(namespace, pod).await.unwrap();
            pod.step(Step::Exit("report", 0)).await.unwrap();
            "log-sidecar"
        }
        Check::OOMKilled => {
            let mut pod = kubelet.run(namespace, proxied()).await.unwrap();
            pod.step(Step::OomKill("istio-proxy")).await.unwrap();
            "istio-proxy"
        }
        Check::Flapping => {
            let mut pod = kubelet.run(namespace, proxied()).await.unwrap();
            for _ in 0..3 {
                pod.step(Step::Unready("istio-proxy")).await.unwrap();
                pod.step(Step::Ready("istio-proxy")).await.unwrap();
            }
            "istio-proxy"
        }
        Check::SidecarMissing => {
            let pod = PodSpec::new("web")
                .annotation("dapr.io/enabled", "true")
                .container(Container::regular("app"));
            kubelet.run(namespace, pod).await.unwrap();
            "daprd"
        }
        Check::VersionDrift => {
            let pod = PodSpec::new("web")
                .container(Container::regular("app"))
                .container(Container::native("envoy").image("envoyproxy/envoy:v1.35.0"))
                .container(Container::native("envoy-egress").image("envoyproxy/envoy:v1.34.1"));
            kubelet.run(namespace, pod).await.unwrap();
            // The violation is about the image.
            ""
        }
        Check::CommonCause => {
            for name in ["web", "api", "search"] {
                let pod = PodSpec::new(name)
                    .container(Container::regular("app"))
                    .container(Container::native("envoy").readiness_probe());
                let mut pod = kubelet.run(namespace, pod).await.unwrap();
                pod.step(Step::Unready("envoy")).await.unwrap();
            }
            ""
        }
    }
}

/// Applies the sample of a check in a new namespace with a Pod that fails it: one violation of that check, one Event.
async fn try_sample(plane: &ControlPlane, kubelet: &SimulatedKubelet, check: Check) {
    let name = check.as_str();
    let namespace = plane.namespace("sample").await.unwrap();
    let file = repository().join(format!("config/samples/{name}.yaml"));
    let flags = ["--namespace", &namespace];
    let args = [&["apply", "--filename", file.to_str().unwrap()], &flags[..]].concat();
    plane.kubectl(args).await.unwrap();
    let container = fail(kubelet, &namespace, check).await;

    let policies = [&["sidecarpolicies"], &flags[..]].concat();
    let violations = eventually(name, || async {
        let violations = get(plane, &policies).await["items"][0]["status"]["violations"].clone();
        let is_firing = |violation: &&Value| violation["check"] == name && violation["state"] == "Firing";
        let found = violations
            .as_array()?
            .iter()
            .any(|violation| is_firing(&violation));
        found.then_some(violations)
    });
    let violations = violations.await;
    let found: Vec<_> = violations
        .as_array()
        .unwrap()
        .iter()
        // CommonCause needs those of another check, which has no Events in the sample.
        .filter(|violation| check != Check::CommonCause || violation["check"] == name)
        .map(|violation| [&violation["check"], &violation["container"]])
        .collect();
    assert_eq!(found, [[&json!(name), &json!(container)]], "{violations}");

    let events = [&["events.v1.events.k8s.io"], &flags[..]].concat();
    let events = get(plane, &events).await["items"].clone();
    let reasons: Vec<_> = events
        .as_array()
        .unwrap()
        .iter()
        .map(|event| &event["reason"])
        .collect();
    assert_eq!(reasons, [rule(check).reason()], "{name}");
}

#[tokio::test]
async fn every_sample_reports_its_check() {
    let plane = ControlPlane::start().await.unwrap();
    let (_operator, _kubeconfig) = Operator::install(&plane).await.unwrap();
    let kubelet = SimulatedKubelet::new(plane.client().await.unwrap());
    futures::future::join_all(Check::ALL.map(|check| try_sample(&plane, &kubelet, check))).await;
}

#[tokio::test]
async fn the_samples_apply_together_one_per_check() {
    let plane = ControlPlane::start().await.unwrap();
    e2e::operator::install_crds(&plane).await.unwrap();
    let namespace = plane.namespace("samples").await.unwrap();
    let applied = apply(&plane, "samples", &["--namespace", &namespace]).await;
    assert_eq!(
        applied.lines().count(),
        Check::ALL.len() + 1,
        "and an exemption: {applied}"
    );
}
