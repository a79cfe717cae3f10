//! A real node beside the control plane: kubelet, containerd, runc, and containers that really run.
//!
//! ```text
//! enter()                                    this program again, in namespaces of its own (network, processes, mounts)
//!   Node::start(images)
//!     network   a bridge that is the node's address, and the Service address of the API server
//!     plane     etcd, kube-apiserver on 192.168.77.1 and, for Pods, on 10.0.0.1
//!     runtime   containerd with the images, and a bridge for Pods
//!     kubelet   and beside it kube-controller-manager and kube-scheduler
//! ```
//!
//! No route leads out of that network. When the program ends, however it ends, every process, mount and interface of these
//! namespaces is gone; cgroups are removed by the program outside ([`namespaces`]).
//!
//! Linux and root are needed, and runc from the distribution: it needs a C library for seccomp, without which the kubelet's
//! sandboxes do not start. Tried on cgroup v1.

mod kubelet;
mod namespaces;
mod network;
mod runtime;

use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::{Node as Object, ServiceAccount};
use kube::Api;

use crate::process::{Process, Spec};
use crate::tools::{self, Tool, ToolPaths};
use crate::{ControlPlane, images};
pub use namespaces::{is_inside, unavailable, way_in};

/// The name of the node.
pub const NAME: &str = "node-1";
/// The node's address, and the API server's.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 1);
/// The Service address of the API server: what a Pod's environment says. Without kube-proxy it is an address of the node.
const SERVICE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

const READY_WITHIN: Duration = Duration::from_mins(2);
const POLL: Duration = Duration::from_millis(100);

/// Outside: makes what could not be fetched inside, these tools among it, then runs this program again in namespaces of its
/// own, and does not return but ends with its exit code. Inside: returns. Call it before anything else happens in the program.
pub fn enter(tools: &[Tool]) -> Result<()> {
    if is_inside() {
        return Ok(());
    }
    if let Some(reason) = namespaces::unavailable() {
        bail!("{reason}");
    }
    tools::ensure(&[&Tool::CONTROL_PLANE[..], &Tool::NODE[..], tools].concat())?;
    images::build()?;
    namespaces::run_inside()
}

/// A cluster of one node. Dropping it ends it.
#[derive(Debug)]
#[must_use]
pub struct Node {
    kubelet: Process,
    kubelet_command: Spec,
    _controllers: Process,
    _scheduler: Process,
    _containerd: Process,
    /// The control plane.
    pub plane: ControlPlane,
}

impl Node {
    /// Starts everything, with our [`images`], and returns when the node takes Pods. Must be called after [`enter`].
    pub async fn start() -> Result<Self> {
        let cgroup = namespaces::cgroup()?;
        network::set_up()?;
        let tools = tokio::task::spawn_blocking(|| tools::ensure(&Tool::NODE)).await??;
        let plane = ControlPlane::start_at(
            SocketAddrV4::new(ADDRESS, 443),
            &["--bind-address=0.0.0.0".into()],
        )
        .await?;
        let containerd = runtime::start(&plane, &tools).await?;
        runtime::import(&plane, &tools, &images::archive()).await?;
        let controllers = start_controllers(&plane, &tools)?;
        let scheduler = start_scheduler(&plane, &tools)?;
        let kubelet_command = kubelet::command(&plane, &tools, &cgroup)?;
        let mut node = Self {
            kubelet: Process::start(&kubelet_command, &plane.dir().join("kubelet.log"))?,
            kubelet_command,
            _controllers: controllers,
            _scheduler: scheduler,
            _containerd: containerd,
            plane,
        };
        node.wait_until_ready().await?;
        Ok(node)
    }

    /// Kills the kubelet and starts it again. Its containers run on meanwhile.
    pub fn restart_kubelet(&mut self) -> Result<()> {
        self.kubelet.kill()?;
        self.kubelet = Process::start(&self.kubelet_command, self.kubelet.log())?;
        Ok(())
    }

    async fn wait_until_ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + READY_WITHIN;
        while let Err(error) = ready(&self.plane).await {
            if let Some(status) = self.kubelet.try_wait()? {
                bail!("the kubelet ended ({status}):\n{}", self.kubelet.log_tail());
            }
            if Instant::now() > deadline {
                bail!(
                    "the node is not ready: {error:#}; the kubelet's log ends with:\n{}",
                    self.kubelet.log_tail()
                );
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }
}

/// Whether the node takes Pods, and Pods in the namespace `default` find their ServiceAccount.
async fn ready(plane: &ControlPlane) -> Result<()> {
    let client = plane.client().await?;
    let node = Api::<Object>::all(client.clone()).get(NAME).await?;
    let conditions = node.status.unwrap_or_default().conditions.unwrap_or_default();
    let condition = conditions.iter().find(|condition| condition.type_ == "Ready");
    let condition = condition.context("the kubelet has not said anything yet")?;
    if condition.status != "True" {
        bail!("{}", condition.message.clone().unwrap_or_default());
    }
    let taints = node.spec.unwrap_or_default().taints.unwrap_or_default();
    if let Some(taint) = taints.first() {
        bail!("it has the taint {}", taint.key);
    }
    Api::<ServiceAccount>::namespaced(client, "default")
        .get("default")
        .await?;
    Ok(())
}

fn start_controllers(plane: &ControlPlane, tools: &ToolPaths) -> Result<Process> {
    let file = |flag: &str, path: &Path| format!("--{flag}={}", path.display());
    let command = Spec::new(tools.path(Tool::KubeControllerManager)?)
        .arg(file("kubeconfig", plane.kubeconfig_path()))
        .arg("--use-service-account-credentials=true")
        .arg(file(
            "service-account-private-key-file",
            &plane.pki().service_account.key,
        ))
        .arg(file("root-ca-file", plane.ca_path()))
        .args(["--leader-elect=false", "--secure-port=0"]);
    Process::start(&command, &plane.dir().join("kube-controller-manager.log"))
}

fn start_scheduler(plane: &ControlPlane, tools: &ToolPaths) -> Result<Process> {
    let command = Spec::new(tools.path(Tool::KubeScheduler)?)
        .arg(format!("--kubeconfig={}", plane.kubeconfig_path().display()))
        .args(["--leader-elect=false", "--secure-port=0"]);
    Process::start(&command, &plane.dir().join("kube-scheduler.log"))
}
