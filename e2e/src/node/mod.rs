//! A real node: kubelet, containerd and runc, with real containers.
//!
//! ```text
//! enter()                                    runs this program again in new network, process and mount namespaces
//!   Node::start()
//!     network   a bridge with the address of the node and the Service address of the API server
//!     plane     etcd, kube-apiserver on 192.168.77.1 and, for Pods, on 10.0.0.1
//!     runtime   containerd with the images, and a bridge for Pods
//!     kubelet   and beside it kube-controller-manager and kube-scheduler
//! ```
//!
//! No route leads out of that network. When the program ends, all processes, mounts and interfaces of these namespaces are
//! gone; the program outside removes the cgroups ([`namespaces`]).
//!
//! Needs Linux, root, and runc from the distribution: it needs a C library for seccomp, without which the sandboxes of the
//! kubelet do not start. Tested on cgroup v1.

mod kubelet;
mod namespaces;
mod network;
mod runtime;
mod second_node;
pub mod vm;

use std::fs;
use std::net::SocketAddrV4;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::{Node as Object, Pod, ServiceAccount};
use kube::Api;
use rustix::process::{Pid, Signal, kill_process};

use crate::cluster::addresses::{NODE, NODE_NAME};
use crate::process::{Process, Spec, wait_until_ready};
use crate::tools::{self, Tool, ToolPaths};
use crate::{ControlPlane, images};
use kubelet::Settings;
pub use namespaces::{is_inside, nsenter, unavailable};
pub use second_node::SecondNode;

/// How long the kubelet may be silent before the node is lost.
const LOST_AFTER: Duration = Duration::from_secs(20);
const READY_WITHIN: Duration = Duration::from_mins(2);

/// Runs this program again in new namespaces and exits with its exit code; returns in the new process. Builds images and
/// tools first, because downloads are impossible inside. Call it before anything else in the program.
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

/// A cluster of one node. Dropping the handle stops it.
#[derive(Debug)]
#[must_use]
pub struct Node {
    /// The kubelet. Containers continue while it is stopped.
    pub kubelet: Service,
    _controllers: Process,
    _scheduler: Process,
    /// containerd. Containers continue while it is stopped.
    pub containerd: Service,
    /// The control plane.
    pub plane: ControlPlane,
}

impl Node {
    /// Starts all components, imports the [`images`] and waits until the node accepts Pods. Call it after [`enter`].
    pub async fn start() -> Result<Self> {
        let cgroup = namespaces::cgroup()?;
        network::set_up()?;
        let tools = tokio::task::spawn_blocking(|| tools::ensure(&Tool::NODE)).await??;
        let plane =
            ControlPlane::start_at(SocketAddrV4::new(NODE, 443), &["--bind-address=0.0.0.0".into()]).await?;
        let containerd = runtime::start(&plane, &tools).await?;
        runtime::import(&plane, &tools, &images::archive()).await?;
        let controllers = start_controllers(&plane, &tools)?;
        let scheduler = start_scheduler(&plane, &tools)?;
        let settings = Settings {
            cgroup: &cgroup,
            address: NODE,
            single_process_oom_kill: Some(true),
        };
        let kubelet = kubelet::command(&plane, &tools, &settings)?;
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

    /// Kills the sandbox process of a Pod: the kubelet creates all containers again.
    pub async fn lose_sandbox(&self, namespace: &str, pod: &str) -> Result<()> {
        self.kill(namespace, pod, |arguments| arguments.get(1) == Some(&"pause"))
            .await
    }

    /// Sends SIGKILL to the process of a Pod that runs this program.
    pub async fn kill_program(&self, namespace: &str, pod: &str, program: &str) -> Result<()> {
        self.kill(namespace, pod, |arguments| arguments.first() == Some(&program))
            .await
    }

    /// Sends SIGKILL to the first process of a Pod with such arguments.
    async fn kill(&self, namespace: &str, pod: &str, wanted: impl Fn(&[&str]) -> bool) -> Result<()> {
        let pods = Api::<Pod>::namespaced(self.plane.client().await?, namespace);
        let uid = pods.get(pod).await?.metadata.uid.context("a Pod without UID")?;
        for entry in fs::read_dir("/proc").context("read /proc")? {
            let dir = entry?.path();
            // Processes start and exit concurrently.
            let read = |file| fs::read_to_string(dir.join(file)).unwrap_or_default();
            let command = read("cmdline");
            let arguments: Vec<&str> = command.split('\0').collect();
            if wanted(&arguments) && read("cgroup").contains(&uid) {
                let id = dir.file_name().and_then(|name| name.to_str()?.parse().ok());
                let id = id.and_then(Pid::from_raw).context("no process id")?;
                return kill_process(id, Signal::KILL).with_context(|| format!("kill {command}"));
            }
        }
        bail!("{namespace}/{pod} has no such process")
    }

    async fn wait_until_ready(&mut self) -> Result<()> {
        let mut kubelet = [&mut self.kubelet.process];
        wait_until_ready(&mut kubelet, READY_WITHIN, async || ready(&self.plane).await).await
    }
}

/// A process that can be restarted.
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

    /// Starts it again, with the same log.
    pub fn start_again(&mut self) -> Result<()> {
        self.process = Process::start(&self.command, self.process.log())?;
        Ok(())
    }

    /// Starts it again if it does not run.
    pub fn ensure_started(&mut self) -> Result<()> {
        if self.process.try_wait()?.is_some() {
            self.start_again()?;
        }
        Ok(())
    }
}

/// Checks that the node accepts Pods and that the namespace `default` has its ServiceAccount.
async fn ready(plane: &ControlPlane) -> Result<()> {
    let client = plane.client().await?;
    let node = Api::<Object>::all(client.clone()).get(NODE_NAME).await?;
    let conditions = node.status.unwrap_or_default().conditions.unwrap_or_default();
    let condition = conditions.iter().find(|condition| condition.type_ == "Ready");
    let condition = condition.context("the node has no condition Ready")?;
    if condition.status != "True" {
        bail!("{}", condition.message.clone().unwrap_or_default());
    }
    let taints = node.spec.unwrap_or_default().taints.unwrap_or_default();
    if let Some(taint) = taints.first() {
        bail!("the node has the taint {}", taint.key);
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
        // The default is 50 s.
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
