//! kube-state-metrics on loopback, with the metrics of Pods only.

use std::path::Path;

use anyhow::Result;

use crate::process::{Process, Spec, free_ports};
use crate::tools::{self, Tool};

/// Starts it with additional flags, and returns it with its port. Dropping it kills it.
pub(crate) async fn start(kubeconfig: &Path, flags: &[String], log: &Path) -> Result<(Process, u16)> {
    let tools = tokio::task::spawn_blocking(|| tools::ensure(&[Tool::KubeStateMetrics])).await??;
    let (port, telemetry_port) = free_ports()?;
    let command = Spec::new(tools.path(Tool::KubeStateMetrics)?)
        .arg(format!("--kubeconfig={}", kubeconfig.display()))
        .args([
            "--resources=pods",
            "--host=127.0.0.1",
            "--telemetry-host=127.0.0.1",
        ])
        .arg(format!("--port={port}"))
        .arg(format!("--telemetry-port={telemetry_port}"))
        .args(flags);
    Ok((Process::start(&command, log)?, port))
}
