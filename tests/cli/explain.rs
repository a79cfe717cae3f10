//! `explain` on recordings, files and a cluster.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use testkit::{
    api_server::{ApiServer, PODS, list, pod},
    recordings::{self, Recording},
};

use crate::{
    cluster::kubeconfig,
    support::{Directory, repository, sidewatch},
};

/// The violations that fire, as container and check.
type Firing = BTreeSet<(String, String)>;

fn firing(report: &Value) -> Firing {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let rows = report["checks"].as_array().unwrap().iter();
    rows.filter(|row| row["state"] == "firing")
        .map(|row| (text(&row["container"]), text(&row["check"])))
        .collect()
}

/// Returns the expected violations that fire at the end of a recording: those that certainly do, and those that can.
fn expected(recording: &Recording, pod: &str) -> (Firing, Firing) {
    let of_pod = recording
        .violations
        .iter()
        .filter(|violation| violation.pod == pod);
    let open = of_pod.filter(|violation| violation.resolved.is_none());
    let pair =
        |violation: &testkit::recordings::Violation| (violation.container.clone(), violation.check.clone());
    let can: Firing = open.clone().map(pair).collect();
    (
        open.filter(|violation| !violation.optional).map(pair).collect(),
        can,
    )
}

#[tokio::test]
async fn the_checks_agree_with_the_expected_violations() {
    let directory = Directory::new();
    let mut explained = 0;
    for recording in recordings::all() {
        let (_, lines) = recording.lines();
        let name = &lines[0].object["metadata"]["name"];
        let pod = name.as_str().unwrap().to_owned();
        // A recreated Pod has the name of another one.
        if lines
            .iter()
            .any(|line| line.kind == "DELETED" || line.object["metadata"]["name"] != *name)
        {
            continue;
        }
        let policy = directory.policy("policy.json", &recording.spec);
        let file = recording.file().display().to_string();
        let seconds = format!("{}s", recording.end.ceil());
        let run = sidewatch(&[
            "explain", &pod, "--record", &file, "-p", &policy, "--for", &seconds, "-o", "json",
        ])
        .await;
        let found = firing(&run.json()[0]);
        let (must, can) = expected(&recording, &pod);
        let about = format!("{} under {}: {found:?}", recording.name, recording.policy);
        assert!(
            found.is_superset(&must) && found.is_subset(&can),
            "{about}, expected {must:?}"
        );
        assert_eq!(run.code, Some(i32::from(!found.is_empty())), "{about}");
        explained += 1;
    }
    assert!(explained > 80, "{explained}");
}

#[tokio::test]
async fn a_manifest_is_explained_without_a_cluster() {
    let directory = Directory::new();
    let manifest = json!({"kind": "Deployment", "metadata": {"name": "web"}, "spec": {"template": {"spec": {
        "initContainers": [{
            "name": "istio-proxy", "image": "istio/proxyv2:1.27", "restartPolicy": "Always", "startupProbe": {"exec": {}},
        }],
        "containers": [{"name": "app", "image": "shop/web:1"}],
    }}}});
    let service = json!({"kind": "Service", "metadata": {"name": "web"}, "spec": {}});
    let file = directory.file("web.yaml", format!("{manifest}\n---\n{service}\n"));
    let run = sidewatch(&["explain", "-f", &file]).await;
    assert_eq!(run.code, Some(0), "{run:?}");
    for expected in [
        "Deployment default/web\n",
        "the next container starts when its startup probe has passed",
        "Istio proxy (proxy)",
        "sidecar under SidecarPolicy default/defaults",
        "main under SidecarPolicy default/defaults",
        "the containers after it do not start",
        "what still runs 30 s after the deletion is killed",
        "A manifest has no status",
    ] {
        assert!(run.stdout.contains(expected), "no {expected:?} in {}", run.stdout);
    }
    let only_service = directory.file("service.yaml", service.to_string());
    let run = sidewatch(&["explain", "-f", &only_service]).await;
    run.assert_failed(&["no Pod and no Pod template: expected Pod, Deployment"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_pod_of_a_cluster_is_explained() {
    let directory = Directory::new();
    let server = ApiServer::default();
    let path = |resource: &str| format!("/apis/sidewatch.dev/v1alpha1/{resource}");
    server.serve_quietly(
        &path("namespaces/pay/sidecarpolicies"),
        list("SidecarPolicy", "1", &[]),
    );
    server.serve_quietly(
        &path("clustersidecarpolicies"),
        list("ClusterSidecarPolicy", "1", &[]),
    );
    server.serve_quietly(
        "/api/v1/namespaces/pay",
        json!({"metadata": {"name": "pay", "uid": "1"}}),
    );
    let pods = list("Pod", "7", &[pod("web-1", "5", false), pod("web-2", "6", true)]);
    server.serve_quietly(&PODS.replace("/v1/", "/v1/namespaces/pay/"), pods);
    let listener = server.listen().await;
    let kubeconfig = directory.file("kubeconfig", kubeconfig(&listener.url(), &json!({})));
    let policy = directory.policy("policy.json", &json!({"checks": {"notReady": {"for": "0s"}}}));
    let explain = async |name: &str, more: &[&str]| {
        let args = [
            &["explain", name, "--kubeconfig", &kubeconfig, "-o", "json"],
            more,
        ]
        .concat();
        sidewatch(&args).await
    };
    let run = explain("web-1", &["-p", &policy]).await;
    assert!(
        firing(&run.json()[0]).contains(&("proxy".to_owned(), "NotReady".to_owned())),
        "{run:?}"
    );
    assert_eq!(run.code, Some(1));
    let run = explain("pod/web-2", &["-p", &policy]).await;
    assert_eq!((firing(&run.json()[0]).len(), run.code), (0, Some(0)), "{run:?}");
    let run = explain("web-1", &[]).await;
    assert_eq!(run.json()[0]["checks"], json!([]), "no policy selects it");
    let run = explain("deployment/other", &[]).await;
    run_failed(&run);
    let run = explain("web-1", &["-A"]).await;
    run.assert_failed(&["explain needs one namespace"]);
}

fn run_failed(run: &crate::support::Run) {
    assert_eq!(run.code, Some(2), "{run:?}");
    assert!(
        run.stderr
            .contains("there is no Pod of deployment/other in namespace pay"),
        "{run:?}"
    );
}

#[tokio::test]
async fn a_pod_that_is_not_in_the_recording_is_an_error() {
    let trace = repository()
        .join("docs/examples/shop.jsonl")
        .display()
        .to_string();
    let run = sidewatch(&["explain", "web-9", "--record", &trace]).await;
    run.assert_failed(&["contains no Pod of web-9"]);
    let run = sidewatch(&["explain", "web-9", "--record", "-"]).await;
    run.assert_failed(&["name a file instead of -"]);
    let run = sidewatch(&["explain"]).await;
    assert_eq!(run.code, Some(2), "{run:?}");
}
