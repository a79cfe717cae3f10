//! The content of the rendered objects.

use serde_json::{Value, json};

use crate::helm::{NAMESPACE, POLICIES, POLICIES_RELEASE, feature, feature_of, objects, of_kind, title};

#[tokio::test]
async fn the_deployment_has_the_required_settings() {
    let objects = feature("default").await;
    let spec = &of_kind(&objects, "Deployment")[0]["spec"];
    let container = &spec["template"]["spec"]["containers"][0];
    #[rustfmt::skip]
    let rows = [
        ("/replicas", json!(2), "a leader and a standby"),
        (
            "/strategy/rollingUpdate",
            json!({"maxUnavailable": 0, "maxSurge": 1}),
            "the new Pod is ready before the old one ends",
        ),
        ("/minReadySeconds", json!(15), "Prometheus scrapes the new Pod before the old one ends"),
        (
            "/template/metadata/annotations/kubectl.kubernetes.io~1default-container",
            container["name"].clone(),
            "the container of kubectl logs",
        ),
        ("/template/spec/containers/0/securityContext/readOnlyRootFilesystem", json!(true), "a read-only file system"),
        ("/template/spec/containers/0/livenessProbe/httpGet/path", json!("/livez"), "liveness"),
        ("/template/spec/containers/0/readinessProbe/httpGet/path", json!("/readyz"), "readiness"),
        ("/template/spec/nodeSelector/kubernetes.io~1os", json!("linux"), "the image runs on Linux only"),
        ("/template/spec/securityContext/runAsUser", json!(65532), "the image's user"),
    ];
    for (path, expected, message) in rows {
        assert_eq!(spec.pointer(path), Some(&expected), "{message}");
    }
    assert!(!container["resources"]["requests"].is_null());
    for flag in [
        "--max-policies-per-namespace=50",
        "--max-tenant-severity=Critical",
        "--leader-elect",
        "--lease-name=sidewatch",
    ] {
        let args = container["args"].as_array().unwrap();
        assert!(args.contains(&json!(flag)), "{flag} is missing in {args:?}");
    }
}

#[tokio::test]
async fn doctor_finds_the_deployment_whatever_its_name_is() {
    let objects = objects(&[
        "--set=nameOverride=watcher",
        "--set=fullnameOverride=team-watcher",
    ])
    .await;
    let labels = &of_kind(&objects, "Deployment")[0]["metadata"]["labels"];
    assert_eq!(labels["app.kubernetes.io/name"], "watcher");
    assert_eq!(
        labels["app.kubernetes.io/part-of"], "sidewatch",
        "the label that doctor selects by"
    );
}

#[tokio::test]
async fn a_namespaced_installation_has_no_cluster_scoped_object() {
    let objects = feature("namespaced").await;
    for object in &objects {
        assert!(
            !object["metadata"]["namespace"].is_null(),
            "{} is cluster-scoped",
            title(object)
        );
    }
    let args = &of_kind(&objects, "Deployment")[0]["spec"]["template"]["spec"]["containers"][0]["args"];
    // Another installation in the same namespace has another Lease.
    assert!(
        args.as_array()
            .unwrap()
            .contains(&json!("--lease-name=sidewatch")),
        "{args}"
    );
    for namespace in ["pay", "shop"] {
        let role = format!("Role {namespace}/sidewatch");
        assert!(
            objects.iter().any(|object| title(object) == role),
            "{role} is missing"
        );
        let flag = json!(format!("--namespace={namespace}"));
        assert!(
            args.as_array().unwrap().contains(&flag),
            "{flag} is missing in {args}"
        );
    }
}

/// The namespaces that a ClusterSidecarPolicy excludes, and the rest of its namespaceSelector.
fn selector(policy: &Value) -> (Value, Value) {
    let mut selector = policy["spec"]["namespaceSelector"].clone();
    let expressions = selector["matchExpressions"].as_array_mut().unwrap();
    let ours = expressions.pop().unwrap();
    assert_eq!(
        [&ours["key"], &ours["operator"]],
        ["kubernetes.io/metadata.name", "NotIn"]
    );
    (ours["values"].clone(), selector)
}

#[tokio::test]
async fn the_default_policy_excludes_system_namespaces() {
    let chart = (POLICIES_RELEASE, POLICIES);
    let default = feature_of(chart, "default").await;
    let policies = of_kind(&default, "ClusterSidecarPolicy");
    assert_eq!((default.len(), policies.len()), (1, 1), "{default:?}");
    let (excluded, rest) = selector(policies[0]);
    assert_eq!(excluded, json!(["kube-system", NAMESPACE]));
    assert_eq!(rest, json!({"matchExpressions": []}));

    let own = feature_of(chart, "spec").await;
    let (excluded, rest) = selector(&own[0]);
    assert_eq!(excluded, json!(["kube-system", "sidewatch", POLICIES_RELEASE]));
    let production = json!({"key": "environment", "operator": "In", "values": ["production"]});
    assert_eq!(
        rest,
        json!({"matchLabels": {"team": "pay"}, "matchExpressions": [production]}),
        "the selector of the spec stays"
    );
    assert_eq!(own[0]["spec"]["mode"], "Observe");

    let all = feature_of(chart, "all-namespaces").await;
    assert_eq!(all[0]["spec"], json!({"mode": "Alert"}));
    let namespaced = feature_of(chart, "namespaced").await;
    let titles: Vec<_> = namespaced.iter().map(title).collect();
    assert_eq!(
        titles,
        ["SidecarPolicy pay/sidecars", "SidecarPolicy shop/sidecars"]
    );
}

#[tokio::test]
async fn both_monitors_keep_the_labels_of_violations() {
    for (name, kind, endpoints) in [
        ("pod-monitor", "PodMonitor", "podMetricsEndpoints"),
        ("service-monitor", "ServiceMonitor", "endpoints"),
    ] {
        let objects = feature(name).await;
        let monitor = of_kind(&objects, kind)[0];
        let endpoint = &monitor["spec"][endpoints][0];
        assert_eq!(endpoint["honorLabels"], json!(true), "{name}");
        for value in ["interval", "scrapeTimeout", "relabelings", "metricRelabelings"] {
            assert!(!endpoint[value].is_null(), "{name}: {value}");
        }
        assert_eq!(monitor["metadata"]["labels"]["release"], "kube-prometheus-stack");
        let deployment = &of_kind(&objects, "Deployment")[0]["spec"]["template"]["metadata"]["labels"];
        let service = &of_kind(&objects, "Service")[0]["metadata"]["labels"];
        let selected = if kind == "PodMonitor" { deployment } else { service };
        for (label, value) in monitor["spec"]["selector"]["matchLabels"].as_object().unwrap() {
            assert_eq!(&selected[label], value, "{name}: {label}");
        }
    }
}
