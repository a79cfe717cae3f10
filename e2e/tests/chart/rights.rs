//! The permissions of the operator are the same in the chart and in `config/rbac`.

use std::collections::BTreeSet;

use e2e::shared;
use serde_json::Value;

use crate::helm::{Helm, VERSIONS, documents, of_kind};

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

/// Output of `kubectl kustomize` for a directory of `config/`.
async fn kustomized(directory: &str) -> Vec<Value> {
    let path = e2e::project::repository().join(directory);
    let plane = shared().await.unwrap();
    documents(
        &plane
            .kubectl(["kustomize", path.to_str().unwrap()])
            .await
            .unwrap(),
    )
}

#[tokio::test]
async fn chart_and_kustomize_grant_the_same_permissions() {
    let helm = Helm::new(VERSIONS[1]).await.unwrap();
    let chart = documents(&helm.template(&[]).await.unwrap());
    let config = kustomized("config/rbac").await;
    for name in ["sidewatch", "sidewatch-view", "sidewatch-edit"] {
        assert_eq!(
            rights(&chart, "ClusterRole", name),
            rights(&config, "ClusterRole", name),
            "{name}"
        );
        let labels = |objects: &[Value]| -> BTreeSet<String> {
            let role = of_kind(objects, "ClusterRole")
                .into_iter()
                .find(|role| role["metadata"]["name"] == name)
                .unwrap();
            let labels = role["metadata"]["labels"].as_object().unwrap();
            labels
                .keys()
                .filter(|key| key.starts_with("rbac."))
                .cloned()
                .collect()
        };
        assert_eq!(labels(&chart), labels(&config), "aggregation of {name}");
    }
}

#[tokio::test]
async fn a_namespaced_role_has_the_namespaced_permissions_of_the_cluster_role() {
    let helm = Helm::new(VERSIONS[1]).await.unwrap();
    let cluster = rights(
        &documents(&helm.template(&[]).await.unwrap()),
        "ClusterRole",
        "sidewatch",
    );
    let flags = ["--set", "watch.namespaces={pay}"];
    let namespaced = rights(
        &documents(&helm.template(&flags).await.unwrap()),
        "Role",
        "sidewatch",
    );
    let expected: BTreeSet<Right> = cluster
        .into_iter()
        .filter(|(_, resource, _)| resource != "namespaces" && !resource.starts_with("cluster"))
        .collect();
    assert_eq!(namespaced, expected);
}

#[tokio::test]
async fn chart_and_kustomize_run_the_same_pod() {
    let helm = Helm::new(VERSIONS[1]).await.unwrap();
    let chart = documents(&helm.template(&[]).await.unwrap());
    let config = kustomized("config/default").await;
    let spec = |objects: &[Value]| of_kind(objects, "Deployment")[0]["spec"]["template"]["spec"].clone();
    assert_eq!(spec(&chart), spec(&config));
}
