//! What `sidewatch explain` and `sidewatch top` show of violations that a SidecarExemption hides, with a real API server.

use std::{path::Path, time::Duration};

use e2e::{ControlPlane, poll::eventually, process::Scratch, project::repository};
use serde_json::Value;

use crate::{
    cli::{Run, namespace_with_violation, policy, sidewatch},
    policy_specs::plane,
};

/// A namespace with a violation, and a policy that reports it.
struct Violation {
    namespace: String,
    policy: String,
    _directory: Scratch,
}

impl Violation {
    async fn new(plane: &ControlPlane) -> Self {
        let directory = Scratch::new().unwrap();
        Self {
            namespace: namespace_with_violation(plane).await,
            policy: policy(&directory),
            _directory: directory,
        }
    }

    async fn run(&self, kubeconfig: &Path, args: &[&str]) -> Run {
        let more = ["-n", &self.namespace, "-p", &self.policy, "-o", "json"];
        sidewatch(kubeconfig, &[args, &more].concat()).await
    }

    /// The state of NotReady in the output of `explain`, and the exemption that hides it.
    async fn explained(&self, kubeconfig: &Path) -> (Run, String, Value) {
        let run = self.run(kubeconfig, &["explain", "web"]).await;
        let report: Value =
            serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{error}: {run:?}"));
        let rows = report[0]["checks"].as_array().unwrap();
        let row = rows.iter().find(|row| row["check"] == "NotReady").unwrap();
        let state = row["state"].as_str().unwrap().to_owned();
        (run, state, row["hiddenBy"].clone())
    }

    /// The numbers of NotReady in the output of `top`: firing and hidden.
    async fn counted(&self, kubeconfig: &Path) -> (Run, [u64; 2]) {
        let run = self.run(kubeconfig, &["top"]).await;
        let report: Value =
            serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{error}: {run:?}"));
        let rows = report["groups"].as_array().unwrap();
        let row = rows.iter().find(|row| row["check"] == "NotReady").unwrap();
        let numbers = ["firing", "hidden"].map(|field| row[field].as_u64().unwrap());
        (run, numbers)
    }

    async fn snooze(&self, kubeconfig: &Path) {
        let args = [
            "snooze",
            "pod/web",
            "-n",
            &self.namespace,
            "--for",
            "2h",
            "--reason",
            "the vendor fixes it",
        ];
        let run = sidewatch(kubeconfig, &args).await;
        assert_eq!(run.code, Some(0), "{run:?}");
    }
}

#[tokio::test]
async fn a_snoozed_violation_is_shown_as_hidden_until_the_exemption_is_deleted() {
    let (plane, _) = plane().await;
    let violation = Violation::new(plane).await;
    let kubeconfig = plane.kubeconfig_path();
    let (run, state, hidden_by) = violation.explained(kubeconfig).await;
    assert_eq!((&*state, hidden_by, run.code), ("firing", Value::Null, Some(1)));
    assert_eq!(violation.counted(kubeconfig).await.1, [1, 0]);

    violation.snooze(kubeconfig).await;
    let namespace = &violation.namespace;
    let (run, state, hidden_by) = violation.explained(kubeconfig).await;
    assert_eq!((&*state, run.code), ("hidden", Some(0)), "{run:?}");
    let key = format!("SidecarExemption {namespace}/pod-web");
    assert_eq!(hidden_by["exemption"], key.as_str());
    assert_eq!(hidden_by["reason"], "the vendor fixes it");
    let jsonpath = [
        "get",
        "scex",
        "pod-web",
        "-n",
        namespace,
        "-o",
        "jsonpath={.spec.until}",
    ];
    let until = plane.kubectl(&jsonpath).await.unwrap();
    assert_eq!(hidden_by["until"], until.trim());
    let (run, numbers) = violation.counted(kubeconfig).await;
    assert_eq!((numbers, run.code), ([0, 1], Some(0)), "{run:?}");
    let run = sidewatch(kubeconfig, &["top", "-n", namespace]).await;
    let counts = "1 Pods, 0 violations fire, 0 are pending, ";
    assert!(
        run.stdout.starts_with(counts),
        "a pending violation is hidden too: {run:?}"
    );
    assert!(run.stdout.contains(" HIDDEN "), "{run:?}");

    let delete = ["delete", "scex", "pod-web", "-n", namespace];
    plane.kubectl(&delete).await.unwrap();
    let (run, state, _) = violation.explained(kubeconfig).await;
    assert_eq!((&*state, run.code), ("firing", Some(1)), "{run:?}");
}

#[tokio::test]
async fn without_the_right_to_read_exemptions_a_note_says_what_is_not_marked() {
    let (plane, _) = plane().await;
    let violation = Violation::new(plane).await;
    violation.snooze(plane.kubeconfig_path()).await;
    let namespace = &violation.namespace;
    let files = plane.kubeconfig_for(namespace, "reader").await.unwrap();
    let role = std::fs::read_to_string(repository().join("config/rbac/cli_user_role.yaml")).unwrap();
    let rights = role.split_once("rules:").unwrap().1;
    assert!(rights.contains(", sidecarexemptions]"), "{rights}");
    let objects = format!(
        "---\napiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {{name: {namespace}}}\nrules:{}\n\
         ---\napiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\nmetadata: {{name: {namespace}}}\n\
         roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: {namespace}}}\n\
         subjects: [{{kind: ServiceAccount, name: reader, namespace: {namespace}}}]\n",
        rights.replace(", sidecarexemptions]", "]")
    );
    plane.apply(&objects).await.unwrap();
    // The authorizer of the API server follows by a watch.
    eventually(Duration::from_secs(20), || async {
        let run = violation.run(files.path(), &["top"]).await;
        anyhow::ensure!(run.code == Some(1) && run.stderr.lines().count() == 1, "{run:?}");
        Ok(())
    })
    .await
    .unwrap();
    let (run, numbers) = violation.counted(files.path()).await;
    assert_eq!(numbers, [1, 0], "{run:?}");
    for text in [
        "note: cannot list sidecarexemptions in namespace ",
        "shown as if it were reported",
    ] {
        assert!(run.stderr.contains(text), "{run:?}");
    }
}
