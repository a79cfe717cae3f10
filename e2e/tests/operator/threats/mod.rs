//! The table of threats in `docs/security.md`: each row has the test with its name.
//!
//! The attacker is a ServiceAccount with the role `edit` in one namespace, as kube-controller-manager aggregates it. What only
//! a kubelet or an administrator can write is written with their rights. After each attack, the operator must still serve
//! another namespace. The tests share a control plane and an operator, so a failure can have its cause in another test.

mod network;
mod pods;
mod policies;
mod status;
mod terminal;
mod undecodable;

use std::time::Duration;

use anyhow::{Result, ensure};
use e2e::cluster::is_permitted;
use e2e::operator::{NAMESPACE, Operator, SERVICE_ACCOUNT, install_crds, install_rbac};
use e2e::process::Process;
use e2e::simulated_kubelet::{PodSpec, Step};
use e2e::{ControlPlane, TokenKubeconfig};
use futures::stream::{self, StreamExt};
use http::header::{ACCEPT, CONTENT_TYPE};
use kube::Client;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::support::{TestNamespace, eventually, series, web};

/// Number of concurrent requests of an attacker.
const CONCURRENCY: usize = 16;
/// Every fault fires at once.
const AT_ONCE: &str =
    "{checks: {notReady: {for: 0s, keepFiringFor: 0s}, mainReadySidecarNotReady: {for: 0s}}}";

/// The control plane and the operator that the tests share.
struct Threatened {
    plane: ControlPlane,
    operator: Operator,
    _kubeconfig: TokenKubeconfig,
    _controllers: Process,
}

async fn threatened() -> &'static Threatened {
    static SHARED: OnceCell<Threatened> = OnceCell::const_new();
    SHARED
        .get_or_try_init(Threatened::start)
        .await
        .unwrap_or_else(|error| panic!("{error:#}"))
}

impl Threatened {
    async fn start() -> Result<Self> {
        let plane = ControlPlane::start().await?;
        let controllers = plane
            .start_controllers(&["clusterrole-aggregation-controller"])
            .await?;
        install_crds(&plane).await?;
        install_rbac(&plane).await?;
        let kubeconfig = plane.kubeconfig_for(NAMESPACE, SERVICE_ACCOUNT).await?;
        let flags = ["--max-tenant-severity=Warning"];
        let mut operator = Operator::start(&plane, kubeconfig.path(), &flags).await?;
        operator.wait_until_ready().await?;
        Ok(Self {
            plane,
            operator,
            _kubeconfig: kubeconfig,
            _controllers: controllers,
        })
    }

    /// Checks that a new namespace gets a status, an Event and a series.
    async fn others_are_served(&'static self) {
        let place = TestNamespace::new(&self.plane, "quiet").await;
        place.policy("quiet", AT_ONCE).await;
        let mut pod = place.kubelet.run(&place.namespace, web()).await.unwrap();
        pod.step(Step::Unready("istio-proxy")).await.unwrap();
        self.is_served(&place, "quiet").await;
    }

    /// Waits until a violation of the Pod [`web`] is in the status of a policy, in an Event and in a series.
    async fn is_served(&self, place: &TestNamespace, policy: &str) {
        place
            .status_when(policy, "a firing violation in the status", |status| {
                status["summary"]["firing"].as_u64() > Some(0)
            })
            .await;
        place.event("SidecarContainerNotReady").await;
        let labels = [("namespace", &*place.namespace), ("state", "firing")];
        eventually("a series", || async {
            let found = series(&self.operator, "sidewatch_workload_violations", &labels).await;
            ensure!(!found.is_empty(), "no series");
            Ok(())
        })
        .await;
    }

    /// Starts an operator that only reads one namespace, and waits until it is ready.
    async fn reader_of(&self, place: &TestNamespace) -> Operator {
        let namespace = &place.namespace;
        let role = "{apiVersion: rbac.authorization.k8s.io/v1, kind: Role, metadata: {name: reader}, rules: [
            {apiGroups: [''], resources: [pods], verbs: [list, watch]},
            {apiGroups: [sidewatch.dev], resources: [sidecarpolicies, sidecarexemptions], verbs: [list, watch]}]}";
        self.plane.apply_in(namespace, role).await.unwrap();
        let bind = format!(
            "create rolebinding reader --role=reader --serviceaccount={namespace}:reader -n {namespace}"
        );
        self.plane.kubectl_line(&bind).await.unwrap();
        let kubeconfig = self.plane.kubeconfig_for(namespace, "reader").await.unwrap();
        let mut operator = Operator::start(&self.plane, kubeconfig.path(), &["--namespace", namespace])
            .await
            .unwrap();
        operator.wait_until_ready().await.unwrap();
        operator
    }
}

/// A namespace, and a client with the role `edit` in it.
struct Tenant {
    place: TestNamespace,
    client: Client,
}

impl Tenant {
    async fn new(prefix: &str) -> Self {
        let shared = &threatened().await.plane;
        let place = TestNamespace::new(shared, prefix).await;
        let namespace = &place.namespace;
        shared.service_account(namespace, "tenant").await.unwrap();
        let bind = format!(
            "create rolebinding tenant --clusterrole=edit --serviceaccount={namespace}:tenant -n {namespace}"
        );
        shared.kubectl_line(&bind).await.unwrap();
        let user = format!("system:serviceaccount:{namespace}:tenant");
        let admin = shared.client().await.unwrap();
        eventually("the aggregated role", || async {
            let permission = ("sidewatch.dev", "sidecarpolicies", "create");
            let permitted = is_permitted(&admin, &user, Some(namespace), permission).await?;
            ensure!(permitted, "{user} cannot create policies");
            Ok(())
        })
        .await;
        let token = shared.token(namespace, "tenant", Duration::from_hours(1)).await;
        let client = shared.client_with_token(&token.unwrap()).await.unwrap();
        Self { place, client }
    }

    /// Path of the objects of a resource in the namespace of the tenant.
    fn path(&self, resource: &str) -> String {
        let namespace = &self.place.namespace;
        match resource {
            "pods" => format!("/api/v1/namespaces/{namespace}/pods"),
            "deployments" => format!("/apis/apps/v1/namespaces/{namespace}/deployments"),
            _ => format!("/apis/sidewatch.dev/v1alpha1/namespaces/{namespace}/{resource}"),
        }
    }

    /// Creates an object.
    async fn create(&self, resource: &str, object: &Value) -> kube::Result<Value> {
        self.post(
            &self.path(resource),
            "application/json",
            object.to_string().into_bytes(),
        )
        .await
    }

    /// Creates objects concurrently. All must be accepted.
    async fn create_all(&self, resource: &str, objects: &[Value]) {
        stream::iter(objects)
            .for_each_concurrent(CONCURRENCY, async |object| {
                self.create(resource, object).await.unwrap();
            })
            .await;
    }

    async fn post(&self, path: &str, content_type: &str, body: Vec<u8>) -> kube::Result<Value> {
        let request = http::Request::post(path)
            .header(CONTENT_TYPE, content_type)
            .header(ACCEPT, "application/json")
            .body(body)
            .unwrap();
        let text = self.client.request_text(request).await?;
        // The object can be nested more deeply than serde_json reads.
        Ok(serde_json::from_str(&text).unwrap_or_default())
    }

    /// Applies a merge patch to an object.
    async fn patch(&self, resource: &str, name: &str, patch: &Value) -> kube::Result<Value> {
        let request = http::Request::patch(format!("{}/{name}", self.path(resource)))
            .header(CONTENT_TYPE, "application/merge-patch+json")
            .body(patch.to_string().into_bytes())
            .unwrap();
        self.client.request(request).await
    }

    /// Runs these Pods with their sidecars unready.
    async fn run_unready(&self, pods: Vec<PodSpec>) {
        let place = &self.place;
        stream::iter(pods)
            .for_each_concurrent(CONCURRENCY, async |spec| {
                let mut pod = place
                    .kubelet
                    .create(&place.namespace, spec.clone())
                    .await
                    .unwrap();
                pod.schedule().await.unwrap();
                let mut steps = spec.healthy_start();
                steps.push(Step::Unready("istio-proxy"));
                pod.together(&steps).await.unwrap();
            })
            .await;
    }
}

/// A SidecarPolicy.
fn policy(name: &str, spec: &Value) -> Value {
    object("SidecarPolicy", name, spec)
}

/// An object of this project.
fn object(kind: &str, name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "sidewatch.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec})
}

/// Whether the API server found an object invalid.
fn is_invalid(result: &kube::Result<Value>) -> bool {
    matches!(result, Err(kube::Error::Api(status)) if status.code == 422)
}
