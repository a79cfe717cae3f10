//! An operator that is connected to the scripted server.

use std::sync::Arc;

use http::{Method, StatusCode};
use serde_json::{Value, json};
use sidewatch::{
    clock::Clock,
    domain::index::series::SeriesLimits,
    domain::policy::PolicyLimits,
    http::health::Health,
    http::metrics::MetricsPages,
    http::server::Pages,
    kubernetes::client::Clients,
    kubernetes::inputs::WatchScope,
    kubernetes::installation::Installation,
    operator::{Operator, TaskEnded, checkpoint::CheckpointLocation, leadership::Candidate},
};
use tokio::{sync::oneshot, task::JoinHandle};

use super::{ApiServer, Route, WatchStream, list, soon, until, virtual_clock};

/// The path of the Pods that a cluster-wide installation watches.
pub const PODS: &str = "/api/v1/pods";
/// The path of the namespaces.
pub const NAMESPACES: &str = "/api/v1/namespaces";
/// The path of the SidecarPolicies.
pub const POLICIES: &str = "/apis/sidewatch.dev/v1alpha1/sidecarpolicies";
/// The path of the ClusterSidecarPolicies.
pub const CLUSTER_POLICIES: &str = "/apis/sidewatch.dev/v1alpha1/clustersidecarpolicies";
/// The path of the SidecarExemptions.
pub const EXEMPTIONS: &str = "/apis/sidewatch.dev/v1alpha1/sidecarexemptions";
/// The resources that a cluster-wide installation reads: path, kind, resource.
pub const READ: [(&str, &str, &str); 5] = [
    (PODS, "Pod", "pods"),
    (NAMESPACES, "Namespace", "namespaces"),
    (POLICIES, "SidecarPolicy", "sidecarpolicies"),
    (CLUSTER_POLICIES, "ClusterSidecarPolicy", "clustersidecarpolicies"),
    (EXEMPTIONS, "SidecarExemption", "sidecarexemptions"),
];
/// The path of the Events in the namespace `pay`.
pub const EVENTS: &str = "/apis/events.k8s.io/v1/namespaces/pay/events";
/// The path of the status of the policy `pay/mesh`.
pub const MESH_STATUS: &str = "/apis/sidewatch.dev/v1alpha1/namespaces/pay/sidecarpolicies/mesh/status";

/// Returns the path of the objects in the namespace `pay`, from that of the objects in all namespaces.
pub fn in_pay(path: &str) -> String {
    let (group, resource) = path.rsplit_once('/').unwrap();
    format!("{group}/namespaces/pay/{resource}")
}

/// A server that answers reads of every resource except this one.
pub fn server_without(path: &str) -> (ApiServer, Route) {
    let server = ApiServer::default();
    for (other, kind, _) in READ.into_iter().filter(|(other, ..)| *other != path) {
        server.serve_quietly(other, list(kind, "1", &[]));
    }
    let route = server.route(Method::GET, path);
    (server, route)
}

/// A running operator. Drop aborts it.
pub struct Running {
    health: Arc<Health>,
    metrics: Arc<MetricsPages>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<Result<(), TaskEnded>>,
}

/// Starts an operator on [`virtual_clock`] for these namespaces, or for the whole cluster if there are none.
pub fn start(server: &ApiServer, namespaces: &[&str]) -> Running {
    start_at(server.clients(), namespaces, virtual_clock())
}

/// Starts an operator with these clients and this clock.
pub fn start_at(clients: Clients, namespaces: &[&str], clock: Arc<dyn Clock>) -> Running {
    start_as(None, clients, namespaces, clock)
}

/// Starts an operator as a candidate of the leader election, or without election.
pub fn start_as(
    candidate: Option<&Candidate>,
    clients: Clients,
    namespaces: &[&str],
    clock: Arc<dyn Clock>,
) -> Running {
    run(operator(candidate, clients, namespaces, clock))
}

/// Starts an operator that stores a checkpoint, as a candidate of the leader election or without election.
pub fn start_stored(
    clients: Clients,
    candidate: Option<&Candidate>,
    location: &CheckpointLocation,
    clock: Arc<dyn Clock>,
) -> Running {
    run(operator(candidate, clients, &[], clock).with_checkpoint(location))
}

fn operator(
    candidate: Option<&Candidate>,
    clients: Clients,
    namespaces: &[&str],
    clock: Arc<dyn Clock>,
) -> Operator {
    let namespaces = namespaces.iter().map(|name| Arc::from(*name)).collect();
    Operator::new(
        clients,
        &WatchScope { namespaces },
        PolicyLimits::default(),
        SeriesLimits::default(),
        clock,
        Installation::on_host("test"),
        candidate,
    )
    .unwrap()
}

fn run(operator: Operator) -> Running {
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
                .await
        }),
    }
}

impl Running {
    /// Returns the status code and the body of `/readyz`.
    pub fn readyz(&self) -> (u16, String) {
        let page = self.health.page("/readyz").unwrap();
        (page.status.as_u16(), page.body.to_text())
    }

    /// Waits until the operator is ready.
    pub async fn ready(&self) {
        until("the operator is ready", || self.readyz().0 == 200).await;
    }

    /// Returns the metrics page.
    pub fn pages(&self) -> Arc<dyn Pages> {
        Arc::clone(&self.metrics) as _
    }

    /// Returns the series of a metric, as lines of the text format.
    pub fn series(&self, metric: &str) -> Vec<String> {
        let text = self.metrics.text().unwrap();
        let has_name = |line: &&str| {
            line.strip_prefix(metric)
                .is_some_and(|rest| rest.starts_with(['{', ' ']))
        };
        text.lines().filter(has_name).map(str::to_owned).collect()
    }

    /// Returns the value of a series. The argument has the text format, with the labels in order.
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

    /// Stops the operator as SIGTERM does, and waits for its end.
    pub async fn stop(mut self) {
        if let Some(stop) = self.stop.take() {
            let _gone = stop.send(());
        }
        soon("the operator stops", &mut self.task).await.unwrap().unwrap();
    }

    /// Waits until the operator ends because of an error, and returns the error.
    pub async fn failed(mut self) -> TaskEnded {
        soon("the operator fails", &mut self.task)
            .await
            .unwrap()
            .unwrap_err()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// An operator for the whole cluster. Its server answers all requests except writes and requests for Pods, which the
/// test answers.
pub struct Setup {
    /// The server.
    pub server: ApiServer,
    /// Lists and watches of Pods.
    pub pods: Route,
    /// Requests that create Events in the namespace `pay`.
    pub events: Route,
    /// Applies of the status of the policy `pay/mesh`.
    pub statuses: Route,
    /// The operator.
    pub operator: Running,
}

impl Setup {
    /// Starts the operator in a cluster with these SidecarPolicies.
    pub fn start(policies: &[Value]) -> Self {
        let server = ApiServer::default();
        server.serve_all_but_pods(policies);
        Self {
            pods: server.route(Method::GET, PODS),
            events: server.route(Method::POST, EVENTS),
            statuses: server.route(Method::PATCH, MESH_STATUS),
            operator: start(&server, &[]),
            server,
        }
    }

    /// Answers the next list of Pods with these Pods at version 5, and accepts the next watch.
    pub async fn list_pods(&self, pods: &[Value]) -> WatchStream {
        let list = list("Pod", "5", pods);
        self.pods.next().await.json(StatusCode::OK, &list);
        self.pods.next().await.watch()
    }
}

impl ApiServer {
    /// Answers all lists and watches except those of Pods, with the namespace `pay` and these SidecarPolicies.
    pub fn serve_all_but_pods(&self, policies: &[Value]) {
        let pay = json!({"metadata": {"name": "pay", "uid": "uid-pay", "resourceVersion": "1"}});
        self.serve_quietly(NAMESPACES, list("Namespace", "1", &[pay]));
        self.serve_quietly(CLUSTER_POLICIES, list("ClusterSidecarPolicy", "1", &[]));
        self.serve_quietly(EXEMPTIONS, list("SidecarExemption", "1", &[]));
        self.serve_quietly(POLICIES, list("SidecarPolicy", "1", policies));
    }
}
