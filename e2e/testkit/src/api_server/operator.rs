//! A whole operator against the scripted server.

use std::sync::Arc;

use http::Method;
use sidewatch::{
    clock::{Clock, SystemClock},
    http::health::Health,
    http::metrics::MetricsPages,
    http::server::Pages,
    kubernetes::client::Clients,
    kubernetes::inputs::WatchScope,
    operator::Operator,
};
use tokio::{sync::oneshot, task::JoinHandle};

use super::{Server, list, soon, until};

/// The paths of what a cluster-wide installation watches.
pub const PODS: &str = "/api/v1/pods";
/// See [`PODS`].
pub const NAMESPACES: &str = "/api/v1/namespaces";
/// See [`PODS`].
pub const POLICIES: &str = "/apis/sidewatch.dev/v1alpha1/sidecarpolicies";
/// See [`PODS`].
pub const CLUSTER_POLICIES: &str = "/apis/sidewatch.dev/v1alpha1/clustersidecarpolicies";
/// Where Events of the namespace `pay` go.
pub const EVENTS: &str = "/apis/events.k8s.io/v1/namespaces/pay/events";
/// Where the status of the policy `pay/mesh` goes.
pub const MESH_STATUS: &str = "/apis/sidewatch.dev/v1alpha1/namespaces/pay/sidecarpolicies/mesh/status";

/// Clients of the server.
pub fn clients(server: &Server) -> Clients {
    Clients::new(kube::Config::new(server.url().parse().unwrap())).unwrap()
}

/// An operator that runs.
pub struct Running {
    health: Arc<Health>,
    metrics: Arc<MetricsPages>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

/// Starts an operator for these namespaces, or the whole cluster.
pub fn start(server: &Server, namespaces: &[&str]) -> Running {
    start_at(server, namespaces, Arc::new(SystemClock::default()))
}

/// The same, on a clock of the test's own.
pub fn start_at(server: &Server, namespaces: &[&str], clock: Arc<dyn Clock>) -> Running {
    let namespaces = namespaces.iter().map(|name| Arc::from(*name)).collect();
    run(clients(server), &WatchScope { namespaces }, clock)
}

/// Starts an operator with these clients.
pub(super) fn run(clients: Clients, installation: &WatchScope, clock: Arc<dyn Clock>) -> Running {
    let operator = Operator::new(clients, installation, clock).unwrap();
    let (stop, stopped) = oneshot::channel();
    Running {
        health: operator.health(),
        metrics: operator.metrics(),
        stop: Some(stop),
        task: tokio::spawn(async move {
            operator
                .run(async {
                    let _stopped = stopped.await;
                })
                .await;
        }),
    }
}

impl Running {
    /// What `/readyz` says, and its status code.
    pub fn readyz(&self) -> (u16, String) {
        let page = self.health.page("/readyz").unwrap();
        (page.status.as_u16(), page.body.to_text())
    }

    /// Waits until it is ready.
    pub async fn ready(&self) {
        until("the operator is ready", || self.readyz().0 == 200).await;
    }

    /// The metrics page.
    pub fn pages(&self) -> Arc<dyn Pages> {
        Arc::clone(&self.metrics) as _
    }

    /// The lines of a metric.
    pub fn series(&self, metric: &str) -> Vec<String> {
        let text = self.metrics.text().unwrap();
        let is_meant = |line: &&str| {
            line.strip_prefix(metric)
                .is_some_and(|rest| rest.starts_with(['{', ' ']))
        };
        text.lines().filter(is_meant).map(str::to_owned).collect()
    }

    /// The value of a series, written as in the text format with its labels in order.
    pub fn metric(&self, series: &str) -> Option<f64> {
        let text = self.metrics.text().unwrap();
        let line = text.lines().find(|line| {
            line.strip_prefix(series)
                .is_some_and(|rest| rest.starts_with(' '))
        })?;
        line.rsplit(' ').next()?.parse().ok()
    }

    /// Waits until a series has a value.
    pub async fn until_metric(&self, series: &str, value: f64) {
        until(&format!("{series} {value}"), || {
            self.metric(series) == Some(value)
        })
        .await;
    }

    /// Tells it to stop, and waits until it has.
    pub async fn stop(mut self) {
        if let Some(stop) = self.stop.take() {
            let _gone = stop.send(());
        }
        soon("the operator stops", &mut self.task).await.unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Answers for everything but Pods: namespaces, no policies of the cluster kind, and these policies.
pub fn quiet_but_pods(server: &Server, policies: &[serde_json::Value]) {
    let pay = serde_json::json!({"metadata": {"name": "pay", "uid": "uid-pay", "resourceVersion": "1"}});
    server.serve_quietly(NAMESPACES, list("Namespace", "1", &[pay]));
    server.serve_quietly(CLUSTER_POLICIES, list("ClusterSidecarPolicy", "1", &[]));
    server.serve_quietly(POLICIES, list("SidecarPolicy", "1", policies));
}

/// The route of the Pods.
pub fn pods(server: &Server) -> super::Route {
    server.route(Method::GET, PODS)
}
