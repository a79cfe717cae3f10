//! The initramfs of the virtual machine: everything that a node needs, at the same paths as outside.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::packages::Kernel;
use crate::ControlPlane;
use crate::cluster::addresses::{NODE, NODE_NAME, VM};
use crate::node::kubelet::{self, Settings};
use crate::node::runtime;
use crate::process::Scratch;
use crate::process::programs::{on_path, stdout_of};
use crate::tools::{Tool, ToolPaths};

/// Moves the files out of the initramfs: `pivot_root`, which runc needs, cannot leave it.
const INIT: &str = include_str!("init.sh");
/// Starts the node.
const START: &str = include_str!("start.sh");
/// Directories of the kernel modules, with those that they depend on.
const MODULES: [&str; 9] = [
    "drivers/net/net_failover.ko",
    "drivers/net/veth.ko",
    "drivers/net/virtio_net.ko",
    "drivers/virtio",
    "fs/overlayfs",
    "net/802",
    "net/bridge/bridge.ko",
    "net/core",
    "net/llc",
];
/// Tools that run in the virtual machine. The CNI plugins are in the directory of containerd.
const TOOLS: [Tool; 4] = [Tool::Kubelet, Tool::Containerd, Tool::ContainerdShim, Tool::Ctr];

/// The contents of an initramfs.
pub(super) struct Initramfs<'a> {
    pub(super) plane: &'a ControlPlane,
    pub(super) tools: &'a ToolPaths,
    pub(super) settings: Settings<'a>,
    /// The images of the Pods.
    pub(super) images: PathBuf,
}

impl Initramfs<'_> {
    /// Writes it, and returns its path.
    pub(super) fn write(&self, kernel: &Kernel) -> Result<PathBuf> {
        let scratch = Scratch::new()?;
        let tree = Tree(scratch.path());
        tree.program("/init", INIT)?;
        tree.program("/start", &self.start()?)?;
        tree.link_as(
            &on_path("busybox").context("no busybox")?,
            Path::new("/bin/busybox"),
        )?;
        for tool in TOOLS {
            tree.link(self.tools.path(tool)?)?;
        }
        let runc = ["/usr/sbin/runc", "/usr/bin/runc"].map(Path::new);
        let runc = runc.into_iter().find(|path| path.is_file()).context("no runc")?;
        tree.link_as(runc, Path::new("/bin/runc"))?;
        for library in libraries(runc)? {
            tree.link(&library)?;
        }
        for module in MODULES {
            let guest = Path::new("/lib/modules").join(kernel.modules.file_name().context("no version")?);
            let module = Path::new("kernel").join(module);
            tree.link_as(&kernel.modules.join(&module), &guest.join(&module))?;
        }
        let dir = self.plane.dir();
        let node = &self.plane.pki().node;
        for file in ["kubelet.yaml", "kubelet.kubeconfig", "containerd"] {
            tree.link(&dir.join(file))?;
        }
        for file in [self.plane.ca_path(), &node.public, &node.key, &self.images] {
            tree.link(file)?;
        }
        let image = dir.join("initramfs.cpio");
        pack(scratch.path(), &image)?;
        Ok(image)
    }

    /// The script that starts the node, with its settings in front.
    fn start(&self) -> Result<String> {
        let containerd = runtime::configure(self.plane, self.tools)?;
        let kubelet = kubelet::arguments(self.plane, &self.settings)?;
        let path = |tool| anyhow::Ok(self.tools.path(tool)?.display());
        let shim = self.tools.path(Tool::ContainerdShim)?;
        let shim = shim.parent().context("a path without directory")?;
        let mut script = String::from("#!/bin/busybox sh\n");
        for (name, value) in [
            ("NAME", NODE_NAME.to_owned()),
            ("ADDRESS", VM.to_string()),
            ("GATEWAY", NODE.to_string()),
            ("SHIM", shim.display().to_string()),
            ("CONTAINERD", path(Tool::Containerd)?.to_string()),
            ("CONFIG", containerd.display().to_string()),
            ("SOCKET", runtime::socket(self.plane).display().to_string()),
            ("CTR", path(Tool::Ctr)?.to_string()),
            ("IMAGES", self.images.display().to_string()),
            ("KUBELET", path(Tool::Kubelet)?.to_string()),
            ("ARGUMENTS", kubelet.join(" ")),
        ] {
            ensure!(!value.contains('\''), "{name} contains a quote: {value}");
            writeln!(script, "{name}='{value}'")?;
        }
        script.push_str(START);
        Ok(script)
    }
}

/// A directory that becomes the root of the virtual machine. Files are links, which [`pack`] follows.
struct Tree<'a>(&'a Path);

impl Tree<'_> {
    fn inside(&self, path: &Path) -> Result<PathBuf> {
        let path = self.0.join(path.strip_prefix("/")?);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).with_context(|| format!("make {}", parent.display()))?;
        }
        Ok(path)
    }

    /// A file or directory at its own path.
    fn link(&self, path: &Path) -> Result<()> {
        self.link_as(path, path)
    }

    fn link_as(&self, path: &Path, to: &Path) -> Result<()> {
        ensure!(path.exists(), "no file {}", path.display());
        let to = self.inside(to)?;
        symlink(path, &to).with_context(|| format!("link {}", to.display()))
    }

    fn program(&self, path: &str, script: &str) -> Result<()> {
        let path = self.inside(Path::new(path))?;
        fs::write(&path, script).with_context(|| format!("write {}", path.display()))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        Ok(())
    }
}

/// The shared libraries of a program, and its loader.
fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let printed = stdout_of(Command::new("ldd").arg(program))?;
    let paths = printed.split_whitespace().filter(|word| word.starts_with('/'));
    Ok(paths.map(PathBuf::from).collect())
}

/// Writes a directory as an archive that the kernel reads.
fn pack(dir: &Path, to: &Path) -> Result<()> {
    let list = stdout_of(
        Command::new("find")
            .args(["-L", ".", "-mindepth", "1"])
            .current_dir(dir),
    )?;
    let mut cpio = Command::new("cpio")
        .args(["--create", "--format=newc", "--dereference", "--quiet"])
        .current_dir(dir)
        .stdin(Stdio::piped())
        .stdout(fs::File::create(to).with_context(|| format!("write {}", to.display()))?)
        .spawn()
        .context("run cpio")?;
    let mut input = cpio.stdin.take().context("no pipe to cpio")?;
    input.write_all(list.as_bytes()).context("write to cpio")?;
    drop(input);
    let status = cpio.wait().context("wait for cpio")?;
    ensure!(status.success(), "cpio: {status}");
    Ok(())
}
