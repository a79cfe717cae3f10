//! Argo CD and Flux render the charts again and again and apply the result: a second sync changes nothing.

use std::time::Duration;

use e2e::{ControlPlane, compat::SELECTABLE_FIELDS, poll};
use serde_json::Value;

use crate::helm::{Helm, NAMESPACE, POLICIES, POLICIES_RELEASE, VERSIONS, documents, features, title};

const SOON: Duration = Duration::from_secs(30);

/// Every object of the operator's chart that an installation can have.
const EVERYTHING: [&str; 9] = [
    "admissionPolicies.enabled=true",
    "metrics.tls.enabled=true",
    "metrics.auth.enabled=true",
    "metrics.auth.tokenSecret.name=token",
    "podMonitor.enabled=true",
    "prometheusRule.enabled=true",
    "prometheusRole.create=true",
    "dashboard.enabled=true",
    "networkPolicy.enabled=true",
];

/// Applies manifests as a GitOps controller does.
async fn sync(plane: &ControlPlane, manifests: &str) {
    let args = ["apply", "--server-side", "--field-manager=sync", "--filename=-"];
    plane.kubectl_with_input(args, manifests).await.unwrap();
}

/// The resource version of each object.
async fn versions(plane: &ControlPlane, manifests: &str) -> Vec<(String, String)> {
    let args = ["get", "--output=json", "--filename=-"];
    let list: Value =
        serde_json::from_str(&plane.kubectl_with_input(args, manifests).await.unwrap()).unwrap();
    let objects = match list["items"].as_array() {
        Some(items) => items.clone(),
        None => vec![list],
    };
    let version = |object: &Value| object["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    objects
        .iter()
        .map(|object| (title(object), version(object)))
        .collect()
}

#[tokio::test]
async fn a_second_sync_changes_nothing() {
    let plane = ControlPlane::start().await.unwrap();
    plane.install_monitoring_crds().await.unwrap();
    for namespace in [NAMESPACE, "pay", "shop"] {
        plane
            .kubectl_line(&format!("create namespace {namespace}"))
            .await
            .unwrap();
    }
    let helm = Helm::new(VERSIONS[1]).await.unwrap();
    let everything: Vec<&str> = EVERYTHING.iter().flat_map(|flag| ["--set", *flag]).collect();
    let operator = helm.template(&everything).await.unwrap();
    sync(&plane, &operator).await;
    plane
        .kubectl_line("wait --for=condition=Established --all crd")
        .await
        .unwrap();

    let mut applied = vec![(operator.clone(), helm.template(&everything).await.unwrap())];
    for (name, values) in features(POLICIES) {
        let values = ["--values", values.to_str().unwrap()];
        let release = format!("{POLICIES_RELEASE}-{name}");
        let render = || helm.template_chart(&release, POLICIES, &values);
        let policies = render().await.unwrap();
        sync(&plane, &policies).await;
        applied.push((policies, render().await.unwrap()));
    }
    for (first, second) in &applied {
        assert_eq!(first, second, "Helm renders the same twice");
        // The API server writes the conditions of a new CRD in several steps.
        let before = poll::eventually(SOON, || async {
            let seen = versions(&plane, first).await;
            tokio::time::sleep(Duration::from_secs(1)).await;
            anyhow::ensure!(versions(&plane, first).await == seen, "still changing");
            Ok(seen)
        });
        let before = before.await.unwrap();
        assert_eq!(before.len(), documents(first).len());
        sync(&plane, second).await;
        let mut after = versions(&plane, second).await;
        let mut before = before;
        // An API server without selectable fields removes them from the CRDs.
        if !SELECTABLE_FIELDS.is_selected().unwrap() {
            for versions in [&mut before, &mut after] {
                versions.retain(|(title, _)| !title.starts_with("CustomResourceDefinition"));
            }
        }
        assert_eq!(after, before, "resource versions");
    }
}
