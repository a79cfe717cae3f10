//! `sidewatch snooze` with a real API server.

use e2e::ControlPlane;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use sidewatch::api::SidecarExemption;

use crate::{
    cli::{Run, sidewatch},
    policy_specs::plane,
};

const FLAGS: [&str; 4] = ["--for", "2h", "--reason", "the vendor fixes it"];

/// A namespace with a Deployment `checkout`, a CronJob `report` and a ReplicaSet of the Deployment.
async fn shop(plane: &ControlPlane) -> String {
    let namespace = plane.namespace("snooze").await.unwrap();
    let spec = "selector: {matchLabels: {app: a}}, template: {metadata: {labels: {app: a}}, \
                spec: {containers: [{name: app, image: a}]}}";
    let objects = format!(
        "---\n{{apiVersion: apps/v1, kind: Deployment, metadata: {{name: checkout}}, spec: {{{spec}}}}}\n\
         ---\n{{apiVersion: batch/v1, kind: CronJob, metadata: {{name: report}}, spec: {{schedule: '0 0 * * *', jobTemplate: \
         {{spec: {{template: {{spec: {{restartPolicy: Never, containers: [{{name: app, image: a}}]}}}}}}}}}}}}\n"
    );
    plane.apply_in(&namespace, &objects).await.unwrap();
    let owned = json!({
        "apiVersion": "apps/v1", "kind": "ReplicaSet",
        "metadata": {
            "name": "checkout-7d9", "labels": {"pod-template-hash": "7d9"},
            "ownerReferences": [{
                "apiVersion": "apps/v1", "kind": "Deployment", "name": "checkout", "uid": "u", "controller": true,
            }],
        },
        "spec": {
            "replicas": 0, "selector": {"matchLabels": {"app": "a"}},
            "template": {"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [{"name": "app", "image": "a"}]}},
        },
    });
    plane.apply_in(&namespace, &owned.to_string()).await.unwrap();
    namespace
}

async fn snooze(plane: &ControlPlane, namespace: &str, args: &[&str]) -> Run {
    let all = [&["snooze", "-n", namespace], args, &FLAGS].concat();
    sidewatch(plane.kubeconfig_path(), &all).await
}

#[tokio::test]
async fn a_snooze_is_written_extended_and_deleted_as_printed() {
    let (plane, client) = plane().await;
    let namespace = shop(plane).await;
    let api: Api<SidecarExemption> = Api::namespaced(client, &namespace);
    let run = snooze(plane, &namespace, &["deploy/checkout"]).await;
    assert_eq!(run.code, Some(0), "{run:?}");
    let expected = format!(
        "SidecarExemption {namespace}/deployment-checkout hides all checks about containers in Deployment/checkout until "
    );
    assert!(
        run.stdout.starts_with(&expected) && run.stdout.contains(" (for 2h)."),
        "{run:?}"
    );
    assert!(run.stderr.contains("has no SidecarPolicy"), "{run:?}");
    let first = api.get("deployment-checkout").await.unwrap();
    assert_eq!(first.spec.shown_workload(), "Deployment/checkout");
    assert_eq!(first.spec.reason, "the vendor fixes it");
    assert!(run.stdout.contains(&first.spec.until), "{run:?}");

    let later = [
        "snooze",
        "deployment/checkout",
        "-n",
        &namespace,
        "--for",
        "3h",
        "--reason",
        "not yet",
        "-o",
        "json",
    ];
    let policy = "{apiVersion: sidewatch.dev/v1alpha1, kind: SidecarPolicy, metadata: {name: mesh}}";
    plane.apply_in(&namespace, policy).await.unwrap();
    let run = sidewatch(plane.kubeconfig_path(), &later).await;
    assert_eq!((run.code, &*run.stderr), (Some(0), ""), "{run:?}");
    let printed: Value = serde_json::from_str(&run.stdout).unwrap();
    let extended = api.get("deployment-checkout").await.unwrap();
    assert_eq!(printed["spec"], serde_json::to_value(&extended.spec).unwrap());
    assert_eq!((extended.uid(), &*extended.spec.reason), (first.uid(), "not yet"));
    assert!(extended.spec.until > first.spec.until, "{extended:?}");

    let narrow = ["cj/report", "-c", "proxy,agent", "--check", "JobHeldOpen"];
    let run = snooze(plane, &namespace, &narrow).await;
    let hidden = "hides JobHeldOpen of agent, proxy in CronJob/report until ";
    assert!(run.stdout.contains(hidden), "{run:?}");
    let command = run
        .stdout
        .lines()
        .find_map(|line| line.strip_prefix("End it earlier: kubectl "));
    let words: Vec<&str> = command.unwrap().split_whitespace().collect();
    plane.kubectl(&words).await.unwrap();
    let left = api.list(&kube::api::ListParams::default()).await.unwrap();
    let names: Vec<_> = left.items.iter().map(ResourceExt::name_any).collect();
    assert_eq!(names, ["deployment-checkout"]);
}

#[tokio::test]
async fn an_exemption_that_has_ended_is_replaced() {
    let (plane, client) = plane().await;
    let namespace = shop(plane).await;
    let api: Api<SidecarExemption> = Api::namespaced(client, &namespace);
    let run = snooze(plane, &namespace, &["deployment/checkout"]).await;
    assert_eq!(run.code, Some(0), "{run:?}");
    let first = api.get("deployment-checkout").await.unwrap();
    let ended = r#"{"spec":{"until":"2026-01-01T00:00:00Z"}}"#;
    plane
        .kubectl(&[
            "patch",
            "scex",
            "deployment-checkout",
            "-n",
            &namespace,
            "--type=merge",
            "-p",
            ended,
        ])
        .await
        .unwrap();
    let run = snooze(plane, &namespace, &["deployment/checkout", "--dry-run"]).await;
    assert_eq!(run.code, Some(0), "{run:?}");
    let kept = api.get("deployment-checkout").await.unwrap();
    assert_eq!(kept.uid(), first.uid(), "a dry run deletes nothing");
    let run = snooze(plane, &namespace, &["deployment/checkout"]).await;
    assert_eq!(run.code, Some(0), "{run:?}");
    let second = api.get("deployment-checkout").await.unwrap();
    assert_ne!(
        second.uid(),
        first.uid(),
        "a new object begins anew for a ClusterSidecarPolicy"
    );
    assert!(*second.spec.until > *"2026-11-01", "{second:?}");
}

#[tokio::test]
async fn a_dry_run_writes_nothing() {
    let (plane, client) = plane().await;
    let namespace = shop(plane).await;
    let run = snooze(
        plane,
        &namespace,
        &["deployment/checkout", "--dry-run", "-o", "yaml"],
    )
    .await;
    assert_eq!(run.code, Some(0), "{run:?}");
    assert!(
        run.stdout.contains("kind: SidecarExemption") && run.stdout.contains("name: checkout"),
        "{run:?}"
    );
    let run = snooze(plane, &namespace, &["deployment/checkout", "--dry-run"]).await;
    assert!(
        run.stdout.contains(" would hide ") && !run.stdout.contains("delete"),
        "{run:?}"
    );
    let api: Api<SidecarExemption> = Api::namespaced(client, &namespace);
    assert_eq!(
        api.list(&kube::api::ListParams::default()).await.unwrap().items,
        []
    );
}

#[tokio::test]
async fn an_error_says_what_to_do() {
    let (plane, client) = plane().await;
    let namespace = shop(plane).await;
    let clone_set = json!({
        "metadata": {"name": "w-1", "ownerReferences": [{
            "apiVersion": "apps.kruise.io/v1alpha1", "kind": "CloneSet", "name": "w", "uid": "u", "controller": true,
        }]},
        "spec": {"containers": [{"name": "app", "image": "a"}]},
    });
    let pods: Api<Pod> = Api::namespaced(client, &namespace);
    let clone_set: Pod = serde_json::from_value(clone_set).unwrap();
    pods.create(&kube::api::PostParams::default(), &clone_set)
        .await
        .unwrap();

    let table: [(&[&str], &[&str]); 8] = [
        (
            &["deployment/chekout"],
            &["there is no Deployment chekout in namespace"],
        ),
        (&["checkout"], &["KIND/NAME, such as deployment/web"]),
        (&["cloneset/w"], &["such as CloneSet/w"]),
        (
            &["CloneSet/v"],
            &["no Pod in namespace", "CloneSet v", "are CloneSet/w"],
        ),
        (
            &["rs/checkout-7d9"],
            &[
                "Deployment checkout owns ReplicaSet checkout-7d9",
                "such as deployment/checkout",
            ],
        ),
        (&["pod/w-1"], &["CloneSet w owns Pod w-1"]),
        (&["deployment/checkout", "-A"], &["cannot be used with"]),
        (
            &["deployment/checkout", "-c", "Proxy"],
            &["spec.containers[0]", "lower-case"],
        ),
    ];
    for (args, expected) in table {
        let run = snooze(plane, &namespace, args).await;
        assert_eq!((run.code, &*run.stdout), (Some(2), ""), "{args:?}: {run:?}");
        for text in expected {
            assert!(run.stderr.contains(text), "{args:?}: no {text:?} in {run:?}");
        }
    }
    let run = snooze(plane, &namespace, &["CloneSet/w"]).await;
    assert_eq!(run.code, Some(0), "{run:?}");

    let nobody = plane.kubeconfig_for(&namespace, "nobody").await.unwrap();
    let args = [&["snooze", "deployment/checkout", "-n", &namespace], &FLAGS[..]].concat();
    let run = sidewatch(nobody.path(), &args).await;
    assert_eq!(run.code, Some(2), "{run:?}");
    for text in [
        "cannot patch resource \"sidecarexemptions\"",
        "the roles edit and admin",
    ] {
        assert!(run.stderr.contains(text), "{run:?}");
    }
}

#[tokio::test]
async fn without_the_definition_the_error_says_how_to_install_it() {
    let plane = ControlPlane::start().await.unwrap();
    let namespace = shop(&plane).await;
    let run = snooze(&plane, &namespace, &["deployment/checkout"]).await;
    assert_eq!(run.code, Some(2), "{run:?}");
    for text in [
        "CRD sidecarexemptions.sidewatch.dev is not installed",
        "sidewatch crds | kubectl apply",
    ] {
        assert!(run.stderr.contains(text), "{run:?}");
    }
}
