//! Environment of the demo: a real node, or a control plane with a simulated kubelet.

use std::convert::Infallible;

use anyhow::{Context, Result, bail};

use super::{NAMESPACE, say, simulated};
use crate::node::{self, Node};
use crate::operator::{Installed, Operator};
use crate::{ControlPlane, TokenKubeconfig};

/// The Pods, as objects for a real kubelet.
const SHOP: &str = include_str!("shop.yaml");

/// A cluster with the operator. Dropping the handle stops it.
pub(super) enum DemoEnv {
    /// The operator is a process beside the control plane.
    Simulated {
        operator: Box<Operator>,
        _kubeconfig: TokenKubeconfig,
        plane: Box<ControlPlane>,
    },
    /// The operator is a Deployment.
    Real { installed: Installed, node: Box<Node> },
}

impl DemoEnv {
    pub(super) async fn start() -> Result<Self> {
        if node::is_inside() {
            say(
                "Starting a control plane with a node, and Sidewatch by its chart, with an image of this work tree",
            );
            let node = Node::start().await;
            let node = node.context("the node does not start (`make demo KUBELET=simulated` needs none)")?;
            let installed = Installed::by_helm(node.plane.cluster()).await?;
            return Ok(Self::Real {
                installed,
                node: Box::new(node),
            });
        }
        say("Starting etcd and kube-apiserver, and Sidewatch with its ServiceAccount");
        let plane = Box::new(ControlPlane::start().await?);
        let (operator, kubeconfig) = Operator::install(&plane).await?;
        Ok(Self::Simulated {
            operator: Box::new(operator),
            _kubeconfig: kubeconfig,
            plane,
        })
    }

    pub(super) fn plane(&self) -> &ControlPlane {
        match self {
            Self::Simulated { plane, .. } => plane,
            Self::Real { node, .. } => &node.plane,
        }
    }

    /// Runs the Pods. Returns only on an error.
    pub(super) async fn run_pods(&self) -> Result<Infallible> {
        match self {
            Self::Simulated { plane, .. } => Box::pin(simulated::run(plane)).await,
            Self::Real { node, .. } => run(&node.plane).await,
        }
    }

    pub(super) async fn metrics(&self) -> Result<String> {
        match self {
            Self::Simulated { operator, .. } => operator.metrics().await,
            Self::Real { installed, .. } => installed.metrics().await,
        }
    }

    pub(super) async fn log(&self) -> Result<String> {
        match self {
            Self::Simulated { operator, .. } => operator.log(),
            Self::Real { installed, .. } => installed.log().await,
        }
    }

    /// Commands for another terminal: a shell with kubectl, and the metrics.
    pub(super) async fn connect_commands(&self) -> Result<[String; 2]> {
        let (prefix, metrics) = match self {
            Self::Simulated { operator, .. } => (String::new(), operator.metrics_address().to_owned()),
            Self::Real { installed, .. } => (node::nsenter()?, installed.metrics_address().await?),
        };
        let plane = self.plane();
        let programs = plane.kubectl_path().parent().unwrap_or(plane.dir());
        Ok([
            format!(
                "{prefix}env KUBECONFIG={} KUBECACHEDIR={} PATH={}:\"$PATH\" bash",
                plane.kubeconfig_path().display(),
                plane.dir().join("kubectl").display(),
                programs.display()
            ),
            format!("curl http://{metrics}/metrics"),
        ])
    }

    pub(super) async fn stop(self) -> Result<()> {
        match self {
            Self::Simulated { operator, plane, .. } => {
                let status = operator.stop().await?;
                if !status.success() {
                    bail!("the operator failed: {status}");
                }
                plane.stop()
            }
            // Everything ends with the Linux namespaces.
            Self::Real { .. } => Ok(()),
        }
    }
}

/// Creates the Pods, whose containers fail as their arguments say.
async fn run(plane: &ControlPlane) -> Result<Infallible> {
    plane.apply_in(NAMESPACE, SHOP).await?;
    let search = format!("rollout status deployment/search --timeout=1m --namespace {NAMESPACE}");
    plane.kubectl_line(&search).await?;
    // The container reads the ConfigMap after its restart, and then stays below its memory limit.
    let patch = r#"{"data":{"buffer":"hold"}}"#;
    let repair = format!("patch configmap fluent-bit --patch {patch} --namespace {NAMESPACE}");
    plane.kubectl_line(&repair).await?;
    std::future::pending().await
}
