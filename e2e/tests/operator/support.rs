//! What the tests share: one cluster with one operator, a namespace each, and ways to look at what it left.

use std::future::Future;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use e2e::operator::Operator;
use e2e::simulated_kubelet::{Container, PodSpec, SimulatedKubelet};
use e2e::{ControlPlane, TokenKubeconfig};
use k8s_openapi::api::events::v1::Event;
use kube::Api;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, ListParams};
use serde_json::Value;
use tokio::sync::OnceCell;

/// Far more than anything here takes, on a machine that does much else.
pub(crate) const SOON: Duration = Duration::from_mins(1);
const POLL: Duration = Duration::from_millis(50);

/// The operator that all tests share, on the cluster that they share.
pub(crate) struct World {
    pub(crate) plane: &'static ControlPlane,
    pub(crate) operator: Operator,
    _kubeconfig: TokenKubeconfig,
}

pub(crate) async fn world() -> &'static World {
    static WORLD: OnceCell<World> = OnceCell::const_new();
    let world = WORLD.get_or_try_init(|| async {
        let plane = e2e::shared().await?;
        let (operator, kubeconfig) = Operator::install(plane).await?;
        anyhow::Ok(World {
            plane,
            operator,
            _kubeconfig: kubeconfig,
        })
    });
    world.await.unwrap()
}

/// A namespace of a test, and what happens in it.
pub(crate) struct TestNamespace {
    pub(crate) plane: &'static ControlPlane,
    pub(crate) namespace: String,
    pub(crate) kubelet: SimulatedKubelet,
}

impl TestNamespace {
    pub(crate) async fn new(plane: &'static ControlPlane, prefix: &str) -> Self {
        let namespace = plane.namespace(prefix).await.unwrap();
        let kubelet = SimulatedKubelet::new(plane.client().await.unwrap());
        Self {
            plane,
            namespace,
            kubelet,
        }
    }

    /// Applies a `SidecarPolicy` of this spec (YAML in flow style).
    pub(crate) async fn policy(&self, name: &str, spec: &str) {
        let manifest = format!(
            "apiVersion: sidewatch.dev/v1alpha1\nkind: SidecarPolicy\nmetadata: {{name: {name}}}\nspec: {spec}\n"
        );
        self.plane.apply_in(&self.namespace, &manifest).await.unwrap();
    }

    /// The status of a policy, `null` before the first.
    pub(crate) async fn status(&self, policy: &str) -> Value {
        status(self.plane, Some(&self.namespace), policy).await
    }

    /// Waits until the status of a policy is as told, and returns it.
    pub(crate) async fn status_when(&self, policy: &str, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        eventually(what, || async {
            let status = self.status(policy).await;
            if is(&status) {
                Ok(status)
            } else {
                Err(status.to_string())
            }
        })
        .await
    }

    /// The Events in this namespace.
    pub(crate) async fn events(&self) -> Vec<Event> {
        let events: Api<Event> = Api::namespaced(self.plane.client().await.unwrap(), &self.namespace);
        events.list(&ListParams::default()).await.unwrap().items
    }

    /// Their reasons, sorted.
    pub(crate) async fn reasons(&self) -> Vec<String> {
        let mut reasons: Vec<String> = self
            .events()
            .await
            .into_iter()
            .filter_map(|event| event.reason)
            .collect();
        reasons.sort();
        reasons
    }

    /// Waits for an Event of this reason, and returns it.
    pub(crate) async fn event(&self, reason: &str) -> Event {
        eventually(&format!("an Event {reason}"), || async {
            let events = self.events().await;
            let seen = format!(
                "{:?}",
                events.iter().map(|e| (&e.reason, &e.note)).collect::<Vec<_>>()
            );
            events
                .into_iter()
                .find(|event| event.reason.as_deref() == Some(reason))
                .ok_or(seen)
        })
        .await
    }
}

/// The status of a policy of either kind, `null` before the first.
pub(crate) async fn status(plane: &ControlPlane, namespace: Option<&str>, name: &str) -> Value {
    let kind = if namespace.is_some() {
        "SidecarPolicy"
    } else {
        "ClusterSidecarPolicy"
    };
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("sidewatch.dev", "v1alpha1", kind));
    let client = plane.client().await.unwrap();
    let api: Api<DynamicObject> = match namespace {
        Some(namespace) => Api::namespaced_with(client, namespace, &resource),
        None => Api::all_with(client, &resource),
    };
    api.get(name)
        .await
        .unwrap()
        .data
        .get("status")
        .cloned()
        .unwrap_or_default()
}

/// The status of a condition: `True`, `False`, `Unknown`, with its reason.
pub(crate) fn condition<'a>(status: &'a Value, kind: &str) -> Option<(&'a str, &'a str)> {
    let condition = status["conditions"]
        .as_array()?
        .iter()
        .find(|condition| condition["type"] == kind)?;
    Some((condition["status"].as_str()?, condition["reason"].as_str()?))
}

/// The lines of a metric that carry all of these labels.
pub(crate) async fn series(operator: &Operator, metric: &str, labels: &[(&str, &str)]) -> Vec<String> {
    let metrics = operator.metrics().await.unwrap();
    let has = |line: &str| {
        labels
            .iter()
            .all(|(name, value)| line.contains(&format!("{name}=\"{value}\"")))
    };
    let of = |line: &&str| line.starts_with(&format!("{metric}{{")) && has(line);
    metrics.lines().filter(of).map(str::to_owned).collect()
}

/// Waits until `look` finds what it looks for; fails with what it saw last.
pub(crate) async fn eventually<T, F: Future<Output = Result<T, String>>>(
    what: &str,
    look: impl Fn() -> F,
) -> T {
    let deadline = Instant::now() + SOON;
    loop {
        match look().await {
            Ok(found) => return found,
            Err(seen) if Instant::now() > deadline => panic!("waited in vain for {what}; last seen: {seen}"),
            Err(_) => tokio::time::sleep(POLL).await,
        }
    }
}

/// A Pod `web-1-x` of the Deployment `web`, with a native sidecar and a main, both probed.
pub(crate) fn web() -> PodSpec {
    PodSpec::new("web-1-x")
        .owned_by("apps/v1", "ReplicaSet", "web-1")
        .label("pod-template-hash", "1")
        .label("app", "web")
        .container(Container::native("istio-proxy").readiness_probe())
        .container(Container::regular("app").readiness_probe())
}

/// Reads a time of the API.
pub(crate) fn time(value: &Value) -> Result<jiff::Timestamp> {
    value.as_str().context("a time")?.parse().context("a time")
}
