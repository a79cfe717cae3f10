//! containerd, without access to a registry, and the import of images.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::json;

use super::Service;
use crate::ControlPlane;
use crate::cluster::addresses::PODS;
use crate::images::PAUSE;
use crate::process::programs::{path_with, stdout_of_async};
use crate::process::{Spec, wait_until_ready};
use crate::tools::{Tool, ToolPaths};

const IMPORT_WITHIN: Duration = Duration::from_mins(1);

pub(super) async fn start(plane: &ControlPlane, tools: &ToolPaths) -> Result<Service> {
    let config = configure(plane, tools)?;
    let shim = tools.path(Tool::ContainerdShim)?;
    let command = Spec::new(tools.path(Tool::Containerd)?)
        .arg("--config")
        .arg(&config)
        .env("PATH", path_with(shim)?);
    let mut service = Service::start(command, &plane.dir().join("containerd.log"))?;
    let mut containerd = [&mut service.process];
    wait_until_ready(&mut containerd, IMPORT_WITHIN, async || {
        ctr(plane, tools, &["version"]).await
    })
    .await?;
    Ok(service)
}

/// Writes the configuration and returns its path.
pub(super) fn configure(plane: &ControlPlane, tools: &ToolPaths) -> Result<PathBuf> {
    let dir = directory(plane);
    let [networks, plugins] = ["cni", "cni-plugins"].map(|name| dir.join(name));
    for dir in [&networks, &plugins] {
        fs::create_dir_all(dir).with_context(|| format!("make {}", dir.display()))?;
    }
    fs::write(networks.join("10-pods.conflist"), network(&dir).to_string())?;
    for tool in [Tool::CniBridge, Tool::CniLoopback, Tool::CniHostLocal] {
        let plugin = plugins.join(tool.name());
        symlink(tools.path(tool)?, &plugin).with_context(|| format!("link {}", plugin.display()))?;
    }
    let config = dir.join("containerd.toml");
    fs::write(&config, configuration(&dir))?;
    Ok(config)
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

/// Socket of containerd, for the kubelet.
pub(super) fn socket(plane: &ControlPlane) -> PathBuf {
    directory(plane).join("containerd.sock")
}

async fn ctr(plane: &ControlPlane, tools: &ToolPaths, arguments: &[&str]) -> Result<()> {
    let mut command = tokio::process::Command::new(tools.path(Tool::Ctr)?);
    command.arg("--address").arg(socket(plane)).args(arguments);
    let output = tokio::time::timeout(IMPORT_WITHIN, stdout_of_async(&mut command));
    output.await.context("ctr does not exit")?.map(drop)
}

fn directory(plane: &ControlPlane) -> PathBuf {
    plane.dir().join("containerd")
}

/// Configuration of containerd: no registry, the pause image of this project, OOM scores no lower than permitted. Version 2 is
/// the newest format that containerd 1.7 reads; later versions convert it.
fn configuration(dir: &Path) -> String {
    let dir = dir.display();
    format!(
        "version = 2
root = '{dir}/root'
state = '{dir}/state'
[grpc]
address = '{dir}/containerd.sock'
[ttrpc]
address = '{dir}/containerd.sock.ttrpc'
[plugins.'io.containerd.grpc.v1.cri']
sandbox_image = '{PAUSE}'
restrict_oom_score_adj = true
[plugins.'io.containerd.grpc.v1.cri'.cni]
bin_dir = '{dir}/cni-plugins'
conf_dir = '{dir}/cni'
"
    )
}

/// CNI configuration: Pods have a separate bridge, behind the node.
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
                "ranges": [[{"subnet": PODS}]],
                "routes": [{"dst": "0.0.0.0/0"}],
                "dataDir": dir.join("addresses"),
            },
        }],
    })
}
