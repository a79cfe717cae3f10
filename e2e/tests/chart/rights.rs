//! The permissions of the operator are the same in the chart and in `config/rbac`.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::helm::{NAMESPACE, kustomized, objects, of_kind};

/// A permission: API group, resource with subresource, verb.
pub(crate) type Right = (String, String, String);

/// Permissions of the roles with a kind and name.
pub(crate) fn rights(objects: &[Value], kind: &str, name: &str) -> BTreeSet<Right> {
    let strings = |value: &Value| -> Vec<String> {
        let list = value.as_array().unwrap();
        list.iter()
            .map(|item| item.as_str().unwrap().to_owned())
            .collect()
    };
    let mut rights = BTreeSet::new();
    for role in of_kind(objects, kind) {
        if role["metadata"]["name"] != name {
            continue;
        }
        for rule in role["rules"].as_array().unwrap() {
            for group in strings(&rule["apiGroups"]) {
                for resource in strings(&rule["resources"]) {
                    for verb in strings(&rule["verbs"]) {
                        rights.insert((group.clone(), resource.clone(), verb));
                    }
                }
            }
        }
    }
    assert!(!rights.is_empty(), "no {kind} {name}");
    rights
}

#[tokio::test]
async fn chart_and_kustomize_grant_the_same_permissions() {
    let chart = objects(&[]).await;
    let config = kustomized("config/rbac").await;
    for name in ["sidewatch", "sidewatch-view", "sidewatch-edit"] {
        assert_eq!(
            rights(&chart, "ClusterRole", name),
            rights(&config, "ClusterRole", name),
            "{name}"
        );
        let labels = |objects: &[Value]| -> Vec<String> {
            let mut roles = of_kind(objects, "ClusterRole").into_iter();
            let role = roles.find(|role| role["metadata"]["name"] == name).unwrap();
            let labels = role["metadata"]["labels"].as_object().unwrap().keys();
            labels.filter(|key| key.starts_with("rbac.")).cloned().collect()
        };
        assert_eq!(labels(&chart), labels(&config), "aggregation of {name}");
    }
}

/// The rules of the Role for the Lease and the checkpoint, without comments.
fn leader_rules(objects: &[Value], name: &str) -> Value {
    let roles = of_kind(objects, "Role").into_iter();
    let mut roles = roles.filter(|role| role["metadata"]["name"] == name);
    let role = roles.next().unwrap_or_else(|| panic!("no Role {name}"));
    assert_eq!(role["metadata"]["namespace"], NAMESPACE);
    role["rules"].clone()
}

#[tokio::test]
async fn the_lease_and_the_checkpoint_are_permitted_by_name() {
    let rule = |group: &str, resource: &str, name: &str| {
        json!({
            "apiGroups": [group], "resources": [resource], "resourceNames": [name],
            "verbs": ["create", "get", "watch", "patch"],
        })
    };
    let rules = |name: &str| {
        json!([
            rule("coordination.k8s.io", "leases", name),
            rule("", "configmaps", &format!("{name}-checkpoint")),
        ])
    };
    let config = kustomized("config/rbac").await;
    assert_eq!(leader_rules(&config, "sidewatch-leader"), rules("sidewatch"));
    for (flag, name) in [
        ("replicas=1", "sidewatch"),
        ("watch.namespaces={pay}", "sidewatch"),
        ("fullnameOverride=team-pay", "team-pay"),
    ] {
        let chart = objects(&["--set", flag]).await;
        assert_eq!(
            leader_rules(&chart, &format!("{name}-leader")),
            rules(name),
            "{flag}"
        );
        let args = &of_kind(&chart, "Deployment")[0]["spec"]["template"]["spec"]["containers"][0]["args"];
        let lease = json!(format!("--lease-name={name}"));
        assert!(args.as_array().unwrap().contains(&lease), "{flag}: {args}");
    }
}

#[tokio::test]
async fn a_pod_disruption_budget_needs_two_replicas() {
    for (flag, budgets) in [
        ("replicas=1", 0),
        ("replicas=2", 1),
        ("podDisruptionBudget.enabled=false", 0),
    ] {
        let chart = objects(&["--set", flag]).await;
        assert_eq!(of_kind(&chart, "PodDisruptionBudget").len(), budgets, "{flag}");
    }
}

#[tokio::test]
async fn a_namespaced_role_has_the_namespaced_permissions_of_the_cluster_role() {
    let cluster = rights(&objects(&[]).await, "ClusterRole", "sidewatch");
    let namespaced = objects(&["--set", "watch.namespaces={pay}"]).await;
    let namespaced = rights(&namespaced, "Role", "sidewatch");
    let expected: BTreeSet<Right> = cluster
        .into_iter()
        .filter(|(_, resource, _)| resource != "namespaces" && !resource.starts_with("cluster"))
        .collect();
    assert_eq!(namespaced, expected);
}

/// The spec of the Pod, without the labels by which the topology spread selects: those of the chart contain the release.
pub(crate) fn pod_spec(objects: &[Value]) -> Value {
    let mut spec = of_kind(objects, "Deployment")[0]["spec"]["template"]["spec"].clone();
    let selector = spec["topologySpreadConstraints"][0]["labelSelector"].take();
    assert!(selector["matchLabels"].is_object(), "{selector}");
    spec
}

#[tokio::test]
async fn chart_and_kustomize_run_the_same_pod() {
    let chart = objects(&[]).await;
    let config = kustomized("config/default").await;
    assert_eq!(pod_spec(&chart), pod_spec(&config));
    let spec = |objects: &[Value]| of_kind(objects, "Deployment")[0]["spec"].clone();
    for field in ["replicas", "strategy", "minReadySeconds"] {
        assert!(!spec(&chart)[field].is_null(), "{field}");
        assert_eq!(spec(&chart)[field], spec(&config)[field], "{field}");
    }
}
