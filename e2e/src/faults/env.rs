//! A namespace on a shared control plane with its own operator behind a fault proxy.
//!
//! The operator is a namespaced installation with the role in `config/rbac`. A [`Snapshot`] contains what it reports.

use std::fmt::{self, Debug};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::api::{ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use kube::core::NamespaceResourceScope;
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sidewatch::api::SidecarPolicy;

use super::proxy::FaultProxy;
use super::snapshot::{Snapshot, Sources, Tolerance};
use crate::cluster::{Permission, is_permitted};
use crate::operator::{self, Operator};
use crate::poll::eventually;
use crate::process::last_lines;
use crate::{ControlPlane, TokenKubeconfig};

/// ServiceAccount of the operator.
pub const ACCOUNT: &str = "operator";
/// Binding with all permissions of the operator.
const BOUND: &str = "operator";
/// Role and binding with fewer permissions.
const RESTRICTED: &str = "restricted";
/// Name of the Lease, the default of the operator.
pub const LEASE: &str = "sidewatch";
/// Role and binding with the permissions for the Lease.
const LEASE_ROLE: &str = "lease";
/// Source of the library that sets the wall clock of a process ahead.
const CLOCK_AHEAD: &str = include_str!("clock_ahead.c");
/// Longer than any run of [`soak`](crate::soak).
const TOKEN_LASTS: Duration = Duration::from_hours(48);
const REVOKED_WITHIN: Duration = Duration::from_mins(1);

/// A namespace with an operator. Dropping the handle kills the operator.
#[must_use]
pub struct FaultEnv {
    /// The proxy between the operator and the API server.
    pub proxy: FaultProxy,
    /// Kubeconfig of the operator.
    pub kubeconfig: TokenKubeconfig,
    namespace: String,
    /// Flags of the operator.
    flags: Vec<String>,
    /// Environment variables of the operator.
    variables: Vec<(&'static str, String)>,
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
    /// Creates namespace, ServiceAccount and proxy, without an operator. The CRDs and the role must be installed.
    pub async fn new(plane: &ControlPlane, name: &str) -> Result<Self> {
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
        let flags = ["--namespace", &namespace, "--log-level", "debug"].map(str::to_owned);
        Self::with_flags(plane, namespace.clone(), client, flags.to_vec()).await
    }

    async fn with_flags(
        plane: &ControlPlane,
        namespace: String,
        client: Client,
        flags: Vec<String>,
    ) -> Result<Self> {
        let token = plane.token(&namespace, ACCOUNT, TOKEN_LASTS).await?;
        let proxy = FaultProxy::start(plane).await?;
        Ok(Self {
            kubeconfig: proxy.kubeconfig(plane, &token)?,
            proxy,
            namespace,
            flags,
            variables: Vec::new(),
            operator: None,
            client,
        })
    }

    /// Makes the next operator take part in a leader election and write a checkpoint, with permissions for exactly one
    /// Lease and one ConfigMap, as the chart gives them.
    pub async fn elect(&mut self) -> Result<()> {
        let verbs = ["create", "get", "watch", "patch"];
        let rules = json!([
            {
                "apiGroups": ["coordination.k8s.io"], "resources": ["leases"],
                "resourceNames": [LEASE], "verbs": verbs,
            },
            {
                "apiGroups": [""], "resources": ["configmaps"],
                "resourceNames": [format!("{LEASE}-checkpoint")], "verbs": verbs,
            },
        ]);
        apply::<Role>(&self.client, &self.namespace, LEASE_ROLE, json!({"rules": rules})).await?;
        bind(&self.client, &self.namespace, LEASE_ROLE, ("Role", LEASE_ROLE)).await?;
        let namespace = self.namespace.as_str();
        self.flags
            .extend(["--leader-elect", "--operator-namespace", namespace].map(str::to_owned));
        Ok(())
    }

    /// Creates another replica in the same namespace, with a proxy of its own and without an operator.
    pub async fn replica(&self, plane: &ControlPlane) -> Result<Self> {
        Self::with_flags(plane, self.namespace.clone(), self.client(), self.flags.clone()).await
    }

    /// Creates the environment and waits until its operator is ready.
    pub async fn start(plane: &ControlPlane, name: &str) -> Result<Self> {
        let mut env = Self::new(plane, name).await?;
        env.start_operator(plane).await?;
        env.operator()?.wait_until_ready().await?;
        Ok(env)
    }

    /// Starts an operator, without waiting until it is ready.
    pub async fn start_operator(&mut self, plane: &ControlPlane) -> Result<()> {
        let flags: Vec<&str> = self.flags.iter().map(String::as_str).collect();
        let variables = self.variables.iter().map(|(name, value)| (*name, value.as_str()));
        let variables: Vec<_> = variables.collect();
        let kubeconfig = self.kubeconfig.path();
        self.operator = Some(Operator::start_with_env(plane, kubeconfig, &flags, &variables).await?);
        Ok(())
    }

    /// Sets the wall clock of the next operator five minutes ahead, with a preloaded library. Needs a C compiler.
    pub fn set_clock_ahead(&mut self, plane: &ControlPlane) -> Result<()> {
        let library = plane.dir().join(format!("{}.so", plane.unique("clock-ahead")));
        let source = library.with_extension("c");
        std::fs::write(&source, CLOCK_AHEAD)?;
        let built = Command::new("cc")
            .args(["-shared", "-fPIC", "-o"])
            .args([&library, &source])
            .arg("-ldl")
            .status()
            .context("run cc")?;
        ensure!(built.success(), "cc: {built}");
        let library = library.to_str().context("path of the library")?;
        self.variables.push(("LD_PRELOAD", library.to_owned()));
        Ok(())
    }

    /// Replaces the role of the operator with these permissions, and waits until `revoked` is gone.
    pub async fn restrict(&self, keep: &[Permission], revoked: Permission) -> Result<()> {
        let rule = |permission: &Permission| {
            let (group, resource, verb) = permission;
            json!({"apiGroups": [group], "resources": [resource], "verbs": [verb]})
        };
        let rules: Vec<Value> = keep.iter().map(rule).collect();
        apply::<Role>(&self.client, &self.namespace, RESTRICTED, json!({"rules": rules})).await?;
        bind(&self.client, &self.namespace, RESTRICTED, ("Role", RESTRICTED)).await?;
        let bindings: Api<RoleBinding> = Api::namespaced(self.client.clone(), &self.namespace);
        bindings.delete(BOUND, &DeleteParams::default()).await?;
        // The authorizer of the API server follows by a watch.
        let user = format!("system:serviceaccount:{}:{ACCOUNT}", self.namespace);
        eventually(REVOKED_WITHIN, async || {
            let is_permitted = is_permitted(&self.client, &user, Some(&self.namespace), revoked).await?;
            ensure!(!is_permitted, "{revoked:?} is still permitted");
            Ok(())
        })
        .await
    }

    /// Restores the role of the operator.
    pub async fn permit(&self) -> Result<()> {
        let role = ("ClusterRole", operator::SERVICE_ACCOUNT);
        bind(&self.client, &self.namespace, BOUND, role).await
    }

    /// Applies a policy.
    pub async fn policy(&self, name: &str, spec: Value) -> Result<()> {
        apply::<SidecarPolicy>(&self.client, &self.namespace, name, json!({"spec": spec})).await
    }

    /// Process id of the operator, if one runs.
    pub fn pid(&self) -> Option<u32> {
        self.operator.as_ref().map(Operator::id)
    }

    /// The operator.
    pub fn operator(&mut self) -> Result<&mut Operator> {
        self.operator.as_mut().context("no operator runs")
    }

    /// The text of `/metrics` of the operator.
    pub async fn metrics(&self) -> Result<String> {
        let operator = self.operator.as_ref().context("no operator runs")?;
        operator.metrics().await
    }

    /// Kills the operator (SIGKILL).
    pub fn kill_operator(&mut self) -> Result<()> {
        self.take_operator()?.process().kill().map(drop)
    }

    /// Removes the operator from the environment, for a test that stops it.
    pub fn take_operator(&mut self) -> Result<Operator> {
        self.operator.take().context("no operator runs")
    }

    /// The namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// A client of the administrator.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// The current snapshot; see [`Snapshot::new`].
    pub async fn snapshot(&self, epoch: impl Fn(&str, bool) -> Timestamp) -> Result<Snapshot> {
        let metrics = self.metrics().await?;
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

    /// Waits until no wanted fact differs from an undisturbed run.
    pub async fn converge(
        &self,
        undisturbed: &Snapshot,
        wanted: impl Fn(&str) -> bool,
        epoch: impl Fn(&str, bool) -> Timestamp,
        tolerance: Tolerance,
        timeout: Duration,
    ) -> Result<()> {
        let undisturbed = undisturbed.only(&wanted);
        let converged = eventually(timeout, async || {
            // The API server may be unavailable.
            let snapshot = self.snapshot(&epoch).await?.only(&wanted);
            let differences = snapshot.differences(&undisturbed, tolerance);
            ensure!(
                differences.is_empty(),
                "differs from an undisturbed run:\n{differences}"
            );
            Ok(())
        });
        converged.await.with_context(|| {
            let log = self.operator.as_ref().map(Operator::log);
            let log = log.transpose().ok().flatten().unwrap_or_default();
            format!("the log ends with:\n{}\n", last_lines(&log, 40))
        })
    }
}

/// Binds a role, given by kind and name, to the ServiceAccount of the operator.
async fn bind(client: &Client, namespace: &str, name: &str, (kind, role): (&str, &str)) -> Result<()> {
    let binding = json!({
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role},
        "subjects": [{"kind": "ServiceAccount", "name": ACCOUNT, "namespace": namespace}],
    });
    apply::<RoleBinding>(client, namespace, name, binding).await
}

/// Applies an object, given by its content without kind and name.
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
