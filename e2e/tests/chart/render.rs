//! Every feature, rendered by both versions of Helm and validated by a real API server.

use std::path::Path;

use anyhow::Result;
use e2e::{ControlPlane, operator, shared};
use futures::stream::{StreamExt, TryStreamExt, iter};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::helm::{CHART, Helm, NAMESPACE, VERSIONS, documents, features, of_kind, title};

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
    let args = [
        "apply",
        "--server-side",
        "--force-conflicts",
        "--dry-run=server",
        "--filename=-",
    ];
    plane.kubectl_with_input(args, manifests).await
}

async fn rendered(helm: &Helm, values: &Path) -> Result<String> {
    helm.template(&["--values", values.to_str().unwrap()]).await
}

#[tokio::test]
async fn helm_lint_has_nothing_to_say() {
    for version in VERSIONS {
        let helm = Helm::new(version).await.unwrap();
        let helm = &helm;
        iter(features())
            .map(|(_, values)| async move {
                let values = values.to_str().unwrap();
                helm.run(&["lint", "--strict", "--quiet", CHART, "--values", values])
                    .await
            })
            .buffer_unordered(AT_ONCE)
            .try_for_each(|said| async move {
                // With `--quiet`, Helm prints only warnings and errors.
                assert_eq!(said.trim(), "");
                Ok(())
            })
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn the_api_server_takes_every_feature() {
    let plane = prepared().await.unwrap();
    let (three, four) = (
        Helm::new(VERSIONS[0]).await.unwrap(),
        Helm::new(VERSIONS[1]).await.unwrap(),
    );
    let (three, four) = (&three, &four);
    iter(features())
        .map(|(feature, values)| async move {
            let yaml = rendered(four, &values).await?;
            let older = rendered(three, &values).await?;
            assert_eq!(
                documents(&older),
                documents(&yaml),
                "{feature}: the same with both Helms"
            );
            let taken = dry_run(plane, &yaml).await?;
            assert_eq!(
                taken.lines().count(),
                documents(&yaml).len(),
                "{feature}: {taken}"
            );
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

async fn feature(name: &str) -> Vec<Value> {
    let helm = Helm::new(VERSIONS[1]).await.unwrap();
    let (_, values) = features()
        .into_iter()
        .find(|(feature, _)| feature == name)
        .unwrap();
    documents(&rendered(&helm, &values).await.unwrap())
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

#[tokio::test]
async fn what_the_deployment_promises() {
    let objects = feature("default").await;
    let spec = &of_kind(&objects, "Deployment")[0]["spec"];
    let container = &spec["template"]["spec"]["containers"][0];
    let rows = [
        (&spec["replicas"], json!(1), "one"),
        (&spec["strategy"]["type"], json!("Recreate"), "never two"),
        (
            &spec["template"]["metadata"]["annotations"]["kubectl.kubernetes.io/default-container"],
            container["name"].clone(),
            "what kubectl logs shows",
        ),
        (
            &container["securityContext"]["readOnlyRootFilesystem"],
            json!(true),
            "writes no file",
        ),
        (
            &container["livenessProbe"]["httpGet"]["path"],
            json!("/livez"),
            "liveness",
        ),
        (
            &container["readinessProbe"]["httpGet"]["path"],
            json!("/readyz"),
            "readiness",
        ),
        (
            &spec["template"]["spec"]["securityContext"]["runAsUser"],
            json!(65532),
            "the image's user",
        ),
    ];
    for (found, expected, message) in rows {
        assert_eq!(*found, expected, "{message}");
    }
    assert!(!container["resources"]["requests"].is_null());
}

#[tokio::test]
async fn a_namespaced_installation_has_nothing_of_the_whole_cluster() {
    let objects = feature("namespaced").await;
    for object in &objects {
        assert!(
            !object["metadata"]["namespace"].is_null(),
            "{} belongs to the whole cluster",
            title(object)
        );
    }
    let args = &of_kind(&objects, "Deployment")[0]["spec"]["template"]["spec"]["containers"][0]["args"];
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

#[tokio::test]
async fn unknown_and_wrong_values_are_refused_by_name() {
    let table = [
        ("wacth.namespaces[0]=pay", "wacth"),
        ("watch.namespace=pay", "namespace"),
        ("image.repo=x", "repo"),
        ("crds.install=true", "install"),
        ("podMonitor.honorLabels=true", "honorLabels"),
        ("replicas=2", "replicas"),
        ("log.level=loud", "level"),
        ("watch.namespaces[0]=Pay", "namespaces"),
        ("image.digest=sha256:12", "digest"),
        ("service.port=0", "port"),
    ];
    for version in VERSIONS {
        let helm = Helm::new(version).await.unwrap();
        for (flag, name) in table {
            let error = helm.template(&["--set", flag]).await.unwrap_err().to_string();
            let (_, said) = error.split_once("values don't meet").unwrap_or_default();
            assert!(said.contains(name), "{flag}: {error}");
        }
    }
}

/// A parent chart passes `global`, and uses the value `enabled` as the condition of its dependency.
#[tokio::test]
async fn a_parent_chart_may_depend_on_it() {
    let parent = e2e::process::Scratch::new().unwrap();
    let chart = "{apiVersion: v2, name: platform, version: 1.0.0, \
                 dependencies: [{name: sidewatch, version: '>=0', condition: sidewatch.enabled}]}";
    std::fs::create_dir(parent.path().join("charts")).unwrap();
    std::fs::write(parent.path().join("Chart.yaml"), chart).unwrap();
    std::os::unix::fs::symlink(
        operator::repository().join(CHART),
        parent.path().join("charts/sidewatch"),
    )
    .unwrap();
    let parent = parent.path().to_str().unwrap();
    for version in VERSIONS {
        let helm = Helm::new(version).await.unwrap();
        for (enabled, deployments) in [("true", 1), ("false", 0)] {
            let enabled = format!("sidewatch.enabled={enabled}");
            let flags = [
                "--set",
                &enabled,
                "--set",
                "global.x=y",
                "--set",
                "sidewatch.log.level=debug",
            ];
            let yaml = helm
                .run(&[&["template", "platform", parent], &flags[..]].concat())
                .await;
            let objects = documents(&yaml.unwrap());
            assert_eq!(of_kind(&objects, "Deployment").len(), deployments, "{enabled}");
        }
    }
}
