//! The command line with a real API server, and with the permissions of `config/rbac/cli_user_role.yaml`.

use std::{path::Path, time::Duration};

use e2e::{
    ControlPlane,
    operator::binary,
    poll::eventually,
    process::Scratch,
    project::repository,
    simulated_kubelet::{Container, PodSpec, SimulatedKubelet},
};
use serde_json::Value;
use tokio::process::Command;

use crate::policy_specs::plane;

/// What a run has printed, and its exit code.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

pub(crate) async fn sidewatch(kubeconfig: &Path, args: &[&str]) -> Run {
    let mut command = Command::new(binary().await.unwrap());
    finish(command.args(args).arg("--kubeconfig").arg(kubeconfig)).await
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
    let policy = "{apiVersion: sidewatch.dev/v1alpha1, kind: SidecarPolicy, metadata: {name: mesh}}";
    plane.apply_in(&namespace, policy).await.unwrap();
    let pod = PodSpec::new("web")
        .label("app", "web")
        .container(Container::native("proxy").readiness_probe())
        .container(Container::regular("app").readiness_probe());
    let kubelet = SimulatedKubelet::new(plane.client().await.unwrap());
    let mut pod = kubelet.run(&namespace, pod).await.unwrap();
    pod.step(e2e::simulated_kubelet::Step::Unready("proxy"))
        .await
        .unwrap();
    namespace
}

pub(crate) fn policy(directory: &Scratch) -> String {
    let path = directory.path().join("policy.yaml");
    let policy = "{apiVersion: sidewatch.dev/v1alpha1, kind: SidecarPolicy, metadata: {name: mesh}, \
                  spec: {checks: {notReady: {for: 0s}}}}";
    std::fs::write(&path, policy).unwrap();
    path.display().to_string()
}

/// The changes and checks in the output of `simulate -o json`.
fn violations(run: &Run) -> Vec<String> {
    let output: Value =
        serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{error}: {}", run.stderr));
    let row =
        |row: &Value| format!("{} {} {}", row["difference"], row["check"], row["container"]).replace('"', "");
    output["violations"].as_array().unwrap().iter().map(row).collect()
}

#[tokio::test]
async fn a_policy_is_compared_with_the_policy_in_force() {
    let (plane, _) = plane().await;
    let (namespace, directory) = (namespace_with_violation(plane).await, Scratch::new().unwrap());
    let policy = policy(&directory);
    let args = ["simulate", "-p", &policy, "-n", &namespace, "-o", "json"];
    let run = sidewatch(plane.kubeconfig_path(), &args).await;
    assert_eq!(violations(&run), ["new NotReady proxy"], "{}", run.stderr);
    assert_eq!(run.code, Some(1));
    let run = sidewatch(
        plane.kubeconfig_path(),
        &[&args[..], &["-l", "app=other"]].concat(),
    )
    .await;
    assert_eq!((violations(&run).len(), run.code), (0, Some(0)), "{}", run.stderr);
}

#[tokio::test]
async fn a_recording_of_a_cluster_is_evaluated_without_it() {
    let (plane, _) = plane().await;
    let (namespace, directory) = (namespace_with_violation(plane).await, Scratch::new().unwrap());
    let (policy, file) = (policy(&directory), directory.path().join("pods.jsonl"));
    let file = file.display().to_string();
    let run = sidewatch(
        plane.kubeconfig_path(),
        &["record", "-n", &namespace, "--for", "2s", "-o", &file],
    )
    .await;
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let args = ["simulate", "-p", &policy, "--record", &file, "-o", "json"];
    let run = sidewatch(Path::new("/missing"), &args).await;
    assert_eq!(violations(&run), ["null NotReady proxy"], "{}", run.stderr);
}

/// Creates a namespace with one workload of each kind, and a Pod that a ReplicaSet controls. Each has one finding: SC011.
async fn workloads(plane: &ControlPlane) -> String {
    let namespace = plane.namespace("lint").await.unwrap();
    let resources =
        "resources: {requests: {cpu: 50m}, limits: {memory: 128Mi}}, readinessProbe: {tcpSocket: {port: 1}}";
    let containers = format!(
        "containers: [{{name: app, image: app}}, {{name: fluent-bit, image: fluent/fluent-bit, {resources}}}]"
    );
    let template =
        |more: &str| format!("template: {{metadata: {{labels: {{a: b}}}}, spec: {{{more}{containers}}}}}");
    let selected = format!("selector: {{matchLabels: {{a: b}}}}, {}", template(""));
    let job =
        template("restartPolicy: Never, ").replacen("fluent-bit,", "fluent-bit, env: [{name: ONESHOT}],", 1);
    let owner =
        "ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: web, uid: '1', controller: true}]";
    let object = |group: &str, kind: &str, metadata: &str, spec: &str| {
        format!("{{apiVersion: {group}, kind: {kind}, metadata: {{{metadata}}}, spec: {{{spec}}}}}")
    };
    let objects = [
        object(
            "apps/v1",
            "Deployment",
            "name: web, labels: {tier: front}",
            &selected,
        ),
        object("apps/v1", "StatefulSet", "name: web", &selected),
        object("apps/v1", "DaemonSet", "name: web", &selected),
        object("apps/v1", "ReplicaSet", "name: web", &selected),
        object("batch/v1", "Job", "name: web", &job),
        object(
            "batch/v1",
            "CronJob",
            "name: web",
            &format!("schedule: '* * * * *', jobTemplate: {{spec: {{{job}}}}}"),
        ),
        object("v1", "Pod", "name: web", &containers),
        object("v1", "Pod", &format!("name: web-1, {owner}"), &containers),
    ];
    plane
        .apply_in(&namespace, &objects.join("\n---\n"))
        .await
        .unwrap();
    namespace
}

/// The findings in the output of `lint -o json`.
fn findings(run: &Run) -> Vec<String> {
    let output: Value =
        serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{error}: {}", run.stderr));
    let findings = output["findings"].as_array().unwrap().iter();
    let mut findings: Vec<_> = findings
        .map(|f| {
            ["code", "kind", "name", "path"]
                .map(|key| f[key].as_str().unwrap())
                .join(" ")
        })
        .collect();
    findings.sort();
    findings
}

#[tokio::test]
async fn workloads_of_a_cluster_are_examined() {
    let (plane, _) = plane().await;
    let namespace = workloads(plane).await;
    let args = ["lint", "--live", "-n", &namespace, "-o", "json"];
    let run = sidewatch(plane.kubeconfig_path(), &args).await;
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
    let selected = [&args[..], &["-l", "tier=front"]].concat();
    let run = sidewatch(plane.kubeconfig_path(), &selected).await;
    assert_eq!(
        findings(&run),
        [format!("SC011 Deployment web spec.template.{image}")],
        "{}",
        run.stderr
    );
}

#[tokio::test]
async fn the_role_for_users_of_the_command_line_is_sufficient() {
    let (plane, _) = plane().await;
    let (namespace, directory) = (namespace_with_violation(plane).await, Scratch::new().unwrap());
    let policy = policy(&directory);
    let files = plane.kubeconfig_for(&namespace, "reader").await.unwrap();
    let args = ["simulate", "-p", &policy, "-n", &namespace, "-o", "json"];
    let run = sidewatch(files.path(), &args).await;
    assert_eq!((run.code, run.stdout.as_str()), (Some(2), ""), "{}", run.stderr);
    assert!(run.stderr.contains("error: cannot list pods"), "{}", run.stderr);

    let role = std::fs::read_to_string(repository().join("config/rbac/cli_user_role.yaml")).unwrap();
    let binding = format!(
        "---\napiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\nmetadata: {{name: {namespace}}}\n\
         roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: sidewatch-cli}}\n\
         subjects: [{{kind: ServiceAccount, name: reader, namespace: {namespace}}}]\n"
    );
    plane.apply(&(role + &binding)).await.unwrap();
    let one_list = "note: one list shows only the present";
    // The authorizer of the API server follows by a watch.
    eventually(Duration::from_secs(20), || async {
        let run = sidewatch(files.path(), &args).await;
        let notes = run
            .stderr
            .lines()
            .filter(|line| !line.starts_with(one_list))
            .count();
        // A SidecarPolicy without a namespace has a note of its own.
        anyhow::ensure!(run.code == Some(1) && notes == 1, "{}", run.stderr);
        Ok(())
    })
    .await
    .unwrap();
    let table: [(&[&str], usize); 4] = [
        (&["lint", "--live"], 0),
        (&["top"], 0),
        (&["versions"], 0),
        // One list shows only the present.
        (&["explain", "web"], 1),
    ];
    for (args, notes) in table {
        let run = sidewatch(files.path(), &[args, &["-n", &namespace]].concat()).await;
        assert!(matches!(run.code, Some(0 | 1)), "{args:?}: {run:?}");
        assert_eq!(run.stderr.lines().count(), notes, "{args:?}: {run:?}");
    }
}
