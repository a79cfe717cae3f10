//! containerd, and the images that it starts with.
//!
//! Input: a control plane for its directory, and an OCI layout. Output: a running containerd that pulls nothing.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::json;

use super::Service;
use crate::ControlPlane;
use crate::images::PAUSE;
use crate::process::Spec;
use crate::programs::path_with;
use crate::tools::{Tool, ToolPaths};

const IMPORT_WITHIN: Duration = Duration::from_mins(1);
const POLL: Duration = Duration::from_millis(100);

pub(super) async fn start(plane: &ControlPlane, tools: &ToolPaths) -> Result<Service> {
    let dir = directory(plane);
    let networks = dir.join("cni");
    fs::create_dir_all(&networks).with_context(|| format!("make {}", networks.display()))?;
    fs::write(networks.join("10-pods.conflist"), network(&dir).to_string())?;
    let config = dir.join("containerd.toml");
    fs::write(&config, configuration(&dir, tools)?)?;
    let shim = tools.path(Tool::ContainerdShim)?;
    let command = Spec::new(tools.path(Tool::Containerd)?)
        .arg("--config")
        .arg(&config)
        .env("PATH", path_with(shim)?);
    let mut service = Service::start(command, &plane.dir().join("containerd.log"))?;
    let deadline = Instant::now() + IMPORT_WITHIN;
    while let Err(error) = ctr(plane, tools, &["version"]).await {
        if let Some(status) = service.process.try_wait()? {
            bail!("containerd ended ({status}):\n{}", service.process.log_tail());
        }
        if Instant::now() > deadline {
            bail!(
                "containerd is not ready: {error:#}; its log ends with:\n{}",
                service.process.log_tail()
            );
        }
        tokio::time::sleep(POLL).await;
    }
    Ok(service)
}

/// Imports the images of an OCI layout (a tar file).
pub(super) async fn import(plane: &ControlPlane, tools: &ToolPaths, images: &Path) -> Result<()> {
    let images = images.to_str().context("a path that is not UTF-8")?;
    ctr(
        plane,
        tools,
        &["--namespace", "k8s.io", "images", "import", "--local", images],
    )
    .await
}

/// Where the kubelet finds it.
pub(super) fn socket(plane: &ControlPlane) -> PathBuf {
    directory(plane).join("containerd.sock")
}

async fn ctr(plane: &ControlPlane, tools: &ToolPaths, arguments: &[&str]) -> Result<()> {
    let output = tokio::process::Command::new(tools.path(Tool::Ctr)?)
        .arg("--address")
        .arg(socket(plane))
        .args(arguments)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(IMPORT_WITHIN, output)
        .await
        .context("ctr does not end")?
        .context("run ctr")?;
    if !output.status.success() {
        bail!(
            "ctr {}: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}

fn directory(plane: &ControlPlane) -> PathBuf {
    plane.dir().join("containerd")
}

/// The containerd configuration: no registry, the pause image is one of ours, OOM scores as far as we may lower them.
fn configuration(dir: &Path, tools: &ToolPaths) -> Result<String> {
    let plugins: BTreeSet<PathBuf> = [Tool::CniBridge, Tool::CniLoopback, Tool::CniHostLocal]
        .into_iter()
        .map(|tool| Ok(tools.path(tool)?.parent().unwrap_or(Path::new("/")).to_owned()))
        .collect::<Result<_>>()?;
    let plugins: Vec<String> = plugins
        .iter()
        .map(|path| format!("'{}'", path.display()))
        .collect();
    let (dir, plugins) = (dir.display(), plugins.join(", "));
    Ok(format!(
        "version = 4
root = '{dir}/root'
state = '{dir}/state'
[plugins.'io.containerd.server.v1.grpc']
address = '{dir}/containerd.sock'
[plugins.'io.containerd.server.v1.ttrpc']
address = '{dir}/containerd.sock.ttrpc'
[plugins.'io.containerd.cri.v1.images'.pinned_images]
sandbox = '{PAUSE}'
[plugins.'io.containerd.cri.v1.runtime']
restrict_oom_score_adj = true
[plugins.'io.containerd.cri.v1.runtime'.cni]
bin_dirs = [{plugins}]
conf_dir = '{dir}/cni'
"
    ))
}

/// Pods are on a bridge of their own, behind the node.
fn network(dir: &Path) -> serde_json::Value {
    json!({
        "cniVersion": "1.0.0",
        "name": "pods",
        "plugins": [{
            "type": "bridge",
            "bridge": "pods0",
            "isGateway": true,
            "ipMasq": false,
            "hairpinMode": true,
            "ipam": {
                "type": "host-local",
                "ranges": [[{"subnet": "10.244.0.0/24"}]],
                "routes": [{"dst": "0.0.0.0/0"}],
                "dataDir": dir.join("addresses"),
            },
        }],
    })
}
