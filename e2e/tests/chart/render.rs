//! Every feature of both charts, rendered by both versions of Helm and validated by a real API server.

use std::path::PathBuf;

use anyhow::Result;
use e2e::{ControlPlane, operator, shared};
use futures::stream::{StreamExt, TryStreamExt, iter};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::helm::{
    CHARTS, Helm, NAMESPACE, VERSIONS, documents, feature, features, of_kind, rendered, title,
};

/// Concurrent runs of Helm.
const AT_ONCE: usize = 4;

/// The control plane with the namespaces and CRDs that the features need.
async fn prepared() -> Result<&'static ControlPlane> {
    static PREPARED: OnceCell<()> = OnceCell::const_new();
    let plane = shared().await?;
    PREPARED
        .get_or_try_init(|| async {
            operator::install_crds(plane).await?;
            plane.install_monitoring_crds().await?;
            let mut namespaces: Vec<Value> = ["pay", "shop", NAMESPACE]
                .map(|name| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}))
                .to_vec();
            let restricted = json!({"pod-security.kubernetes.io/enforce": "restricted"});
            namespaces[2]["metadata"]["labels"] = restricted;
            let list = json!({"apiVersion": "v1", "kind": "List", "items": namespaces});
            plane.apply(&list.to_string()).await
        })
        .await?;
    Ok(plane)
}

async fn dry_run(plane: &ControlPlane, manifests: &str) -> Result<String> {
    let args = "apply --server-side --force-conflicts --dry-run=server --filename=-";
    plane.kubectl_with_input(args.split(' '), manifests).await
}

/// A chart with its release, the name of a feature, and its values.
type Feature = ((&'static str, &'static str), String, PathBuf);

/// The features of both charts.
fn all_features() -> Vec<Feature> {
    CHARTS
        .into_iter()
        .flat_map(|(release, chart)| {
            let features = features(chart).into_iter();
            features.map(move |(name, values)| ((release, chart), name, values))
        })
        .collect()
}

#[tokio::test]
async fn helm_lint_reports_nothing() {
    for version in VERSIONS {
        let helm = Helm::new(version).await.unwrap();
        let helm = &helm;
        iter(all_features())
            .map(|((_, chart), _, values)| async move {
                let values = values.to_str().unwrap();
                helm.run(&["lint", "--strict", "--quiet", chart, "--values", values])
                    .await
            })
            .buffer_unordered(AT_ONCE)
            .try_for_each(|output| async move {
                // With `--quiet`, Helm prints only warnings and errors.
                assert_eq!(output.trim(), "");
                Ok(())
            })
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn the_api_server_accepts_every_feature() {
    let plane = prepared().await.unwrap();
    let (three, four) = (
        Helm::new(VERSIONS[0]).await.unwrap(),
        Helm::new(VERSIONS[1]).await.unwrap(),
    );
    let (three, four) = (&three, &four);
    iter(all_features())
        .map(|(chart, feature, values)| async move {
            let yaml = rendered(four, chart, &values).await?;
            let objects = documents(&yaml);
            let older = documents(&rendered(three, chart, &values).await?);
            assert_eq!(older, objects, "{chart:?} {feature}: the same with both Helms");
            let accepted = dry_run(plane, &yaml).await?;
            assert_eq!(
                accepted.lines().count(),
                objects.len(),
                "{chart:?} {feature}: {accepted}"
            );
            // Argo CD and Flux would run a hook at each sync.
            for object in objects {
                let annotations = object["metadata"]["annotations"].as_object();
                let is_hook = |key: &String| key.starts_with("helm.sh/hook");
                assert!(
                    !annotations.is_some_and(|annotations| annotations.keys().any(is_hook)),
                    "{chart:?} {feature}: {} is a hook",
                    title(&object)
                );
            }
            anyhow::Ok(())
        })
        .buffer_unordered(AT_ONCE)
        .try_collect::<Vec<()>>()
        .await
        .unwrap();
    let typo = "{apiVersion: v1, kind: Service, metadata: {name: x, namespace: pay}, spec: {prots: []}}";
    let refused = dry_run(plane, typo).await.unwrap_err().to_string();
    assert!(
        refused.contains("prots"),
        "an unknown field is refused: {refused}"
    );
}

#[tokio::test]
async fn the_pod_satisfies_the_restricted_standard() {
    let plane = prepared().await.unwrap();
    let objects = feature("default").await;
    let template = &of_kind(&objects, "Deployment")[0]["spec"]["template"];
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "as-in-the-chart", "namespace": NAMESPACE},
        "spec": template["spec"],
    });
    dry_run(plane, &pod.to_string()).await.unwrap();

    pod["spec"]["containers"][0]["securityContext"]["capabilities"] = json!({});
    let refused = dry_run(plane, &pod.to_string()).await.unwrap_err().to_string();
    assert!(
        refused.contains("restricted") && refused.contains("capabilities"),
        "{refused}"
    );
}
