//! `sidewatch snooze` with a real API server.

use e2e::ControlPlane;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::json;
use sidewatch::api::SidecarExemption;

use crate::{
    cli::{POLICY, Run, sidewatch},
    policy_specs::plane,
};

/// A namespace with a Deployment `checkout`, a CronJob `report` and a ReplicaSet of the Deployment.
async fn shop(plane: &ControlPlane) -> String {
    let namespace = plane.namespace("snooze").await.unwrap();
    let containers = "containers: [{name: app, image: a}]";
    let spec = format!(
        "selector: {{matchLabels: {{app: a}}}}, template: {{metadata: {{labels: {{app: a}}}}, spec: {{{containers}}}}}"
    );
    let owner = "{apiVersion: apps/v1, kind: Deployment, name: checkout, uid: u, controller: true}";
    let objects = format!(
        "---\n{{apiVersion: apps/v1, kind: Deployment, metadata: {{name: checkout}}, spec: {{{spec}}}}}\n\
         ---\n{{apiVersion: apps/v1, kind: ReplicaSet, metadata: {{name: checkout-7d9, labels: {{pod-template-hash: 7d9}}, \
         ownerReferences: [{owner}]}}, spec: {{replicas: 0, {spec}}}}}\n\
         ---\n{{apiVersion: batch/v1, kind: CronJob, metadata: {{name: report}}, spec: {{schedule: '0 0 * * *', jobTemplate: \
         {{spec: {{template: {{spec: {{restartPolicy: Never, {containers}}}}}}}}}}}}}\n"
    );
    plane.apply_in(&namespace, &objects).await.unwrap();
    namespace
}

/// Snoozes for two hours; `args` can contain other flags.
async fn snooze(plane: &ControlPlane, namespace: &str, args: &str) -> Run {
    let line = format!("snooze -n {namespace} {args} --for 2h --reason test");
    sidewatch(plane.kubeconfig_path(), &line).await
}

/// The same, and expects success.
async fn snoozed(plane: &ControlPlane, namespace: &str, args: &str) -> Run {
    let run = snooze(plane, namespace, args).await;
    assert_eq!(run.code, Some(0), "{run:?}");
    run
}

#[tokio::test]
async fn a_snooze_is_written_extended_and_deleted_as_printed() {
    let (plane, client) = plane().await;
    let namespace = shop(plane).await;
    let api: Api<SidecarExemption> = Api::namespaced(client, &namespace);
    let run = snoozed(plane, &namespace, "deploy/checkout").await;
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
    assert_eq!(first.spec.reason, "test");
    assert!(run.stdout.contains(&first.spec.until), "{run:?}");

    plane.apply_in(&namespace, POLICY).await.unwrap();
    let later = format!("snooze deployment/checkout -n {namespace} --for 3h --reason later -o json");
    let run = sidewatch(plane.kubeconfig_path(), &later).await;
    assert_eq!((run.code, &*run.stderr), (Some(0), ""), "{run:?}");
    let extended = api.get("deployment-checkout").await.unwrap();
    assert_eq!(run.json()["spec"], serde_json::to_value(&extended.spec).unwrap());
    assert_eq!((extended.uid(), &*extended.spec.reason), (first.uid(), "later"));
    assert!(extended.spec.until > first.spec.until, "{extended:?}");

    let run = snoozed(plane, &namespace, "cj/report -c proxy,agent --check JobHeldOpen").await;
    let hidden = "hides JobHeldOpen of agent, proxy in CronJob/report until ";
    assert!(run.stdout.contains(hidden), "{run:?}");
    let command = run
        .stdout
        .lines()
        .find_map(|line| line.strip_prefix("End it earlier: kubectl "));
    plane.kubectl_line(command.unwrap()).await.unwrap();
    let left = api.list(&ListParams::default()).await.unwrap();
    let names: Vec<_> = left.items.iter().map(ResourceExt::name_any).collect();
    assert_eq!(names, ["deployment-checkout"]);
}

#[tokio::test]
async fn an_exemption_that_has_ended_is_replaced() {
    let (plane, client) = plane().await;
    let namespace = shop(plane).await;
    let api: Api<SidecarExemption> = Api::namespaced(client, &namespace);
    snoozed(plane, &namespace, "deployment/checkout").await;
    let first = api.get("deployment-checkout").await.unwrap();
    let end = format!(
        "patch scex deployment-checkout -n {namespace} --type=merge -p {{\"spec\":{{\"until\":\"2026-01-01T00:00:00Z\"}}}}"
    );
    plane.kubectl_line(&end).await.unwrap();
    snoozed(plane, &namespace, "deployment/checkout --dry-run").await;
    let kept = api.get("deployment-checkout").await.unwrap();
    assert_eq!(kept.uid(), first.uid(), "a dry run deletes nothing");
    snoozed(plane, &namespace, "deployment/checkout").await;
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
    let run = snoozed(plane, &namespace, "deployment/checkout --dry-run -o yaml").await;
    assert!(
        run.stdout.contains("kind: SidecarExemption") && run.stdout.contains("name: checkout"),
        "{run:?}"
    );
    let run = snoozed(plane, &namespace, "deployment/checkout --dry-run").await;
    assert!(
        run.stdout.contains(" would hide ") && !run.stdout.contains("delete"),
        "{run:?}"
    );
    let api: Api<SidecarExemption> = Api::namespaced(client, &namespace);
    assert_eq!(api.list(&ListParams::default()).await.unwrap().items, []);
}

/// Expects exit code 2, nothing in the output, and these texts in the error.
fn assert_refused(args: &str, run: &Run, expected: &[&str]) {
    assert_eq!((run.code, &*run.stdout), (Some(2), ""), "{args}: {run:?}");
    for text in expected {
        assert!(run.stderr.contains(text), "{args}: no {text:?} in {run:?}");
    }
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
    pods.create(&PostParams::default(), &clone_set).await.unwrap();

    #[rustfmt::skip]
    let table: [(&str, &[&str]); 8] = [
        ("deployment/chekout", &["there is no Deployment chekout in namespace"]),
        ("checkout", &["KIND/NAME, such as deployment/web"]),
        ("cloneset/w", &["such as CloneSet/w"]),
        ("CloneSet/v", &["no Pod in namespace", "CloneSet v", "are CloneSet/w"]),
        ("rs/checkout-7d9", &["Deployment checkout owns ReplicaSet checkout-7d9", "such as deployment/checkout"]),
        ("pod/w-1", &["CloneSet w owns Pod w-1"]),
        ("deployment/checkout -A", &["cannot be used with"]),
        ("deployment/checkout -c Proxy", &["spec.containers[0]", "lower-case"]),
    ];
    for (args, expected) in table {
        assert_refused(args, &snooze(plane, &namespace, args).await, expected);
    }
    snoozed(plane, &namespace, "CloneSet/w").await;

    let nobody = plane.kubeconfig_for(&namespace, "nobody").await.unwrap();
    let args = format!("snooze deployment/checkout -n {namespace} --for 2h --reason test");
    let run = sidewatch(nobody.path(), &args).await;
    let expected = [
        "cannot patch resource \"sidecarexemptions\"",
        "the roles edit and admin",
    ];
    assert_refused("without a role", &run, &expected);
}

#[tokio::test]
async fn without_the_definition_the_error_says_how_to_install_it() {
    let plane = ControlPlane::start().await.unwrap();
    let namespace = shop(&plane).await;
    let run = snooze(&plane, &namespace, "deployment/checkout").await;
    let expected = [
        "CRD sidecarexemptions.sidewatch.dev is not installed",
        "sidewatch crds | kubectl apply",
    ];
    assert_refused("without the CRD", &run, &expected);
}
