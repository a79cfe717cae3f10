//! A node on cgroup v2, in a virtual machine.
//!
//! ```text
//! enter()                           installs QEMU and a kernel of the distribution, then as `node::enter`
//!   VmNode::start()
//!     network   the bridge of the node, and a tap device of the virtual machine on it
//!     plane     etcd, kube-apiserver, kube-controller-manager and kube-scheduler, outside the virtual machine
//!     QEMU      boots an initramfs with containerd, runc, the kubelet and the images
//! ```
//!
//! The initramfs has the files at the same paths as outside, so the kubelet and containerd have the same configuration as on
//! the [node](super) outside. The processor is emulated, which is about ten times slower.

mod initramfs;
mod packages;

use std::net::SocketAddrV4;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::kubelet::Settings;
use super::{namespaces, network, ready, start_controllers, start_scheduler};
use crate::cluster::addresses::{NODE, PODS, VM};
use crate::process::{Process, Spec, wait_until_ready};
use crate::tools::{self, Tool};
use crate::{ControlPlane, images};
use initramfs::Initramfs;

const READY_WITHIN: Duration = Duration::from_mins(8);
/// Name of the tap device.
const TAP: &str = "vm0";
/// MiB of memory of the virtual machine. Its file system is in memory.
const MEMORY: u32 = 3072;

/// The reason why a virtual machine cannot run here, or `None`. Installs missing packages where root has `apt-get`.
pub fn unavailable() -> Option<String> {
    namespaces::unavailable().or_else(|| packages::ensure().err().map(|error| format!("{error:#}")))
}

/// As [`super::enter`], with the packages of the virtual machine.
pub fn enter(tools: &[Tool]) -> Result<()> {
    if !super::is_inside()
        && let Some(reason) = unavailable()
    {
        bail!("{reason}");
    }
    super::enter(tools)
}

/// A cluster of one node, which is a virtual machine. Dropping the handle stops it.
#[derive(Debug)]
#[must_use]
pub struct VmNode {
    machine: Process,
    _controllers: Process,
    _scheduler: Process,
    /// The control plane.
    pub plane: ControlPlane,
}

impl VmNode {
    /// Starts all components, and waits until the node accepts Pods. Call it after [`enter`].
    pub async fn start() -> Result<Self> {
        network::set_up()?;
        connect()?;
        let tools = tokio::task::spawn_blocking(|| tools::ensure(&Tool::NODE)).await??;
        let plane =
            ControlPlane::start_at(SocketAddrV4::new(NODE, 443), &["--bind-address=0.0.0.0".into()]).await?;
        let settings = Settings {
            cgroup: "/",
            address: VM,
            single_process_oom_kill: None,
        };
        let initramfs = Initramfs {
            plane: &plane,
            tools: &tools,
            settings,
            images: images::archive(),
        };
        let kernel = packages::kernel()?;
        let image = initramfs.write(&kernel)?;
        let command = Spec::new("/usr/bin/qemu-system-x86_64")
            .args(["-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2"])
            .args(["-m".to_owned(), MEMORY.to_string()])
            .args([
                "-display",
                "none",
                "-monitor",
                "none",
                "-serial",
                "stdio",
                "-no-reboot",
            ])
            .args([
                "-netdev".to_owned(),
                format!("tap,id=net0,ifname={TAP},script=no,downscript=no"),
            ])
            .args(["-device", "virtio-net-pci,netdev=net0"])
            .arg("-kernel")
            .arg(&kernel.image)
            .arg("-initrd")
            .arg(&image)
            // `panic=1` with `-no-reboot`: QEMU exits if the init process ends.
            .args(["-append", "console=ttyS0 quiet panic=1"]);
        let machine = Process::start(&command, &plane.dir().join("machine.log"))?;
        let mut node = Self {
            machine,
            _controllers: start_controllers(&plane, &tools)?,
            _scheduler: start_scheduler(&plane, &tools)?,
            plane,
        };
        node.wait_until_ready().await?;
        Ok(node)
    }

    async fn wait_until_ready(&mut self) -> Result<()> {
        let mut machine = [&mut self.machine];
        wait_until_ready(&mut machine, READY_WITHIN, async || ready(&self.plane).await)
            .await
            .context("the virtual machine")
    }
}

/// Connects the virtual machine with the bridge of the node. Its Pods are behind it.
fn connect() -> Result<()> {
    network::ip(&format!("tuntap add {TAP} mode tap"))?;
    network::ip(&format!("link set {TAP} master node0 up"))?;
    network::ip(&format!("route add {PODS} via {VM}"))
}
