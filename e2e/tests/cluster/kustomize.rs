//! `config/`: installed with `kubectl apply -k`, and every sample policy with a Pod that fails its check.

use std::time::Duration;

use anyhow::Context;
use e2e::ControlPlane;
use e2e::compat::SELECTABLE_FIELDS;
use e2e::operator::{NAMESPACE, Operator, SERVICE_ACCOUNT};
use e2e::poll;
use e2e::simulated_kubelet::{Container, PodSpec, RestartPolicy, SimulatedKubelet, Step};
use serde_json::{Value, json};
use sidewatch::domain::checks::rule;
use sidewatch::domain::policy::Check;

use crate::policy_specs;

const SOON: Duration = Duration::from_mins(1);

async fn get(plane: &ControlPlane, args: &str) -> Value {
    let printed = plane.kubectl_line(&format!("get --output=json {args}")).await;
    serde_json::from_str(&printed.unwrap()).unwrap()
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
    let applied = plane.kubectl_line("apply -k config/default").await.unwrap();
    assert!(
        applied.lines().all(|line| line.ends_with(" created")),
        "{applied}"
    );
    for line in plane
        .kubectl_line("apply -k config/default")
        .await
        .unwrap()
        .lines()
    {
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

    let hour = Duration::from_hours(1);
    let token = plane.token(NAMESPACE, SERVICE_ACCOUNT, hour).await.unwrap();
    let kubeconfig = plane.kubeconfig_for_token(&token).unwrap();
    let mut operator = Operator::start(&plane, kubeconfig.path(), &[]).await.unwrap();
    operator.wait_until_ready().await.unwrap();

    // The namespace enforces the restricted Pod Security Standard, so an existing Pod satisfies it.
    let labels = &get(&plane, &format!("namespace {NAMESPACE}")).await["metadata"]["labels"];
    assert_eq!(labels["pod-security.kubernetes.io/enforce"], "restricted");
    let pods = format!("pods --namespace {NAMESPACE}");
    let pod = eventually("a Pod of the Deployment", || async {
        get(&plane, &pods).await["items"].get(0).cloned()
    });
    let pod = pod.await;
    assert_eq!(pod["spec"]["serviceAccountName"], SERVICE_ACCOUNT);
}

/// Creates a Pod that fails a check and returns the faulty container, or an empty name if the violation is about an image.
async fn fail(kubelet: &SimulatedKubelet, namespace: &str, check: Check) -> &'static str {
    let proxied = PodSpec::new("web")
        .container(Container::native("istio-proxy").readiness_probe().startup_probe())
        .container(Container::regular("app").readiness_probe());
    let (unready, ready) = (Step::Unready("istio-proxy"), Step::Ready("istio-proxy"));
    let run = async |spec: PodSpec, steps: &[Step<'_>]| {
        let mut pod = kubelet.run(namespace, spec).await.unwrap();
        pod.steps(steps).await.unwrap();
    };
    match check {
        Check::NotReady | Check::MainReadySidecarNotReady => {
            run(proxied, &[unready]).await;
            "istio-proxy"
        }
        Check::FrequentRestarts => {
            run(proxied, &[Step::Exit("app", 1), Step::Start("app")].repeat(3)).await;
            "app"
        }
        Check::StartupBlocked => {
            let mut pod = kubelet.create(namespace, proxied).await.unwrap();
            pod.schedule().await.unwrap();
            let started = [Step::Admit, Step::SandboxReady, Step::Start("istio-proxy")];
            pod.steps(&started).await.unwrap();
            "istio-proxy"
        }
        Check::JobHeldOpen => {
            let pod = PodSpec::new("report")
                .restart_policy(RestartPolicy::Never)
                .container(Container::regular("report"))
                .container(Container::regular("log-sidecar"));
            run(pod, &[Step::Exit("report", 0)]).await;
            "log-sidecar"
        }
        Check::OOMKilled => {
            run(proxied, &[Step::OomKill("istio-proxy")]).await;
            "istio-proxy"
        }
        Check::Flapping => {
            run(proxied, &[unready, ready].repeat(3)).await;
            "istio-proxy"
        }
        Check::SidecarMissing => {
            let pod = PodSpec::new("web")
                .annotation("dapr.io/enabled", "true")
                .container(Container::regular("app"));
            run(pod, &[]).await;
            "daprd"
        }
        Check::VersionDrift => {
            let pod = PodSpec::new("web")
                .container(Container::regular("app"))
                .container(Container::native("envoy").image("envoyproxy/envoy:v1.35.0"))
                .container(Container::native("envoy-egress").image("envoyproxy/envoy:v1.34.1"));
            run(pod, &[]).await;
            ""
        }
    }
}

/// Applies the sample of a check in a new namespace with a Pod that fails it: one violation of that check, one Event.
async fn try_sample(plane: &ControlPlane, kubelet: &SimulatedKubelet, check: Check) {
    let name = check.as_str();
    let namespace = plane.namespace("sample").await.unwrap();
    let apply = format!("apply --filename config/samples/{name}.yaml --namespace {namespace}");
    plane.kubectl_line(&apply).await.unwrap();
    let container = fail(kubelet, &namespace, check).await;

    let policies = format!("sidecarpolicies --namespace {namespace}");
    let violations = eventually(name, || async {
        let violations = get(plane, &policies).await["items"][0]["status"]["violations"].clone();
        let is_firing = |violation: &Value| violation["check"] == name && violation["state"] == "Firing";
        let found = violations.as_array()?.iter().any(is_firing);
        found.then_some(violations)
    });
    let violations = violations.await;
    let found: Vec<_> = violations
        .as_array()
        .unwrap()
        .iter()
        .map(|violation| [&violation["check"], &violation["container"]])
        .collect();
    assert_eq!(found, [[&json!(name), &json!(container)]], "{violations}");

    let events = format!("events.v1.events.k8s.io --namespace {namespace}");
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
    let (plane, _) = policy_specs::plane().await;
    let namespace = plane.namespace("samples").await.unwrap();
    let apply = format!("apply -k config/samples --namespace {namespace}");
    let applied = plane.kubectl_line(&apply).await.unwrap();
    assert_eq!(
        applied.lines().count(),
        Check::ALL.len() + 1,
        "and an exemption: {applied}"
    );
}
