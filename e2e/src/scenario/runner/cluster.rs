//! A cluster with the operator, in which scenarios run.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use jiff::Timestamp;
use k8s_openapi::api::events::v1::Event;
use kube::Client;
use tokio::sync::Mutex;

use super::event_watch::{self, EventWatch};
use crate::Cluster;
use crate::node::{Node, SecondNode};
use crate::observers::{Observers, Timing};
use crate::operator::Installed;
use crate::process::Scratch;
use crate::project::repository;
use crate::scenario::{NodeAction, Policy, Scenario};
use crate::tools::{self, Tool};

/// What the speed of a node permits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// Number of concurrent scenarios.
    pub(super) at_once: usize,
    /// Time after the last step in which unexpected Events count: longer than any `for` of the shared policy and the delays
    /// of the kubelet.
    pub(super) quiet: Duration,
}

impl Pace {
    /// More scenarios would delay the probes of the kubelet on two processors.
    const NODE: Self = Self {
        at_once: 28,
        quiet: Duration::from_secs(30),
    };
    /// For emulated processors.
    const SLOW_NODE: Self = Self {
        at_once: 4,
        quiet: Duration::from_mins(2),
    };
}

/// A cluster with the operator.
#[derive(Debug)]
#[must_use]
pub struct ScenarioCluster {
    /// The operator.
    pub installed: Installed,
    pub(super) cluster: Cluster,
    pub(super) event_watch: EventWatch,
    timing: Timing,
    pub(super) pace: Pace,
    observers: Option<Observers>,
    node: Option<Mutex<TestNode>>,
    scratch: Scratch,
}

/// The test node and the second Node object, if a scenario added it.
#[derive(Debug)]
struct TestNode {
    node: Node,
    second: Option<SecondNode>,
}

impl ScenarioCluster {
    /// Installs the operator on a test node, observed by Prometheus. With [`Timing::Real`] the shared policy has the default
    /// settings.
    pub async fn on_node(node: Node, timing: Timing) -> Result<Arc<Self>> {
        let cluster = node.plane.cluster().clone();
        Self::new(cluster, Some(node), timing, Pace::NODE, Scratch::new()?).await
    }

    /// Installs the operator on an existing cluster, whose nodes must have the images.
    pub async fn on_existing(kubeconfig: &Path) -> Result<Arc<Self>> {
        Self::with_pace(kubeconfig, Pace::NODE).await
    }

    /// The same on a node whose processors are emulated.
    pub async fn on_slow_node(kubeconfig: &Path) -> Result<Arc<Self>> {
        Self::with_pace(kubeconfig, Pace::SLOW_NODE).await
    }

    async fn with_pace(kubeconfig: &Path, pace: Pace) -> Result<Arc<Self>> {
        let tools = tokio::task::spawn_blocking(|| tools::ensure(&[Tool::Kubectl])).await??;
        let scratch = Scratch::new()?;
        let cache = scratch.path().join("kubectl");
        let cluster = Cluster::new(tools.path(Tool::Kubectl)?, kubeconfig, cache);
        Self::new(cluster, None, Timing::Fast, pace, scratch).await
    }

    async fn new(
        cluster: Cluster,
        node: Option<Node>,
        timing: Timing,
        pace: Pace,
        scratch: Scratch,
    ) -> Result<Arc<Self>> {
        let installed = Installed::by_helm(&cluster).await?;
        let observers = match &node {
            Some(node) => Some(Observers::start(node, timing).await?),
            None => None,
        };
        Ok(Arc::new(Self {
            installed,
            event_watch: EventWatch::start(cluster.client().await?),
            cluster,
            timing,
            pace,
            observers,
            scratch,
            node: node.map(|node| Mutex::new(TestNode { node, second: None })),
        }))
    }

    /// Prometheus; only on a test node.
    pub(super) fn observers(&self) -> Option<&Observers> {
        self.observers.as_ref()
    }

    /// A time after Prometheus, if there is one, has evaluated the current state.
    pub(super) async fn caught_up(&self) -> Result<Timestamp> {
        match &self.observers {
            Some(observers) => observers.catch_up().await,
            None => Ok(Timestamp::now()),
        }
    }

    /// Timing of policies and alerts.
    pub fn timing(&self) -> Timing {
        self.timing
    }

    /// The cluster.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// The current Events of the operator.
    pub async fn events(&self) -> Result<Vec<Event>> {
        Ok(event_watch::all(&self.cluster.client().await?).await?)
    }

    /// Deletes the objects of a scenario, without waiting.
    pub(super) async fn remove(&self, scenario: &Scenario) -> Result<()> {
        let cluster = self.in_namespace_of(scenario)?;
        let delete = ["delete", "--ignore-not-found", "--wait=false", "--filename=-"];
        cluster.kubectl_with_input(delete, &scenario.objects).await?;
        let namespace = ["delete", "--wait=false", "namespace", &scenario.name];
        cluster.kubectl(namespace).await.map(drop)
    }

    /// The cluster, with the namespace of the scenario as default.
    pub(super) fn in_namespace_of(&self, scenario: &Scenario) -> Result<Cluster> {
        self.cluster
            .in_namespace(&scenario.name, &self.kubeconfig_of(scenario))
    }

    /// The kubeconfig that [`Self::in_namespace_of`] writes.
    pub(super) fn kubeconfig_of(&self, scenario: &Scenario) -> PathBuf {
        self.scratch.path().join(format!("{}.kubeconfig", scenario.name))
    }

    /// A shared policy, as YAML.
    pub(super) fn policy(&self, policy: Policy) -> Result<Option<String>> {
        let file = match policy {
            Policy::Shared => "policy.yaml",
            Policy::Patient => "patient-policy.yaml",
            Policy::Slow => "slow-policy.yaml",
            Policy::None => return Ok(None),
        };
        let path = repository().join("e2e/scenarios").join(file);
        let policy = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        let (head, _) = policy.split_once("spec:").context("a policy without spec")?;
        Ok(Some(match self.timing {
            Timing::Fast => policy,
            Timing::Real => format!("{head}spec: {{}}\n"),
        }))
    }

    /// The Pods of a scenario, for error messages.
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
        self.test_node()?
            .lock()
            .await
            .node
            .lose_sandbox(namespace, pod)
            .await
    }

    pub(super) async fn disturb(&self, action: NodeAction) -> Result<()> {
        let mut test_node = self.test_node()?.lock().await;
        let TestNode { node, second } = &mut *test_node;
        match action {
            NodeAction::StopKubelet => node.kubelet.stop(),
            NodeAction::StartKubelet => node.kubelet.start_again(),
            NodeAction::StopContainerd => node.containerd.stop(),
            NodeAction::StartContainerd => node.containerd.start_again(),
            NodeAction::RestartApiServer => node.plane.restart_api_server().await,
            NodeAction::AddSecondNode => {
                *second = Some(SecondNode::add(self.client().await?).await?);
                Ok(())
            }
            NodeAction::RemoveSecondNode => {
                let second = second.take().context("no second node was added")?;
                second.remove(self.client().await?).await
            }
        }
    }

    /// Reverts what the steps of a failed scenario have done to the test node, so that the next scenarios can run.
    pub(super) async fn repair_node(&self) -> Result<()> {
        let Some(test_node) = &self.node else {
            return Ok(());
        };
        let mut test_node = test_node.lock().await;
        let TestNode { node, second } = &mut *test_node;
        node.containerd.ensure_started()?;
        node.kubelet.ensure_started()?;
        match second.take() {
            Some(second) => second.remove(self.client().await?).await,
            None => Ok(()),
        }
    }

    fn test_node(&self) -> Result<&Mutex<TestNode>> {
        self.node.as_ref().context("this needs a test node")
    }
}
