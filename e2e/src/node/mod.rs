//! A real node beside the control plane: kubelet, containerd, runc, and containers that really run.
//!
//! ```text
//! enter()                                    this program again, in namespaces of its own (network, processes, mounts)
//!   Node::start()
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
mod other;
mod runtime;

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::{Node as Object, Pod, ServiceAccount};
use kube::Api;
use rustix::process::{Pid, Signal, kill_process};

use crate::process::{Process, Spec};
use crate::tools::{self, Tool, ToolPaths};
use crate::{ControlPlane, images};
pub use namespaces::{is_inside, unavailable, way_in};
pub use other::OtherNode;

/// The name of the node.
pub const NAME: &str = "node-1";
/// The node's address, and the API server's.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 1);
/// The Service address of the API server: what a Pod's environment says. Without kube-proxy it is an address of the node.
const SERVICE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

/// After so much silence of its kubelet, the node is lost.
const LOST_AFTER: Duration = Duration::from_secs(20);
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
    /// The kubelet. While it is stopped, its containers run on.
    pub kubelet: Service,
    _controllers: Process,
    _scheduler: Process,
    /// containerd. While it is stopped, its containers run on.
    pub containerd: Service,
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
        let kubelet = kubelet::command(&plane, &tools, &cgroup)?;
        let mut node = Self {
            kubelet: Service::start(kubelet, &plane.dir().join("kubelet.log"))?,
            _controllers: controllers,
            _scheduler: scheduler,
            containerd,
            plane,
        };
        node.wait_until_ready().await?;
        Ok(node)
    }

    /// Kills the process that holds a Pod's network: the kubelet makes all containers anew.
    pub async fn lose_sandbox(&self, namespace: &str, pod: &str) -> Result<()> {
        let pods = Api::<Pod>::namespaced(self.plane.client().await?, namespace);
        let uid = pods.get(pod).await?.metadata.uid.context("a Pod without UID")?;
        for entry in fs::read_dir("/proc").context("read /proc")? {
            let dir = entry?.path();
            // Processes come and go meanwhile.
            let read = |file| fs::read_to_string(dir.join(file)).unwrap_or_default();
            let holds = read("cmdline").split('\0').nth(1) == Some("pause");
            if holds && read("cgroup").contains(&uid) {
                let id = dir.file_name().and_then(|name| name.to_str()?.parse().ok());
                let id = id.and_then(Pid::from_raw).context("no process id")?;
                return kill_process(id, Signal::KILL).context("kill the sandbox");
            }
        }
        bail!("no process holds the network of {namespace}/{pod}")
    }

    async fn wait_until_ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + READY_WITHIN;
        while let Err(error) = ready(&self.plane).await {
            if let Some(status) = self.kubelet.process.try_wait()? {
                bail!(
                    "the kubelet ended ({status}):\n{}",
                    self.kubelet.process.log_tail()
                );
            }
            if Instant::now() > deadline {
                bail!(
                    "the node is not ready: {error:#}; the kubelet's log ends with:\n{}",
                    self.kubelet.process.log_tail()
                );
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }
}

/// A process that can be stopped and started again.
#[derive(Debug)]
pub struct Service {
    process: Process,
    command: Spec,
}

impl Service {
    fn start(command: Spec, log: &Path) -> Result<Self> {
        Ok(Self {
            process: Process::start(&command, log)?,
            command,
        })
    }

    /// Kills it.
    pub fn stop(&mut self) -> Result<()> {
        self.process.kill().map(drop)
    }

    /// Starts it once more, with the same log.
    pub fn start_again(&mut self) -> Result<()> {
        self.process = Process::start(&self.command, self.process.log())?;
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
        // By default a node may be silent for 50 s before it is lost.
        .arg(format!("--node-monitor-grace-period={}s", LOST_AFTER.as_secs()))
        .args(["--leader-elect=false", "--secure-port=0"]);
    Process::start(&command, &plane.dir().join("kube-controller-manager.log"))
}

fn start_scheduler(plane: &ControlPlane, tools: &ToolPaths) -> Result<Process> {
    let command = Spec::new(tools.path(Tool::KubeScheduler)?)
        .arg(format!("--kubeconfig={}", plane.kubeconfig_path().display()))
        .args(["--leader-elect=false", "--secure-port=0"]);
    Process::start(&command, &plane.dir().join("kube-scheduler.log"))
}
