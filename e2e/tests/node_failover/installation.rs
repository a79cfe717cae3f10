//! A node with two replicas of the operator and Prometheus, and what the tests do with them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::Cluster;
use e2e::node::Node;
use e2e::node_failover::firing::{Firing, firing};
use e2e::observers::{Observers, Timing};
use e2e::operator::Installed;
use e2e::operator::helm::NAMESPACE;
use e2e::poll::eventually;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::events::v1::Event;
use kube::api::{DeleteParams, ListParams};
use kube::{Api, Client};

/// First argument of the operator's process.
const PROGRAM: &str = "/sidewatch";
const SELECTOR: &str = "reportingController=sidewatch.dev/operator";
/// Longest time from the end of a leader to the next one, on a busy node.
const TAKEOVER_WITHIN: Duration = Duration::from_secs(20);

/// A node with the operator and Prometheus.
pub(crate) struct Installation {
    pub(crate) node: Node,
    pub(crate) cluster: Cluster,
    pub(crate) client: Client,
    pub(crate) installed: Installed,
    pub(crate) observers: Observers,
}

impl Installation {
    pub(crate) async fn start() -> Result<Self> {
        let node = Node::start().await?;
        let cluster = node.plane.cluster().clone();
        let installed = Installed::with_replicas(&cluster, 2).await?;
        let observers = Observers::start(&node, Timing::Fast).await?;
        Ok(Self {
            client: cluster.client().await?,
            node,
            cluster,
            installed,
            observers,
        })
    }

    /// Runs a command line of kubectl in a namespace, see [`Cluster::kubectl_line`].
    pub(crate) async fn kubectl(&self, namespace: &str, line: &str) -> Result<String> {
        let line = format!("--namespace {namespace} {line}");
        self.cluster.kubectl_line(&line).await
    }

    /// Creates a namespace with these objects.
    pub(crate) async fn create(&self, namespace: &str, objects: &str) -> Result<()> {
        self.cluster.create_namespace(namespace).await?;
        self.cluster.apply_in(namespace, objects).await
    }

    /// Deletes a namespace and waits until its Pods are gone.
    pub(crate) async fn remove(&self, namespace: &str) -> Result<()> {
        let delete = format!("delete namespace {namespace} --timeout=3m");
        self.cluster.kubectl_line(&delete).await.map(drop)
    }

    /// The Events of the operator in a namespace.
    pub(crate) async fn events(&self, namespace: &str) -> Result<Vec<Event>> {
        let events = Api::<Event>::namespaced(self.client.clone(), namespace);
        Ok(events.list(&ListParams::default().fields(SELECTOR)).await?.items)
    }

    /// The process that holds the Lease.
    pub(crate) async fn holder(&self) -> Result<String> {
        self.installed.lease_holder().await?.context("no leader")
    }

    /// Name of the Pod of the leader.
    pub(crate) async fn leader(&self) -> Result<String> {
        let holder = self.holder().await?;
        let (pod, _) = holder
            .rsplit_once('_')
            .context("the holder does not name a Pod")?;
        Ok(pod.to_owned())
    }

    /// Name of the Pod of the standby.
    pub(crate) async fn standby(&self) -> Result<String> {
        let leader = self.leader().await?;
        let pods = self.installed.pods().await?;
        ensure!(pods.len() == 2, "the operator has the Pods {pods:?}");
        let standby = pods.into_iter().find(|pod| *pod != leader);
        standby.context("the leader has both Pods")
    }

    /// Kills the process of the operator in a Pod.
    pub(crate) async fn kill(&self, pod: &str) -> Result<()> {
        self.node.kill_program(NAMESPACE, pod, PROGRAM).await
    }

    /// Deletes a Pod of the operator, without waiting.
    pub(crate) async fn delete(&self, pod: &str) -> Result<()> {
        let pods = Api::<Pod>::namespaced(self.client.clone(), NAMESPACE);
        pods.delete(pod, &DeleteParams::default()).await?;
        Ok(())
    }

    /// Waits until another process than `before` holds the Lease. Returns the time that this took.
    pub(crate) async fn taken_over(&self, before: &str) -> Result<Duration> {
        let start = Instant::now();
        eventually(TAKEOVER_WITHIN, async || {
            let holder = self.holder().await?;
            ensure!(holder != before, "{holder} holds the Lease");
            Ok(())
        })
        .await?;
        Ok(start.elapsed())
    }

    /// The firing violations of a namespace that one Pod of an operator reports.
    pub(crate) async fn firing(&self, operator: (&str, &str), namespace: &str) -> Result<Firing> {
        let (operator_namespace, pod) = operator;
        let path = format!("/api/v1/namespaces/{operator_namespace}/pods/{pod}:8080/proxy/metrics");
        let request = http::Request::get(path).body(Vec::new())?;
        firing(&self.client.request_text(request).await?, namespace)
    }

    /// The firing violations of a namespace that each replica reports, by the name of its Pod.
    pub(crate) async fn firing_by_replica(&self, namespace: &str) -> Result<BTreeMap<String, Firing>> {
        let mut all = BTreeMap::new();
        for pod in self.installed.pods().await? {
            let firing = self.firing((NAMESPACE, &pod), namespace).await?;
            all.insert(pod, firing);
        }
        Ok(all)
    }

    /// Errors in the logs of the current processes.
    pub(crate) async fn logged_errors(&self) -> Result<Vec<String>> {
        let mut errors = Vec::new();
        for pod in self.installed.pods().await? {
            let log = self.kubectl(NAMESPACE, &format!("logs {pod}")).await?;
            let lines = log.lines().filter(|line| line.contains("\"level\":\"ERROR\""));
            errors.extend(lines.map(|line| format!("{pod}: {line}")));
        }
        Ok(errors)
    }
}

/// What an Event reports: reason, Pod, container and policy.
pub(crate) fn subject(event: &Event) -> String {
    let regarding = event.regarding.clone().unwrap_or_default();
    let container = regarding.field_path.unwrap_or_default();
    format!(
        "{} {} {} {}",
        event.reason.as_deref().unwrap_or_default(),
        regarding.name.unwrap_or_default(),
        container.split(['{', '}']).nth(1).unwrap_or_default(),
        event.related.clone().unwrap_or_default().name.unwrap_or_default(),
    )
}

/// Each Event that was written more than once, or that reports the same as another one.
pub(crate) fn repeated(events: &[Event]) -> Vec<String> {
    let mut by_subject: BTreeMap<String, usize> = BTreeMap::new();
    for event in events {
        let times = event.series.as_ref().map_or(1, |series| series.count);
        *by_subject.entry(subject(event)).or_default() += usize::try_from(times).unwrap_or_default();
    }
    let repeated = by_subject.into_iter().filter(|(_, times)| *times > 1);
    repeated
        .map(|(subject, times)| format!("announced {times} times: {subject}"))
        .collect()
}
