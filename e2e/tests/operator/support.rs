//! Setup of the tests: a shared cluster with one operator, a namespace for each test, and helpers to read the results.

use std::future::Future;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::metrics::samples;
use e2e::operator::Operator;
use e2e::poll;
use e2e::simulated_kubelet::{Container, PodSpec, SimulatedKubelet};
use e2e::{ControlPlane, TokenKubeconfig};
use k8s_openapi::api::events::v1::Event;
use kube::Api;
use kube::api::ListParams;
use serde_json::Value;
use tokio::sync::OnceCell;

/// Time limit on a busy machine.
pub(crate) const SOON: Duration = Duration::from_mins(1);

/// The shared cluster and its operator.
pub(crate) struct SharedCluster {
    pub(crate) plane: &'static ControlPlane,
    pub(crate) operator: Operator,
    _kubeconfig: TokenKubeconfig,
}

pub(crate) async fn shared_cluster() -> &'static SharedCluster {
    static SHARED: OnceCell<SharedCluster> = OnceCell::const_new();
    let cluster = SHARED.get_or_try_init(|| async {
        let plane = e2e::shared().await?;
        let (operator, kubeconfig) = Operator::install(plane).await?;
        anyhow::Ok(SharedCluster {
            plane,
            operator,
            _kubeconfig: kubeconfig,
        })
    });
    cluster.await.unwrap()
}

/// A namespace of a test, with a simulated kubelet.
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

    /// Applies a `SidecarPolicy` with this spec (YAML in flow style).
    pub(crate) async fn policy(&self, name: &str, spec: &str) {
        let manifest = format!(
            "apiVersion: sidewatch.dev/v1alpha1\nkind: SidecarPolicy\nmetadata: {{name: {name}}}\nspec: {spec}\n"
        );
        self.plane.apply_in(&self.namespace, &manifest).await.unwrap();
    }

    /// Status of a policy, or `null`.
    pub(crate) async fn status(&self, policy: &str) -> Value {
        status(self.plane, Some(&self.namespace), policy).await
    }

    /// Waits until the status of a policy satisfies `is`, and returns it.
    pub(crate) async fn status_when(&self, policy: &str, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        eventually(what, || async {
            let status = self.status(policy).await;
            ensure!(is(&status), "{status}");
            Ok(status)
        })
        .await
    }

    /// The Events in this namespace.
    pub(crate) async fn events(&self) -> Vec<Event> {
        let events: Api<Event> = Api::namespaced(self.plane.client().await.unwrap(), &self.namespace);
        events.list(&ListParams::default()).await.unwrap().items
    }

    /// Waits for an Event with this reason, and returns it.
    pub(crate) async fn event(&self, reason: &str) -> Event {
        eventually(&format!("an Event {reason}"), || async {
            let events = self.events().await;
            let seen = format!(
                "{:?}",
                events.iter().map(|e| (&e.reason, &e.note)).collect::<Vec<_>>()
            );
            let mut events = events.into_iter();
            let found = events.find(|event| event.reason.as_deref() == Some(reason));
            found.context(seen)
        })
        .await
    }
}

/// Status of a SidecarPolicy or, without a namespace, of a ClusterSidecarPolicy; `null` if it has none.
pub(crate) async fn status(plane: &ControlPlane, namespace: Option<&str>, name: &str) -> Value {
    let collection = match namespace {
        Some(namespace) => format!("namespaces/{namespace}/sidecarpolicies"),
        None => "clustersidecarpolicies".to_owned(),
    };
    let path = format!("/apis/sidewatch.dev/v1alpha1/{collection}/{name}");
    let request = http::Request::get(path).body(Vec::new()).unwrap();
    let mut policy: Value = plane.client().await.unwrap().request(request).await.unwrap();
    policy["status"].take()
}

/// Status and reason of a condition.
pub(crate) fn condition<'a>(status: &'a Value, kind: &str) -> Option<(&'a str, &'a str)> {
    let condition = status["conditions"]
        .as_array()?
        .iter()
        .find(|condition| condition["type"] == kind)?;
    Some((condition["status"].as_str()?, condition["reason"].as_str()?))
}

/// Samples of a metric with all these labels, as text.
pub(crate) async fn series(operator: &Operator, metric: &str, labels: &[(&str, &str)]) -> Vec<String> {
    let metrics = operator.metrics().await.unwrap();
    let mut samples = samples(&metrics).unwrap();
    samples.retain(|sample| sample.matches(metric, labels));
    let lines = samples.iter();
    lines
        .map(|sample| format!("{} {}", sample.series, sample.value))
        .collect()
}

/// Waits until no sample of a metric has all these labels.
pub(crate) async fn no_series(operator: &Operator, metric: &str, labels: &[(&str, &str)]) {
    eventually("the series to be removed", || async {
        let left = series(operator, metric, labels).await;
        ensure!(left.is_empty(), "{left:?}");
        Ok(())
    })
    .await;
}

/// Waits until `probe` succeeds, and fails with its last error.
pub(crate) async fn eventually<T, F>(what: &str, probe: impl FnMut() -> F) -> T
where
    F: Future<Output = Result<T>>,
{
    let result = poll::eventually(SOON, probe).await;
    result.unwrap_or_else(|error| panic!("waiting for {what}: {error:#}"))
}

/// A Pod `web-1-x` of the Deployment `web`, with a native sidecar and a main container, both with readiness probes.
pub(crate) fn web() -> PodSpec {
    PodSpec::new("web-1-x")
        .owned_by("apps/v1", "ReplicaSet", "web-1")
        .label("pod-template-hash", "1")
        .label("app", "web")
        .container(Container::native("istio-proxy").readiness_probe())
        .container(Container::regular("app").readiness_probe())
}
