//! CRDs of prometheus-operator, from its Go module.

use anyhow::{Context, Result};

use super::ControlPlane;
use crate::tools::module_files;

impl ControlPlane {
    /// Installs the CRDs of `PodMonitor`, `ServiceMonitor` and `PrometheusRule`. No controller acts on the objects.
    pub async fn install_monitoring_crds(&self) -> Result<()> {
        let module = "github.com/prometheus-operator/prometheus-operator";
        let files =
            tokio::task::spawn_blocking(move || module_files("prometheus-operator", module)).await??;
        for kind in ["podmonitors", "servicemonitors", "prometheusrules"] {
            let file = files.join(format!(
                "example/prometheus-operator-crd/monitoring.coreos.com_{kind}.yaml"
            ));
            let manifest =
                std::fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
            self.apply(&manifest).await?;
        }
        Ok(())
    }
}
