//! `sidewatch doctor` with a real API server and a real operator.

use std::time::Duration;

use anyhow::ensure;
use e2e::{
    ControlPlane,
    operator::{NAMESPACE, Operator, SERVICE_ACCOUNT},
    poll::eventually,
    project::repository,
    simulated_kubelet::{Container, PodSpec, SimulatedKubelet},
};
use serde_json::Value;

use crate::cli::sidewatch;

const SOON: Duration = Duration::from_mins(1);
const POLICY: &str = "{apiVersion: sidewatch.dev/v1alpha1, kind: SidecarPolicy, metadata: {name: mesh}}";

/// Installs the operator as users do, and runs its process as the Pod of the Deployment.
async fn install(plane: &ControlPlane) -> Operator {
    let default = repository().join("config/default");
    let apply = async || {
        plane
            .kubectl(["apply", "--server-side", "-k", default.to_str().unwrap()])
            .await
    };
    apply().await.unwrap();
    plane.install_monitoring_crds().await.unwrap();
    plane
        .kubectl(["wait", "--for=condition=Established", "--all", "crd"])
        .await
        .unwrap();
    let monitor = std::fs::read_to_string(repository().join("config/prometheus/monitor.yaml")).unwrap();
    plane.apply(&monitor).await.unwrap();
    let ready = r#"{"status": {"replicas": 2, "readyReplicas": 2}}"#;
    let patch = [
        "patch",
        "deployment",
        SERVICE_ACCOUNT,
        "--namespace",
        NAMESPACE,
        "--subresource=status",
    ];
    plane
        .kubectl([&patch[..], &["--type=merge", "--patch", ready]].concat())
        .await
        .unwrap();
    let kubeconfig = plane.kubeconfig_for(NAMESPACE, SERVICE_ACCOUNT).await.unwrap();
    let flags = ["--leader-elect", "--operator-namespace", NAMESPACE];
    let mut operator = Operator::start(plane, kubeconfig.path(), &flags).await.unwrap();
    operator.wait_until_ready().await.unwrap();
    let holder = eventually(SOON, || async {
        let args = [
            "get",
            "lease",
            "sidewatch",
            "--namespace",
            NAMESPACE,
            "--output=jsonpath={.spec.holderIdentity}",
        ];
        let holder = plane.kubectl(args).await?;
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
fn findings(stdout: &str) -> Vec<String> {
    let output: Value = serde_json::from_str(stdout).unwrap_or_else(|_| panic!("{stdout}"));
    let lines = output["lines"].as_array().unwrap().iter();
    let lines = lines.filter(|line| line["verdict"] != "ok");
    lines
        .map(|line| match line["verdict"].as_str().unwrap() {
            "skipped" => format!("{} skipped", line["code"]).replace('"', ""),
            verdict => format!("{} {verdict} {}", line["code"], line["message"]).replace('"', ""),
        })
        .collect()
}

#[tokio::test]
async fn a_complete_installation_has_no_findings_and_a_missing_binding_has_one() {
    let plane = ControlPlane::start().await.unwrap();
    let operator = install(&plane).await;
    let shop = plane.namespace("shop").await.unwrap();
    plane.apply_in(&shop, POLICY).await.unwrap();
    let pod = PodSpec::new("web")
        .container(Container::native("proxy"))
        .container(Container::regular("app"));
    let kubelet = SimulatedKubelet::new(plane.client().await.unwrap());
    let _pod = kubelet.run(&shop, pod).await.unwrap();

    let args = ["doctor", "-o", "json"];
    // There is no Prometheus object.
    let without_prometheus = ["SD051 skipped", "SD052 skipped"];
    // The first checkpoint and the first status take some seconds.
    eventually(SOON, || async {
        let run = sidewatch(plane.kubeconfig_path(), &args).await;
        ensure!(
            findings(&run.stdout) == without_prometheus,
            "{} {}",
            run.stdout,
            run.stderr
        );
        ensure!(run.code == Some(0), "{:?}", run.code);
        Ok(())
    })
    .await
    .unwrap();

    // The roles for users of the command line are sufficient.
    let reader = plane.kubeconfig_for(&shop, "reader").await.unwrap();
    for (file, role) in [
        ("cli_user_role", "sidewatch-cli"),
        ("cli_doctor_role", "sidewatch-cli-doctor"),
    ] {
        let file = repository().join(format!("config/rbac/{file}.yaml"));
        plane
            .apply(&std::fs::read_to_string(file).unwrap())
            .await
            .unwrap();
        let account = format!("--serviceaccount={shop}:reader");
        let role_flag = format!("--clusterrole={role}");
        plane
            .kubectl(["create", "clusterrolebinding", role, &role_flag, &account])
            .await
            .unwrap();
    }
    eventually(SOON, || async {
        let run = sidewatch(reader.path(), &args).await;
        ensure!(
            findings(&run.stdout) == without_prometheus,
            "{} {}",
            run.stdout,
            run.stderr
        );
        Ok(())
    })
    .await
    .unwrap();

    plane
        .kubectl(["delete", "clusterrolebinding", "sidewatch"])
        .await
        .unwrap();
    eventually(SOON, || async {
        let run = sidewatch(plane.kubeconfig_path(), &args).await;
        let found = findings(&run.stdout);
        let expected =
            "SD030 failed ServiceAccount sidewatch-system/sidewatch may not list pods, watch pods, ";
        ensure!(
            found.first().is_some_and(|line| line.starts_with(expected)),
            "{found:?}"
        );
        ensure!(run.code == Some(1), "{:?}", run.code);
        Ok(())
    })
    .await
    .unwrap();
    drop(operator);
    plane.stop().unwrap();
}
