//! The values `metrics.tls` and `metrics.auth`, and the equivalent kustomize component.

use e2e::process::{Scratch, copy_directory};
use e2e::project::repository;
use serde_json::{Value, json};

use crate::helm::{self, NAMESPACE, objects, of_kind};
use crate::rights::{pod_spec, rights};

const AUTH: &str = "metrics.tls.enabled=true,metrics.auth.enabled=true";

async fn with(values: &str) -> Vec<Value> {
    objects(&["--set", values]).await
}

/// The manifests of `config/default` with the component.
async fn kustomized() -> Vec<Value> {
    let files = Scratch::new().unwrap();
    for directory in ["config", "crds"] {
        copy_directory(&repository().join(directory), &files.path().join(directory)).unwrap();
    }
    let overlay = files.path().join("deploy");
    std::fs::create_dir(&overlay).unwrap();
    let kustomization = json!({
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": ["../config/default"],
        "components": ["../config/protected-metrics"],
    });
    std::fs::write(overlay.join("kustomization.yaml"), kustomization.to_string()).unwrap();
    helm::kustomized(overlay.to_str().unwrap()).await
}

fn named<'a>(objects: &'a [Value], kind: &str, suffix: &str) -> Vec<&'a Value> {
    let of_kind = of_kind(objects, kind).into_iter();
    of_kind
        .filter(|object| object["metadata"]["name"].as_str().unwrap().ends_with(suffix))
        .collect()
}

#[tokio::test]
async fn off_by_default() {
    let text = json!(with("podMonitor.enabled=true").await).to_string();
    for part in [
        "metrics-tls",
        "metrics-auth",
        "tokenreviews",
        "bearerTokenFile",
        "https",
    ] {
        assert!(!text.contains(&format!("\"{part}")), "{part}");
    }
}

#[tokio::test]
async fn the_auth_role_permits_both_reviews_and_the_reader_role_the_metrics() {
    let chart = with(&format!("{AUTH},prometheusRole.create=true")).await;
    let prefix = format!("sidewatch-{NAMESPACE}-metrics");
    let reviews = rights(&chart, "ClusterRole", &format!("{prefix}-auth"));
    let review = |group: &str, resource: &str| (group.to_owned(), resource.to_owned(), "create".to_owned());
    let expected = [
        review("authentication.k8s.io", "tokenreviews"),
        review("authorization.k8s.io", "subjectaccessreviews"),
    ];
    assert_eq!(reviews, expected.into());
    assert_eq!(
        reviews,
        rights(&kustomized().await, "ClusterRole", "sidewatch-metrics-auth")
    );
    let reader = named(&chart, "ClusterRole", "-reader");
    assert_eq!(
        reader[0]["rules"],
        json!([{"nonResourceURLs": ["/metrics"], "verbs": ["get"]}])
    );
    let bindings = named(&chart, "ClusterRoleBinding", "-reader");
    assert_eq!(
        bindings[0]["subjects"],
        json!([{"kind": "ServiceAccount", "name": "prometheus-k8s", "namespace": "monitoring"}])
    );
    let unbound = with(AUTH).await;
    assert!(named(&unbound, "ClusterRoleBinding", "-reader").is_empty());
    let tls_only = with("metrics.tls.enabled=true").await;
    assert!(
        named(&tls_only, "ClusterRole", "-auth").is_empty(),
        "no reviews without auth"
    );
}

#[tokio::test]
async fn the_component_runs_the_same_pod_as_the_chart() {
    let chart = with(AUTH).await;
    let config = kustomized().await;
    assert_eq!(pod_spec(&chart), pod_spec(&config));
}

#[tokio::test]
async fn monitors_use_tls_and_a_token() {
    let chart = with(&format!("{AUTH},serviceMonitor.enabled=true")).await;
    let endpoint = of_kind(&chart, "ServiceMonitor")[0]["spec"]["endpoints"][0].clone();
    let expected = json!({
        "port": "metrics",
        "honorLabels": true,
        "scheme": "https",
        "tlsConfig": {
            "serverName": "sidewatch.sidewatch-system.svc",
            "ca": {"secret": {"name": "sidewatch-metrics-tls", "key": "ca.crt"}},
        },
        "bearerTokenFile": "/var/run/secrets/kubernetes.io/serviceaccount/token",
    });
    assert_eq!(endpoint, expected);
    let config = helm::kustomized("config/protected-metrics/prometheus").await;
    assert_eq!(
        of_kind(&config, "ServiceMonitor")[0]["spec"]["endpoints"][0],
        expected
    );
    assert!(of_kind(&config, "PodMonitor").is_empty());
    assert_eq!(of_kind(&config, "PrometheusRule").len(), 1);

    let token = "metrics.auth.tokenSecret.name=prometheus-token,metrics.tls.insecureSkipVerify=true";
    let chart = with(&format!("{AUTH},{token},podMonitor.enabled=true")).await;
    let endpoint = &of_kind(&chart, "PodMonitor")[0]["spec"]["podMetricsEndpoints"][0];
    assert_eq!(
        endpoint["authorization"],
        json!({"credentials": {"name": "prometheus-token", "key": "token"}})
    );
    assert_eq!(
        endpoint["tlsConfig"],
        json!({"serverName": "sidewatch.sidewatch-system.svc", "insecureSkipVerify": true})
    );
}
