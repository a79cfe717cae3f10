//! `sidewatch versions`: images in files, in recordings and on a cluster.

use serde_json::{Value, json};
use testkit::api_server::{PODS, list, pod};

use crate::{
    setup::Setup,
    support::{Directory, sidewatch},
};

/// A workload with one sidecar.
fn workload(kind: &str, name: &str, image: &str) -> String {
    let containers = json!([{"name": "app", "image": "app:1.0.0"}, {"name": "istio-proxy", "image": image}]);
    let object = json!({
        "apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name, "namespace": "shop"},
        "spec": {"template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": containers}}},
    });
    format!("---\n{object}\n")
}

/// The rows of the result: image, version, state, Pods, workloads that are behind.
fn rows(output: &Value) -> Vec<String> {
    let mut rows = Vec::new();
    for repository in output["repositories"].as_array().unwrap() {
        for row in repository["versions"].as_array().unwrap() {
            let behind: Vec<_> = row["behind"]
                .as_array()
                .unwrap()
                .iter()
                .map(|name| name.as_str().unwrap())
                .collect();
            rows.push(format!(
                "{} {} {} {} [{}]",
                repository["repository"].as_str().unwrap(),
                row["version"].as_str().unwrap(),
                row["state"].as_str().unwrap(),
                row["pods"],
                behind.join(" ")
            ));
        }
    }
    rows
}

#[tokio::test]
async fn workloads_with_an_older_version_are_behind() {
    let directory = Directory::new();
    let text = [
        workload("Deployment", "web", "istio/proxyv2:1.28.1"),
        workload(
            "Deployment",
            "cart",
            "istio/proxyv2:v1.28.1-distroless@sha256:0123456789abcdef",
        ),
        workload("StatefulSet", "db", "docker.io/istio/proxyv2:1.9.0"),
    ];
    let file = directory.file("rendered.yaml", text.concat());
    let run = sidewatch(&["versions", "-f", &file, "-o", "json"]).await;
    assert_eq!(run.code, Some(1), "{run:?}");
    let output = run.json();
    let expected = [
        "istio/proxyv2 1.28.1 newest 2 []",
        "istio/proxyv2 1.9.0 behind 1 [shop/StatefulSet/db]",
    ];
    assert_eq!(rows(&output), expected);
    let images = &output["repositories"][0]["versions"][0]["images"];
    assert_eq!(images.as_array().unwrap().len(), 2, "{images}");

    let yaml = sidewatch(&["versions", "-f", &file, "-o", "yaml"]).await;
    let parsed: Value = serde_saphyr::from_str(&yaml.stdout).unwrap();
    assert_eq!(parsed, output);
}

#[tokio::test]
async fn versions_without_an_order_name_nobody() {
    let directory = Directory::new();
    let text = [
        workload("Deployment", "web", "istio/proxyv2:1.28.1"),
        workload("Deployment", "cart", "istio/proxyv2:latest"),
        workload("Deployment", "pay", "istio/proxyv2:latest"),
    ];
    let file = directory.file("rendered.yaml", text.concat());
    let run = sidewatch(&["versions", "-f", &file, "-o", "json"]).await;
    let expected = [
        "istio/proxyv2 latest differs 2 []",
        "istio/proxyv2 1.28.1 differs 1 []",
    ];
    assert_eq!(
        (run.code, rows(&run.json())),
        (Some(1), expected.map(str::to_owned).to_vec())
    );
}

#[tokio::test]
async fn one_version_is_no_finding() {
    let directory = Directory::new();
    let file = directory.file("web.yaml", workload("Deployment", "web", "istio/proxyv2:1.28.1"));
    let run = sidewatch(&["versions", "-f", &file]).await;
    assert_eq!(run.code, Some(0), "{run:?}");
    assert!(
        run.stdout
            .contains("1 Pod, 1 sidecar image, 0 in more than one version, 0 Pods behind"),
        "{run:?}"
    );
}

#[tokio::test]
async fn a_policy_defines_the_sidecars() {
    let directory = Directory::new();
    let file = directory.file("web.yaml", workload("Deployment", "web", "istio/proxyv2:1.28.1"));
    let policy = directory.policy(
        "policy.json",
        &json!({"sidecars": {"wellKnown": "Exclude", "names": ["app"]}}),
    );
    let run = sidewatch(&["versions", "-f", &file, "-p", &policy, "-o", "json"]).await;
    assert_eq!(rows(&run.json()), ["app 1.0.0 only 1 []"], "{run:?}");
}

#[tokio::test]
async fn a_recording_has_versions() {
    let run = sidewatch(&["versions", "--record", "docs/examples/shop.jsonl", "-o", "json"]).await;
    let output = run.json();
    assert_eq!(output["pods"], 6, "{output:#}");
    assert!(!rows(&output).is_empty(), "{output:#}");
}

#[tokio::test]
async fn an_unusable_input_is_an_error() {
    let directory = Directory::new();
    let empty = directory.file("empty.yaml", "kind: ConfigMap\n");
    let table = [
        (["-f", &empty], "no Pod and no Pod template"),
        (["-f", "/missing.yaml"], "cannot read /missing.yaml"),
        (["--record", "/missing.jsonl"], "cannot read /missing.jsonl"),
        (["--kubeconfig", "/missing"], "cannot use the kubeconfig /missing"),
    ];
    for (args, expected) in table {
        let run = sidewatch(&[&["versions"], &args[..]].concat()).await;
        run.assert_failed(&[expected]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_pods_of_a_cluster_are_counted_without_a_policy() {
    let setup = Setup::without_pods(&[]).await;
    let with_image = |name: &str, image: &str| {
        let mut pod = pod(name, "5", true);
        pod["spec"]["initContainers"][0]["image"] = json!(image);
        pod
    };
    let mut deleted = with_image("web-3", "proxy:0.1.0");
    deleted["metadata"]["deletionTimestamp"] = json!("2026-11-20T10:00:00Z");
    let pods = [
        with_image("web-1", "proxy:2.0.0"),
        with_image("web-2", "proxy:1.0.0"),
        deleted,
    ];
    setup.server.serve_quietly(PODS, list("Pod", "7", &pods));
    let run = setup.run_on_all(&["versions", "-o", "json"]).await;
    let expected = ["proxy 2.0.0 newest 1 []", "proxy 1.0.0 behind 1 [pay/Pod/web-2]"];
    assert_eq!(
        (run.code, rows(&run.json())),
        (Some(1), expected.map(str::to_owned).to_vec()),
        "{run:?}"
    );
}
