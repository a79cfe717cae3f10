//! The command line with a real API server, and with the permissions of `config/rbac/cli_user_role.yaml`.

use std::{path::Path, time::Duration};

use e2e::{
    ControlPlane,
    operator::binary,
    poll::eventually,
    process::Scratch,
    project::read,
    simulated_kubelet::{Container, PodSpec, SimulatedKubelet, Step},
};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::policy_specs::plane;

/// A policy with default settings.
pub(crate) const POLICY: &str =
    "{apiVersion: sidewatch.dev/v1alpha1, kind: SidecarPolicy, metadata: {name: mesh}}";

/// What a run has printed, and its exit code.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Run {
    /// The output of a run with `-o json`.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// Runs a command line. No argument contains a space.
pub(crate) async fn sidewatch(kubeconfig: &Path, line: &str) -> Run {
    let mut command = Command::new(binary().await.unwrap());
    finish(
        command
            .args(line.split_whitespace())
            .arg("--kubeconfig")
            .arg(kubeconfig),
    )
    .await
}

/// Runs a command without standard input.
pub(crate) async fn finish(command: &mut Command) -> Run {
    let output = command
        .stdin(std::process::Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(Duration::from_mins(2), output)
        .await
        .unwrap()
        .unwrap();
    Run {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Creates a namespace with one Pod whose sidecar is not ready, and a policy that does not report it.
pub(crate) async fn namespace_with_violation(plane: &ControlPlane) -> String {
    let namespace = plane.namespace("cli").await.unwrap();
    plane.apply_in(&namespace, POLICY).await.unwrap();
    let pod = PodSpec::new("web")
        .label("app", "web")
        .container(Container::native("proxy").readiness_probe())
        .container(Container::regular("app").readiness_probe());
    let kubelet = SimulatedKubelet::new(plane.client().await.unwrap());
    let mut pod = kubelet.run(&namespace, pod).await.unwrap();
    pod.step(Step::Unready("proxy")).await.unwrap();
    namespace
}

/// Writes a policy that reports the violation, and returns the path.
pub(crate) fn policy(directory: &Scratch) -> String {
    let path = directory.path().join("policy.yaml");
    let policy = "{apiVersion: sidewatch.dev/v1alpha1, kind: SidecarPolicy, metadata: {name: mesh}, \
                  spec: {checks: {notReady: {for: 0s}}}}";
    std::fs::write(&path, policy).unwrap();
    path.display().to_string()
}

/// The changes and checks in the output of `simulate -o json`.
fn violations(run: &Run) -> Vec<String> {
    let row =
        |row: &Value| format!("{} {} {}", row["difference"], row["check"], row["container"]).replace('"', "");
    run.json()["violations"]
        .as_array()
        .unwrap()
        .iter()
        .map(row)
        .collect()
}

#[tokio::test]
async fn a_recording_of_a_cluster_is_evaluated_without_it() {
    let (plane, _) = plane().await;
    let (namespace, directory) = (namespace_with_violation(plane).await, Scratch::new().unwrap());
    let (policy, file) = (policy(&directory), directory.path().join("pods.jsonl"));
    let file = file.display();
    let record = format!("record -n {namespace} --for 2s -o {file}");
    let run = sidewatch(plane.kubeconfig_path(), &record).await;
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let simulate = format!("simulate -p {policy} --record {file} -o json");
    let run = sidewatch(Path::new("/missing"), &simulate).await;
    assert_eq!(violations(&run), ["null NotReady proxy"], "{}", run.stderr);
}

/// Creates a namespace with one workload of each kind, and a Pod that a ReplicaSet controls. Each has one finding: SC011.
async fn workloads(plane: &ControlPlane) -> String {
    let namespace = plane.namespace("lint").await.unwrap();
    let sidecar = json!({
        "name": "fluent-bit", "image": "fluent/fluent-bit", "readinessProbe": {"tcpSocket": {"port": 1}},
        "resources": {"requests": {"cpu": "50m"}, "limits": {"memory": "128Mi"}},
    });
    let template = json!({
        "metadata": {"labels": {"a": "b"}},
        "spec": {"containers": [{"name": "app", "image": "app"}, sidecar]},
    });
    let object = |group: &str, kind: &str, spec: Value| {
        let metadata = json!({"name": "web", "labels": {"kind": kind}});
        json!({"apiVersion": group, "kind": kind, "metadata": metadata, "spec": spec})
    };
    let selected = json!({"selector": {"matchLabels": {"a": "b"}}, "template": template});
    let kinds = ["Deployment", "StatefulSet", "DaemonSet", "ReplicaSet"];
    let mut objects = kinds
        .map(|kind| object("apps/v1", kind, selected.clone()))
        .to_vec();
    let mut controlled = object("v1", "Pod", template["spec"].clone());
    objects.push(controlled.clone());
    controlled["metadata"]["name"] = json!("web-1");
    controlled["metadata"]["ownerReferences"] = json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "1", "controller": true}]);
    objects.push(controlled);
    let mut job = json!({"template": template});
    job["template"]["spec"]["restartPolicy"] = json!("Never");
    job["template"]["spec"]["containers"][1]["env"] = json!([{"name": "ONESHOT"}]);
    objects.push(object("batch/v1", "Job", job.clone()));
    let cron_job = json!({"schedule": "* * * * *", "jobTemplate": {"spec": job}});
    objects.push(object("batch/v1", "CronJob", cron_job));
    let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
    plane.apply_in(&namespace, &list.to_string()).await.unwrap();
    namespace
}

/// The findings in the output of `lint -o json`.
fn findings(run: &Run) -> Vec<String> {
    let output = run.json();
    let findings = output["findings"].as_array().unwrap().iter();
    let fields = ["code", "kind", "name", "path"];
    let mut findings: Vec<_> = findings
        .map(|finding| fields.map(|field| finding[field].as_str().unwrap()).join(" "))
        .collect();
    findings.sort();
    findings
}

#[tokio::test]
async fn workloads_of_a_cluster_are_examined() {
    let (plane, _) = plane().await;
    let namespace = workloads(plane).await;
    let lint = format!("lint --live -n {namespace} -o json");
    let run = sidewatch(plane.kubeconfig_path(), &lint).await;
    let image = "spec.containers[1].image";
    let expected = [
        format!("SC011 CronJob web spec.jobTemplate.spec.template.{image}"),
        format!("SC011 DaemonSet web spec.template.{image}"),
        format!("SC011 Deployment web spec.template.{image}"),
        format!("SC011 Job web spec.template.{image}"),
        format!("SC011 Pod web {image}"),
        format!("SC011 ReplicaSet web spec.template.{image}"),
        format!("SC011 StatefulSet web spec.template.{image}"),
    ];
    assert_eq!(findings(&run), expected, "{}", run.stderr);
    assert_eq!((run.code, run.stderr.as_str()), (Some(1), ""));
    let selected = format!("{lint} -l kind=Deployment");
    let run = sidewatch(plane.kubeconfig_path(), &selected).await;
    assert_eq!(findings(&run), expected[2..3], "{}", run.stderr);
}

#[tokio::test]
async fn the_role_for_users_of_the_command_line_is_sufficient() {
    let (plane, _) = plane().await;
    let (namespace, directory) = (namespace_with_violation(plane).await, Scratch::new().unwrap());
    let files = plane.kubeconfig_for(&namespace, "reader").await.unwrap();
    let simulate = format!("simulate -p {} -n {namespace} -o json", policy(&directory));
    let run = sidewatch(files.path(), &simulate).await;
    assert_eq!((run.code, run.stdout.as_str()), (Some(2), ""), "{}", run.stderr);
    assert!(run.stderr.contains("error: cannot list pods"), "{}", run.stderr);

    plane
        .apply(&read("config/rbac/cli_user_role.yaml").unwrap())
        .await
        .unwrap();
    let bind = format!(
        "create clusterrolebinding {namespace} --clusterrole=sidewatch-cli --serviceaccount={namespace}:reader"
    );
    plane.kubectl_line(&bind).await.unwrap();
    let one_list = "note: one list shows only the present";
    // The authorizer of the API server follows by a watch.
    let run = eventually(Duration::from_secs(20), || async {
        let run = sidewatch(files.path(), &simulate).await;
        let notes = run.stderr.lines().filter(|line| !line.starts_with(one_list));
        // A SidecarPolicy without a namespace has a note of its own.
        anyhow::ensure!(run.code == Some(1) && notes.count() == 1, "{}", run.stderr);
        Ok(run)
    })
    .await
    .unwrap();
    assert_eq!(
        violations(&run),
        ["new NotReady proxy"],
        "compared with the policy in force"
    );
    // One list shows only the present.
    for (command, notes) in [
        ("lint --live", 0),
        ("top", 0),
        ("versions", 0),
        ("explain web", 1),
    ] {
        let run = sidewatch(files.path(), &format!("{command} -n {namespace}")).await;
        assert!(matches!(run.code, Some(0 | 1)), "{command}: {run:?}");
        assert_eq!(run.stderr.lines().count(), notes, "{command}: {run:?}");
    }
}
