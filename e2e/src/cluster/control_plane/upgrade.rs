//! Replacement of the API server by another version of Kubernetes, on the same etcd.

use anyhow::Result;

use super::ControlPlane;
use crate::tools::{self, KubernetesVersion, Tool};

impl ControlPlane {
    /// Kills the API server, starts this version at the same address, and waits until it is ready. Builds it first if it is
    /// missing.
    pub async fn replace_api_server(&mut self, version: KubernetesVersion) -> Result<()> {
        let ensure = move || tools::ensure_version(&Tool::CONTROL_PLANE, version);
        self.tools = tokio::task::spawn_blocking(ensure).await??;
        self.restart_api_server().await
    }
}
