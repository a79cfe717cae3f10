//! Where scenarios are played: a cluster with the operator in it.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use jiff::Timestamp;
use k8s_openapi::api::events::v1::Event;
use kube::Client;
use tokio::sync::Mutex;

use super::event_watch::{self, Told};
use crate::Cluster;
use crate::installed::Installed;
use crate::node::{Node, OtherNode};
use crate::observers::{Observers, Timing};
use crate::operator::repository;
use crate::scenario::{NodeAction, Scenario};
use crate::scratch::Scratch;
use crate::tools::{self, Tool};

/// A cluster, and the operator that watches it.
#[derive(Debug)]
#[must_use]
pub struct ScenarioCluster {
    /// The operator.
    pub installed: Installed,
    pub(super) cluster: Cluster,
    pub(super) told: Told,
    timing: Timing,
    observers: Option<Observers>,
    node: Option<Mutex<OwnNode>>,
    scratch: Scratch,
}

/// A node of our own, and what was added to its cluster.
#[derive(Debug)]
struct OwnNode {
    node: Node,
    other: Option<OtherNode>,
}

impl ScenarioCluster {
    /// Installs the operator on a node of our own, and watches it with Prometheus. With [`Timing::Real`] the shared policy says
    /// what the defaults say.
    pub async fn on_node(node: Node, timing: Timing) -> Result<Arc<Self>> {
        Self::at(node.plane.cluster().clone(), Some(node), timing, Scratch::new()?).await
    }

    /// Installs the operator on a cluster that somebody has, whose nodes have our images.
    pub async fn on_existing(kubeconfig: &Path) -> Result<Arc<Self>> {
        let tools = tokio::task::spawn_blocking(|| tools::ensure(&[Tool::Kubectl])).await??;
        let scratch = Scratch::new()?;
        let cache = scratch.path().join("kubectl");
        let cluster = Cluster::new(tools.path(Tool::Kubectl)?, kubeconfig, cache);
        Self::at(cluster, None, Timing::Hurried, scratch).await
    }

    async fn at(cluster: Cluster, node: Option<Node>, timing: Timing, scratch: Scratch) -> Result<Arc<Self>> {
        let installed = Installed::by_helm(&cluster).await?;
        let observers = match &node {
            Some(node) => Some(Observers::start(node, timing).await?),
            None => None,
        };
        Ok(Arc::new(Self {
            installed,
            told: Told::listen(cluster.client().await?),
            cluster,
            timing,
            observers,
            scratch,
            node: node.map(|node| Mutex::new(OwnNode { node, other: None })),
        }))
    }

    /// Prometheus, on a node of our own.
    pub(super) fn observers(&self) -> Option<&Observers> {
        self.observers.as_ref()
    }

    /// A time at which Prometheus, where there is one, had seen what is in the cluster now.
    pub(super) async fn caught_up(&self) -> Result<Timestamp> {
        match &self.observers {
            Some(observers) => observers.catch_up().await,
            None => Ok(Timestamp::now()),
        }
    }

    /// In how much of a hurry everything is.
    pub fn timing(&self) -> Timing {
        self.timing
    }

    /// The cluster.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// All Events of the operator at this moment.
    pub async fn events(&self) -> Result<Vec<Event>> {
        Ok(event_watch::all(&self.cluster.client().await?).await?)
    }

    /// Removes what a scenario has made, without waiting until it is gone.
    pub(super) async fn remove(&self, scenario: &Scenario) -> Result<()> {
        let cluster = self.cluster_of(scenario)?;
        let delete = ["delete", "--ignore-not-found", "--wait=false", "--filename=-"];
        cluster.kubectl_with_input(delete, &scenario.objects).await?;
        let namespace = ["delete", "--wait=false", "namespace", &scenario.name];
        cluster.kubectl(namespace).await.map(drop)
    }

    /// The cluster, as seen from the scenario's namespace.
    pub(super) fn cluster_of(&self, scenario: &Scenario) -> Result<Cluster> {
        let path = self.scratch.path().join(format!("{}.kubeconfig", scenario.name));
        self.cluster.in_namespace(&scenario.name, &path)
    }

    /// The shared policy, as YAML.
    pub(super) fn policy(&self) -> Result<String> {
        let path = repository().join("e2e/scenarios/policy.yaml");
        let policy = std::fs::read_to_string(path).context("read the shared policy")?;
        let (head, _) = policy.split_once("spec:").context("a policy without spec")?;
        Ok(match self.timing {
            Timing::Hurried => policy,
            Timing::Real => format!("{head}spec: {{}}\n"),
        })
    }

    /// The Pods of a scenario, for messages.
    pub(super) async fn pods(&self, namespace: &str) -> String {
        let get = ["get", "pods", "--output=wide", "--namespace", namespace];
        self.cluster
            .kubectl(get)
            .await
            .unwrap_or_else(|error| error.to_string())
    }

    pub(super) async fn client(&self) -> Result<Client> {
        self.cluster.client().await
    }

    pub(super) async fn lose_sandbox(&self, namespace: &str, pod: &str) -> Result<()> {
        self.own()?.lock().await.node.lose_sandbox(namespace, pod).await
    }

    pub(super) async fn disturb(&self, action: NodeAction) -> Result<()> {
        let mut own = self.own()?.lock().await;
        let OwnNode { node, other } = &mut *own;
        match action {
            NodeAction::StopKubelet => node.kubelet.stop(),
            NodeAction::StartKubelet => node.kubelet.start_again(),
            NodeAction::StopContainerd => node.containerd.stop(),
            NodeAction::StartContainerd => node.containerd.start_again(),
            NodeAction::RestartApiServer => node.plane.restart_api_server().await,
            NodeAction::AddOtherNode => {
                *other = Some(OtherNode::add(self.client().await?).await?);
                Ok(())
            }
            NodeAction::RemoveOtherNode => {
                let other = other.take().context("no other node was added")?;
                other.remove(self.client().await?).await
            }
        }
    }

    fn own(&self) -> Result<&Mutex<OwnNode>> {
        self.node.as_ref().context("this needs a node of our own")
    }
}
