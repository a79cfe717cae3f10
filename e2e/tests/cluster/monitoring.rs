//! A real Prometheus with a real operator: every panel of the dashboard has data, alerts fire for the right container, and
//! `docs/metrics.md` lists exactly the existing metrics and labels.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::ensure;
use e2e::ControlPlane;
use e2e::observers::prometheus::Prometheus;
use e2e::operator::{NAMESPACE, Operator, SERVICE_ACCOUNT, install_crds, install_rbac};
use e2e::poll::eventually;
use e2e::project::read_yaml;
use e2e::promtool::check_metrics;
use e2e::simulated_kubelet::{Container, PodSpec, SimulatedKubelet, Step};
use serde_json::Value;

use crate::dashboard::{dashboard, documented_metrics, expressions, substituted};

const POLICY: &str = "
apiVersion: sidewatch.dev/v1alpha1
kind: SidecarPolicy
metadata: {name: mesh, namespace: pay}
spec:
  checks:
    notReady: {for: 2s, keepFiringFor: 0s}
    mainReadySidecarNotReady: {for: 24h}
    frequentRestarts: {count: 2, window: 5m}
";
/// Hides the violations of a Pod without an owner.
const EXEMPTION: &str = "
apiVersion: sidewatch.dev/v1alpha1
kind: SidecarExemption
metadata: {name: debug, namespace: pay}
spec:
  workload: {kind: Pod, name: debug}
  reason: a test
  until: '2100-01-01T00:00:00Z'
";
/// Time for two scrapes and an evaluation on a busy machine.
const SOON: Duration = Duration::from_mins(1);

#[tokio::test]
async fn dashboard_alerts_and_documentation_agree_with_the_metrics() {
    let plane = ControlPlane::start().await.unwrap();
    install_crds(&plane).await.unwrap();
    plane
        .kubectl_line(&format!("create namespace {NAMESPACE}"))
        .await
        .unwrap();
    let kubeconfig = plane.kubeconfig_for(NAMESPACE, SERVICE_ACCOUNT).await.unwrap();
    // First without its role, so that watches fail.
    let mut operator = Operator::start(&plane, kubeconfig.path(), &[]).await.unwrap();
    let rules = read_yaml("config/prometheus/rules.yaml").unwrap()["spec"].take();
    let prometheus = Prometheus::start(operator.metrics_address(), &rules)
        .await
        .unwrap();
    has_data(&prometheus, "sidewatch_watch_errors_total").await;
    install_rbac(&plane).await.unwrap();
    operator.wait_until_ready().await.unwrap();
    plane.kubectl_line("create namespace pay").await.unwrap();
    plane.apply(POLICY).await.unwrap();
    plane.apply(EXEMPTION).await.unwrap();
    has_data(&prometheus, "sidewatch_policy_ready").await;

    run_pods(&SimulatedKubelet::new(plane.client().await.unwrap()), &prometheus).await;

    the_alert_names_the_sidecar(&prometheus).await;
    every_panel_has_data(&prometheus).await;
    let metrics = operator.metrics().await.unwrap();
    check_metrics(&metrics).unwrap();
    the_reference_is_complete(&metrics);
    assert!(operator.stop().await.unwrap().success());
    plane.stop().unwrap();
}

/// One sidecar fires and recovers, one continues to fire, one restarts, and one fires and is hidden.
async fn run_pods(kubelet: &SimulatedKubelet, prometheus: &Prometheus) {
    let web = |pod: &str| {
        PodSpec::new(pod)
            .owned_by("apps/v1", "ReplicaSet", "web-7d9f8c6b5")
            .label("pod-template-hash", "7d9f8c6b5")
            .container(Container::native("istio-proxy").readiness_probe())
            .container(Container::native("fluent-bit"))
            .container(Container::regular("app"))
    };
    let mut recovers = kubelet.run("pay", web("web-7d9f8c6b5-aaaaa")).await.unwrap();
    let mut stays = kubelet.run("pay", web("web-7d9f8c6b5-bbbbb")).await.unwrap();
    for pod in [&mut recovers, &mut stays] {
        pod.step(Step::Unready("istio-proxy")).await.unwrap();
    }
    has_data(
        prometheus,
        "sidewatch_violation{state=\"firing\", pod=\"web-7d9f8c6b5-aaaaa\"}",
    )
    .await;
    recovers.step(Step::Ready("istio-proxy")).await.unwrap();
    has_data(prometheus, "sidewatch_violation_duration_seconds_count > 0").await;
    for restarts in 1..=2 {
        let crash = [Step::Exit("fluent-bit", 1), Step::Start("fluent-bit")];
        recovers.steps(&crash).await.unwrap();
        has_data(
            prometheus,
            &format!("sidewatch_sidecar_restarts_total == {restarts}"),
        )
        .await;
    }
    let debug = PodSpec::new("debug")
        .container(Container::native("envoy").readiness_probe())
        .container(Container::regular("app"));
    let mut hidden = kubelet.run("pay", debug).await.unwrap();
    hidden.step(Step::Unready("envoy")).await.unwrap();
    has_data(prometheus, "sidewatch_exempted_violations == 1").await;
}

/// Waits until the result of a query contains a number, and returns the result.
async fn has_data(prometheus: &Prometheus, query: &str) -> Vec<Value> {
    let data = eventually(SOON, || async {
        let samples = prometheus.query(query).await?;
        let is_number = |sample: &Value| sample["value"][1] != "NaN";
        ensure!(samples.iter().any(is_number), "no data: {query}");
        Ok(samples)
    });
    data.await.unwrap()
}

async fn the_alert_names_the_sidecar(prometheus: &Prometheus) {
    let alerts = has_data(
        prometheus,
        "ALERTS{alertname=\"SidecarContainerNotReady\", alertstate=\"firing\"}",
    )
    .await;
    assert_eq!(alerts.len(), 1, "{alerts:?}");
    let labels: BTreeMap<String, String> = serde_json::from_value(alerts[0]["metric"].clone()).unwrap();
    let expected = [
        ("__name__", "ALERTS"),
        ("alertname", "SidecarContainerNotReady"),
        ("alertstate", "firing"),
        ("severity", "warning"),
        ("check", "NotReady"),
        ("policy_kind", "SidecarPolicy"),
        ("policy_namespace", "pay"),
        ("policy", "mesh"),
        ("namespace", "pay"),
        ("workload_kind", "Deployment"),
        ("workload", "web"),
        ("container", "istio-proxy"),
        ("repository", "registry.test/istio-proxy"),
        ("native", "true"),
    ];
    assert_eq!(
        labels,
        expected
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into()
    );
    let own = prometheus
        .query("ALERTS{alertname=~\"Sidewatch.+\"}")
        .await
        .unwrap();
    assert!(own.is_empty(), "no alert about the operator: {own:?}");
}

async fn every_panel_has_data(prometheus: &Prometheus) {
    let dashboard = dashboard();
    for panel in dashboard["panels"].as_array().unwrap() {
        let is_row = panel["type"] == "row";
        assert!(
            is_row || panel["datasource"]["uid"] == "${datasource}",
            "the data source must be a variable: {}",
            panel["title"]
        );
    }
    let expressions = expressions(&dashboard);
    assert!(expressions.len() > 25, "{} queries", expressions.len());
    for (_, expression) in expressions {
        has_data(prometheus, &substituted(&expression, &[])).await;
    }
}

/// Compares `docs/metrics.md` with `/metrics`: names, types and labels.
fn the_reference_is_complete(metrics: &str) {
    let mut shown: BTreeMap<String, (String, BTreeSet<String>)> = BTreeMap::new();
    for line in metrics.lines() {
        if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            shown.insert(name.to_owned(), (kind.to_owned(), BTreeSet::new()));
        } else if let Some((name, rest)) = line.split_once('{') {
            let histogram = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|part| name.strip_suffix(part));
            let name = if shown.contains_key(name) {
                name
            } else {
                histogram.unwrap()
            };
            let labels = rest
                .rsplit_once('}')
                .unwrap()
                .0
                .split("\",")
                .map(|pair| pair.split_once('=').unwrap().0);
            shown
                .get_mut(name)
                .unwrap()
                .1
                .extend(labels.filter(|label| *label != "le").map(str::to_owned));
        }
    }
    shown.retain(|name, _| name.starts_with("sidewatch_"));
    assert_eq!(documented_metrics(), shown);
}
