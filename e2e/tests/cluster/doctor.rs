//! `sidewatch doctor` with a real API server and a real operator.

use std::{path::Path, time::Duration};

use anyhow::ensure;
use e2e::{
    ControlPlane,
    operator::{NAMESPACE, Operator, SERVICE_ACCOUNT},
    poll::eventually,
    project::read,
    simulated_kubelet::{Container, PodSpec, SimulatedKubelet},
};

use crate::cli::{POLICY, Run, sidewatch};

const SOON: Duration = Duration::from_mins(1);

/// Installs the operator as users do, and runs its process as the Pod of the Deployment.
async fn install(plane: &ControlPlane) -> Operator {
    plane
        .kubectl_line("apply --server-side -k config/default")
        .await
        .unwrap();
    plane.install_monitoring_crds().await.unwrap();
    plane
        .kubectl_line("wait --for=condition=Established --all crd")
        .await
        .unwrap();
    plane
        .apply(&read("config/prometheus/monitor.yaml").unwrap())
        .await
        .unwrap();
    let ready = format!(
        "patch deployment {SERVICE_ACCOUNT} --namespace {NAMESPACE} --subresource=status --type=merge --patch \
         {{\"status\":{{\"replicas\":2,\"readyReplicas\":2}}}}"
    );
    plane.kubectl_line(&ready).await.unwrap();
    let kubeconfig = plane.kubeconfig_for(NAMESPACE, SERVICE_ACCOUNT).await.unwrap();
    let flags = ["--leader-elect", "--operator-namespace", NAMESPACE];
    let mut operator = Operator::start(plane, kubeconfig.path(), &flags).await.unwrap();
    operator.wait_until_ready().await.unwrap();
    let holder = eventually(SOON, || async {
        let get =
            format!("get lease sidewatch --namespace {NAMESPACE} --output=jsonpath={{.spec.holderIdentity}}");
        let holder = plane.kubectl_line(&get).await?;
        ensure!(!holder.is_empty(), "no leader");
        Ok(holder)
    });
    let holder = holder.await.unwrap();
    let pod = holder.rsplit_once('_').unwrap().0;
    // The namespace enforces the restricted profile.
    let pod = format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: {pod}, labels: {{app.kubernetes.io/name: sidewatch}}}}, spec: \
         {{serviceAccountName: sidewatch, securityContext: {{runAsNonRoot: true, runAsUser: 65532, seccompProfile: \
         {{type: RuntimeDefault}}}}, containers: [{{name: sidewatch, image: sidewatch, securityContext: \
         {{allowPrivilegeEscalation: false, capabilities: {{drop: [ALL]}}}}}}]}}}}"
    );
    plane.apply_in(NAMESPACE, &pod).await.unwrap();
    operator
}

/// The codes and verdicts that are not ok, with the messages of those that are not skipped.
fn findings(run: &Run) -> Vec<String> {
    let output = run.json();
    let lines = output["lines"].as_array().unwrap().iter();
    let lines = lines.filter(|line| line["verdict"] != "ok");
    lines
        .map(|line| match line["verdict"].as_str().unwrap() {
            "skipped" => format!("{} skipped", line["code"]).replace('"', ""),
            verdict => format!("{} {verdict} {}", line["code"], line["message"]).replace('"', ""),
        })
        .collect()
}

/// Waits until the first findings begin with these texts, and there are no others if the exit code is 0.
async fn finds(kubeconfig: &Path, expected: &[&str], code: i32) {
    let found = eventually(SOON, || async {
        let run = sidewatch(kubeconfig, "doctor -o json").await;
        let findings = findings(&run);
        let is_complete = code != 0 || findings.len() == expected.len();
        let mut pairs = findings.iter().zip(expected);
        ensure!(
            is_complete && pairs.all(|(finding, expected)| finding.starts_with(expected)),
            "{findings:?} {run:?}"
        );
        ensure!(!findings.is_empty() && run.code == Some(code), "{:?}", run.code);
        Ok(())
    });
    found.await.unwrap();
}

#[tokio::test]
async fn a_complete_installation_has_no_findings_and_a_missing_binding_has_one() {
    let plane = ControlPlane::start().await.unwrap();
    let _operator = install(&plane).await;
    let shop = plane.namespace("shop").await.unwrap();
    plane.apply_in(&shop, POLICY).await.unwrap();
    let pod = PodSpec::new("web")
        .container(Container::native("proxy"))
        .container(Container::regular("app"));
    let kubelet = SimulatedKubelet::new(plane.client().await.unwrap());
    let _pod = kubelet.run(&shop, pod).await.unwrap();

    // There is no Prometheus object. The first checkpoint and the first status take some seconds.
    let without_prometheus = ["SD051 skipped", "SD052 skipped"];
    finds(plane.kubeconfig_path(), &without_prometheus, 0).await;

    // The roles for users of the command line are sufficient.
    let reader = plane.kubeconfig_for(&shop, "reader").await.unwrap();
    for (file, role) in [
        ("cli_user_role", "sidewatch-cli"),
        ("cli_doctor_role", "sidewatch-cli-doctor"),
    ] {
        plane
            .apply(&read(format!("config/rbac/{file}.yaml")).unwrap())
            .await
            .unwrap();
        let bind =
            format!("create clusterrolebinding {role} --clusterrole={role} --serviceaccount={shop}:reader");
        plane.kubectl_line(&bind).await.unwrap();
    }
    finds(reader.path(), &without_prometheus, 0).await;

    plane
        .kubectl_line("delete clusterrolebinding sidewatch")
        .await
        .unwrap();
    let missing = "SD030 failed ServiceAccount sidewatch-system/sidewatch may not list pods, watch pods, ";
    finds(plane.kubeconfig_path(), &[missing], 1).await;
}
