//! An operator of its own on a control plane that others use too, behind a fault proxy of its own: where a history is played
//! once, disturbed or not.
//!
//! Input: a control plane, and a name. Output: a [`FaultEnv`]: a namespace, a namespaced installation of the operator in it under
//! the project's own role, and the [`Snapshot`] of what it has found and written there. Must not: decide what happens on it.

use std::fmt::{self, Debug};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::api::{ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::NamespaceResourceScope;
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sidewatch::api::SidecarPolicy;

use crate::compare::{Snapshot, Sources, Tolerance};
use crate::fault_proxy::FaultProxy;
use crate::operator::{self, Operator};
use crate::{ControlPlane, TokenKubeconfig};

/// The name of the ServiceAccount that the operator uses.
pub const ACCOUNT: &str = "operator";
/// The binding that gives it all its rights.
const BOUND: &str = "operator";
/// The binding, and the role, that give it fewer.
const RESTRICTED: &str = "restricted";
const POLL: Duration = Duration::from_millis(100);

/// A right to do something: group, resource and verb.
pub type Right = (&'static str, &'static str, &'static str);

/// A namespace with an operator in it. Dropping it kills the operator.
#[must_use]
pub struct FaultEnv {
    /// Between the operator and the API server.
    pub proxy: FaultProxy,
    /// What the operator reads to get at the API server.
    pub kubeconfig: TokenKubeconfig,
    namespace: String,
    operator: Option<Operator>,
    client: Client,
}

impl fmt::Debug for FaultEnv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultEnv")
            .field("namespace", &self.namespace)
            .field("operator", &self.operator)
            .finish_non_exhaustive()
    }
}

impl FaultEnv {
    /// Everything but the operator. The control plane must have the CRDs and the role.
    pub async fn set(plane: &ControlPlane, name: &str) -> Result<Self> {
        let namespace = plane.namespace(name).await?;
        let client = plane.client().await?;
        plane.service_account(&namespace, ACCOUNT).await?;
        bind(
            &client,
            &namespace,
            BOUND,
            ("ClusterRole", operator::SERVICE_ACCOUNT),
        )
        .await?;
        let token = plane.token(&namespace, ACCOUNT, Duration::from_hours(1)).await?;
        let proxy = FaultProxy::start(plane).await?;
        Ok(Self {
            kubeconfig: proxy.kubeconfig(plane, &token)?,
            proxy,
            namespace,
            operator: None,
            client,
        })
    }

    /// Everything, with an operator that is ready.
    pub async fn start(plane: &ControlPlane, name: &str) -> Result<Self> {
        let mut stage = Self::set(plane, name).await?;
        stage.start_operator(plane).await?;
        stage.operator()?.wait_until_ready().await?;
        Ok(stage)
    }

    /// Starts an operator, which may not be ready yet.
    pub async fn start_operator(&mut self, plane: &ControlPlane) -> Result<()> {
        let flags = ["--namespace", self.namespace.as_str(), "--log-level", "debug"];
        self.operator = Some(Operator::start(plane, self.kubeconfig.path(), &flags).await?);
        Ok(())
    }

    /// Takes the operator's role away, and gives it only these rights; returns when it no longer has the one that it loses.
    pub async fn restrict(&self, keeps: &[Right], loses: Right) -> Result<()> {
        let rule = |right: &Right| {
            let (group, resource, verb) = right;
            json!({"apiGroups": [group], "resources": [resource], "verbs": [verb]})
        };
        let rules: Vec<Value> = keeps.iter().map(rule).collect();
        apply::<Role>(&self.client, &self.namespace, RESTRICTED, json!({"rules": rules})).await?;
        bind(&self.client, &self.namespace, RESTRICTED, ("Role", RESTRICTED)).await?;
        let bindings: Api<RoleBinding> = Api::namespaced(self.client.clone(), &self.namespace);
        bindings.delete(BOUND, &DeleteParams::default()).await?;
        // The API server's authorizer follows a watch of its own.
        while self.may(loses).await? {
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    /// Whether the operator has a right.
    async fn may(&self, (group, resource, verb): Right) -> Result<bool> {
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        let review = json!({"metadata": {}, "spec": {
            "user": format!("system:serviceaccount:{}:{ACCOUNT}", self.namespace),
            "resourceAttributes": {
                "namespace": self.namespace,
                "group": group,
                "resource": resource,
                "subresource": subresource,
                "verb": verb,
            },
        }});
        let reviews: Api<SubjectAccessReview> = Api::all(self.client.clone());
        let review = serde_json::from_value(review)?;
        let review = reviews.create(&PostParams::default(), &review).await?;
        Ok(review.status.is_some_and(|status| status.allowed))
    }

    /// Gives the operator its whole role.
    pub async fn permit(&self) -> Result<()> {
        let role = ("ClusterRole", operator::SERVICE_ACCOUNT);
        bind(&self.client, &self.namespace, BOUND, role).await
    }

    /// Makes a policy in the namespace, or changes it.
    pub async fn policy(&self, name: &str, spec: Value) -> Result<()> {
        apply::<SidecarPolicy>(&self.client, &self.namespace, name, json!({"spec": spec})).await
    }

    /// The operator.
    pub fn operator(&mut self) -> Result<&mut Operator> {
        self.operator.as_mut().context("no operator runs")
    }

    /// Kills the operator (SIGKILL).
    pub fn kill_operator(&mut self) -> Result<()> {
        self.take_operator()?.process().kill().map(drop)
    }

    /// Takes the operator out, for a test that ends it in its own way.
    pub fn take_operator(&mut self) -> Result<Operator> {
        self.operator.take().context("no operator runs")
    }

    /// Where everything is.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// An administrator's client.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// What there is now; see [`Snapshot::new`].
    pub async fn snapshot(&self, epoch: impl Fn(&str, bool) -> Timestamp) -> Result<Snapshot> {
        let operator = self.operator.as_ref().context("no operator runs")?;
        let metrics = operator.metrics().await?;
        let all = ListParams::default();
        let events = Api::<Event>::namespaced(self.client.clone(), &self.namespace);
        let resource = ApiResource::erase::<SidecarPolicy>(&());
        let policies: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), &self.namespace, &resource);
        let sources = Sources {
            namespace: &self.namespace,
            metrics: &metrics,
            events: &events.list(&all).await?.items,
            policies: &policies.list(&all).await?.items,
        };
        Snapshot::new(&sources, epoch)
    }

    /// Waits until nothing that is wanted differs from an undisturbed run any more; the error says what does.
    pub async fn converge(
        &self,
        undisturbed: &Snapshot,
        wanted: impl Fn(&str) -> bool,
        epoch: impl Fn(&str, bool) -> Timestamp,
        tolerance: Tolerance,
        timeout: Duration,
    ) -> Result<()> {
        let deadline = Instant::now() + timeout;
        let undisturbed = undisturbed.only(&wanted);
        loop {
            let differences = match self.snapshot(&epoch).await {
                Ok(snapshot) => snapshot
                    .only(&wanted)
                    .differences(&undisturbed, tolerance)
                    .to_string(),
                // The API server may be on its way back.
                Err(error) => format!("{error:#}"),
            };
            if differences.is_empty() {
                return Ok(());
            }
            if Instant::now() > deadline {
                let log = self.operator.as_ref().map(Operator::log).transpose()?;
                let log = log.unwrap_or_default();
                let tail: Vec<&str> = log.lines().rev().take(40).collect();
                let tail = tail
                    .into_iter()
                    .rev()
                    .fold(String::new(), |text, line| text + line + "\n");
                bail!(
                    "after {timeout:?} it differs from an undisturbed run:\n{differences}\nits log ends with:\n{tail}"
                );
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

/// Binds a role, given by kind and name, to the operator's account in a namespace.
async fn bind(client: &Client, namespace: &str, name: &str, (kind, role): (&str, &str)) -> Result<()> {
    let binding = json!({
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role},
        "subjects": [{"kind": "ServiceAccount", "name": ACCOUNT, "namespace": namespace}],
    });
    apply::<RoleBinding>(client, namespace, name, binding).await
}

/// Server-side apply of an object, given by all but its kind and name.
async fn apply<K>(client: &Client, namespace: &str, name: &str, content: Value) -> Result<()>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    let mut object = json!({
        "apiVersion": K::api_version(&()),
        "kind": K::kind(&()),
        "metadata": {"name": name},
    });
    if let (Some(object), Value::Object(content)) = (object.as_object_mut(), content) {
        object.extend(content);
    }
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    let params = PatchParams::apply("e2e").force();
    api.patch(name, &params, &Patch::Apply(object))
        .await
        .with_context(|| format!("apply {} {namespace}/{name}", K::kind(&())))?;
    Ok(())
}
