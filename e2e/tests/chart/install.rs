//! Installation, upgrade and uninstallation of both charts with both versions of Helm, each on its own control plane.

use std::time::Duration;

use anyhow::ensure;
use e2e::ControlPlane;
use e2e::operator::Operator;
use e2e::poll;
use e2e::process::Process;
use e2e::tools::Tool;

use crate::helm::{CHART, Helm, NAMESPACE, POLICIES, POLICIES_RELEASE, RELEASE};

const SOON: Duration = Duration::from_secs(30);
/// The condition Ready of a policy.
const READY: &str = "{.status.conditions[?(@.type=='Ready')].status}";
const CRDS: [&str; 3] = [
    "customresourcedefinition.apiextensions.k8s.io/clustersidecarpolicies.sidewatch.dev",
    "customresourcedefinition.apiextensions.k8s.io/sidecarexemptions.sidewatch.dev",
    "customresourcedefinition.apiextensions.k8s.io/sidecarpolicies.sidewatch.dev",
];

/// Controllers for `helm --wait`, which create the Pod of a Deployment.
const CONTROLLERS: [&str; 2] = ["deployment-controller", "replicaset-controller"];

/// A control plane and Helm.
struct Cluster {
    helm: Helm,
    _controllers: Process,
    plane: ControlPlane,
}

impl Cluster {
    async fn start(version: Tool) -> Self {
        let plane = ControlPlane::start().await.unwrap();
        Self {
            helm: Helm::on(plane.cluster(), version).await.unwrap(),
            _controllers: plane.start_controllers(&CONTROLLERS).await.unwrap(),
            plane,
        }
    }

    /// Runs `helm install` or `upgrade` with these values and returns its output, while the Pod becomes ready.
    async fn helm(&self, command: &str, values: &[&str]) -> String {
        tokio::select! {
            printed = self.release(command, RELEASE, CHART, values) => printed,
            stopped = self.plane.keep_pods_ready(NAMESPACE) => panic!("{stopped:?}"),
        }
    }

    /// Runs `helm install` or `upgrade` for the chart of the default policy.
    async fn policies(&self, command: &str, values: &[&str]) -> String {
        self.release(command, POLICIES_RELEASE, POLICIES, values).await
    }

    async fn release(&self, command: &str, release: &str, chart: &str, values: &[&str]) -> String {
        let mut args = vec![command, release, chart, "--namespace", NAMESPACE, "--wait"];
        if command == "install" {
            args.push("--create-namespace");
        }
        for value in values {
            args.extend(["--set", value]);
        }
        self.helm.run(&args).await.unwrap()
    }

    async fn uninstall(&self, release: &str) {
        let uninstall = ["uninstall", release, "--namespace", NAMESPACE];
        self.helm.run(&uninstall).await.unwrap();
    }

    async fn kubectl(&self, line: &str) -> String {
        self.plane.kubectl_line(line).await.unwrap()
    }

    /// Fields of an object, with a comma between them; empty without the object.
    async fn field(&self, object: &str, path: &str) -> String {
        self.kubectl(&format!(
            "get --ignore-not-found {object} --output=jsonpath={path}"
        ))
        .await
    }

    async fn crds(&self) -> Vec<String> {
        let names = self.kubectl("get crds --output=name").await;
        names.lines().map(str::to_owned).collect()
    }

    /// All objects of the release except CRDs.
    async fn objects(&self) -> String {
        let kinds =
            "deployments,services,serviceaccounts,clusterroles,clusterrolebindings,roles,rolebindings";
        self.kubectl(&format!(
            "get {kinds} --selector=app.kubernetes.io/instance={RELEASE} --all-namespaces --output=name"
        ))
        .await
    }

    /// Starts the operator with the ServiceAccount of the release and waits until it is ready.
    async fn operator(&self, flags: &[&str]) -> Operator {
        let token = self
            .plane
            .token(NAMESPACE, RELEASE, Duration::from_hours(1))
            .await;
        let kubeconfig = self.plane.kubeconfig_for_token(&token.unwrap()).unwrap();
        let mut operator = Operator::start(&self.plane, kubeconfig.path(), flags)
            .await
            .unwrap();
        operator.wait_until_ready().await.unwrap();
        operator
    }

    async fn eventually(&self, object: &str, path: &str, expected: &str) {
        let found = poll::eventually(SOON, async || {
            let found = self.field(object, path).await;
            ensure!(
                found == expected,
                "{object}: {path} is {found:?} instead of {expected:?}"
            );
            Ok(())
        });
        found.await.unwrap();
    }
}

/// Installs, upgrades and uninstalls both charts, with and without `crds.keep`.
async fn install_upgrade_and_uninstall(version: Tool) {
    let cluster = Cluster::start(version).await;
    let policy = format!("clustersidecarpolicy {POLICIES_RELEASE}");
    let deployment = format!("deployment {RELEASE} --namespace {NAMESPACE}");

    let notes = cluster.helm("install", &[]).await;
    assert!(
        notes.contains("helm install sidewatch-policies")
            && notes.contains("kubectl get clustersidecarpolicies"),
        "{notes}"
    );
    assert!(
        notes.contains("WARNING: image.repository is the placeholder"),
        "{notes}"
    );
    assert_eq!(cluster.crds().await, CRDS);
    let notes = cluster.policies("install", &[]).await;
    assert!(
        notes.contains("does not cover the namespaces kube-system, sidewatch-system"),
        "{notes}"
    );
    let operator = cluster.operator(&[]).await;
    cluster.eventually(&policy, READY, "True").await;

    // An upgrade of the operator does not change the policy.
    let uid = cluster.field(&policy, "{.metadata.uid}").await;
    let values = [
        "log.level=debug",
        "image.repository=images.example.test/sidewatch",
    ];
    let notes = cluster.helm("upgrade", &values).await;
    assert!(!notes.contains("WARNING"), "{notes}");
    let args = cluster
        .field(&deployment, "{.spec.template.spec.containers[0].args}")
        .await;
    assert!(args.contains("--log-level=debug"), "{args}");
    cluster.policies("upgrade", &["spec.mode=Observe"]).await;
    assert_eq!(cluster.field(&policy, "{.spec.mode}").await, "Observe");
    assert_eq!(
        cluster.field(&policy, "{.metadata.uid}").await,
        uid,
        "the policy is changed, not replaced"
    );
    cluster.eventually(&policy, READY, "True").await;
    assert!(operator.stop().await.unwrap().success());

    cluster.uninstall(RELEASE).await;
    assert_eq!(
        cluster.objects().await,
        "",
        "objects that are not kept are deleted"
    );
    assert_eq!(cluster.crds().await, CRDS, "kept");
    assert_eq!(
        cluster.field(&policy, "{.spec.mode}").await,
        "Observe",
        "the policies are kept with the CRDs"
    );
    cluster.uninstall(POLICIES_RELEASE).await;
    assert_eq!(cluster.field(&policy, "{.metadata.name}").await, "", "deleted");

    cluster.helm("install", &["crds.keep=false"]).await;
    cluster.uninstall(RELEASE).await;
    for crd in CRDS {
        cluster.eventually(crd, "{.metadata.name}", "").await;
    }
}

#[tokio::test]
async fn helm_3_installs_upgrades_and_uninstalls() {
    install_upgrade_and_uninstall(Tool::Helm3).await;
}

#[tokio::test]
async fn helm_4_installs_upgrades_and_uninstalls() {
    install_upgrade_and_uninstall(Tool::Helm).await;
}

#[tokio::test]
async fn an_operator_with_roles_in_two_namespaces_is_ready() {
    let cluster = Cluster::start(Tool::Helm).await;
    for namespace in ["pay", "shop"] {
        cluster.kubectl(&format!("create namespace {namespace}")).await;
    }
    let notes = cluster.helm("install", &["watch.namespaces={pay,shop}"]).await;
    assert!(
        notes.contains("watches the namespaces pay, shop.")
            && notes.contains("--set 'namespaces={pay,shop}'")
            && notes.contains("kubectl get sidecarpolicies"),
        "{notes}"
    );
    cluster.policies("install", &["namespaces={pay,shop}"]).await;
    let operator = cluster
        .operator(&["--namespace", "pay", "--namespace", "shop"])
        .await;
    for namespace in ["pay", "shop"] {
        let policy = format!("sidecarpolicy {POLICIES_RELEASE} --namespace {namespace}");
        cluster.eventually(&policy, READY, "True").await;
    }
    drop(operator);
}
