//! Every feature of both charts, rendered by both versions of Helm and validated by a real API server.

use std::path::{Path, PathBuf};

use anyhow::Result;
use e2e::{ControlPlane, operator, shared};
use futures::stream::{StreamExt, TryStreamExt, iter};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::helm::{
    CHART, CHARTS, Helm, NAMESPACE, POLICIES, POLICIES_RELEASE, VERSIONS, documents, features, of_kind, title,
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
    let args = [
        "apply",
        "--server-side",
        "--force-conflicts",
        "--dry-run=server",
        "--filename=-",
    ];
    plane.kubectl_with_input(args, manifests).await
}

async fn rendered(helm: &Helm, (release, chart): (&str, &str), values: &Path) -> Result<String> {
    let values = ["--values", values.to_str().unwrap()];
    helm.template_chart(release, chart, &values).await
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
            let older = rendered(three, chart, &values).await?;
            assert_eq!(
                documents(&older),
                documents(&yaml),
                "{chart:?} {feature}: the same with both Helms"
            );
            let accepted = dry_run(plane, &yaml).await?;
            assert_eq!(
                accepted.lines().count(),
                documents(&yaml).len(),
                "{chart:?} {feature}: {accepted}"
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
    feature_of(CHARTS[0], name).await
}

async fn feature_of((release, chart): (&str, &str), name: &str) -> Vec<Value> {
    let helm = Helm::new(VERSIONS[1]).await.unwrap();
    let (_, values) = features(chart)
        .into_iter()
        .find(|(feature, _)| feature == name)
        .unwrap();
    documents(&rendered(&helm, (release, chart), &values).await.unwrap())
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
async fn the_deployment_has_the_required_settings() {
    let objects = feature("default").await;
    let spec = &of_kind(&objects, "Deployment")[0]["spec"];
    let container = &spec["template"]["spec"]["containers"][0];
    let rows = [
        (&spec["replicas"], json!(2), "a leader and a standby"),
        (
            &spec["strategy"]["rollingUpdate"],
            json!({"maxUnavailable": 0, "maxSurge": 1}),
            "the new Pod is ready before the old one ends",
        ),
        (
            &spec["template"]["metadata"]["annotations"]["kubectl.kubernetes.io/default-container"],
            container["name"].clone(),
            "the container of kubectl logs",
        ),
        (
            &container["securityContext"]["readOnlyRootFilesystem"],
            json!(true),
            "a read-only file system",
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
            &spec["template"]["spec"]["nodeSelector"]["kubernetes.io/os"],
            json!("linux"),
            "the image runs on Linux only",
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

#[tokio::test]
async fn unknown_and_wrong_values_are_refused_by_name() {
    let table = [
        ("wacth.namespaces[0]=pay", "wacth"),
        ("watch.namespace=pay", "namespace"),
        ("image.repo=x", "repo"),
        ("crds.install=true", "install"),
        ("podMonitor.honorLabels=true", "honorLabels"),
        ("replicas=0", "replicas"),
        ("log.level=loud", "level"),
        ("watch.namespaces[0]=Pay", "namespaces"),
        ("image.digest=sha256:12", "digest"),
        ("service.port=0", "port"),
        ("limits.policiesPerNamespace=0", "policiesPerNamespace"),
        ("limits.tenantSeverity=critical", "tenantSeverity"),
        ("defaultPolicy.enabled=true", "defaultPolicy"),
        ("serviceMonitor.relabeling=x", "relabeling"),
        ("prometheusRule.disabled={SidewatchUp}", "disabled"),
        ("prometheusRule.runbookBaseURL=wiki", "runbookBaseURL"),
        ("prometheusRole.serviceAccount.name=", "name"),
    ];
    let policies = [
        ("namespace=pay", "namespace"),
        ("namespaces[0]=Pay", "namespaces"),
        ("name=Mesh", "name"),
        ("excludedNamespaces=kube-system", "excludedNamespaces"),
    ];
    for version in VERSIONS {
        let helm = Helm::new(version).await.unwrap();
        for ((release, chart), rows) in CHARTS.into_iter().zip([&table[..], &policies]) {
            for (flag, name) in rows {
                let rendered = helm.template_chart(release, chart, &["--set", flag]).await;
                let error = rendered.unwrap_err().to_string();
                let (_, reason) = error.split_once("values don't meet").unwrap_or_default();
                assert!(reason.contains(name), "{flag}: {error}");
            }
        }
    }
}

#[tokio::test]
async fn values_that_contradict_each_other_are_refused_with_a_reason() {
    let helm = Helm::new(VERSIONS[1]).await.unwrap();
    let table = [
        (
            ["podMonitor.enabled=true", "serviceMonitor.enabled=true"],
            "scrapes each Pod twice",
        ),
        (
            ["serviceMonitor.enabled=true", "service.enabled=false"],
            "requires service.enabled",
        ),
    ];
    for ([first, second], reason) in table {
        let flags = ["--set", first, "--set", second];
        let error = helm.template(&flags).await.unwrap_err().to_string();
        assert!(error.contains(reason), "{first} {second}: {error}");
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

/// A parent chart passes `global`, and uses the value `enabled` as the condition of its dependency.
#[tokio::test]
async fn a_parent_chart_can_depend_on_the_chart() {
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
