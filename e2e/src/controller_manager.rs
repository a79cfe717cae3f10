//! kube-controller-manager, for the tests that need one of its controllers.
//!
//! Input: a control plane and the names of controllers. Output: a running process, which ends with its handle.

use anyhow::Result;

use crate::ControlPlane;
use crate::process::{Process, Spec};
use crate::tools::{self, Tool};

impl ControlPlane {
    /// Starts kube-controller-manager with these controllers only. Does not wait: what a controller does is what shows that
    /// it runs.
    pub async fn start_controllers(&self, controllers: &[&str]) -> Result<Process> {
        let tools = tokio::task::spawn_blocking(|| tools::ensure(&[Tool::KubeControllerManager])).await??;
        let command = Spec::new(tools.path(Tool::KubeControllerManager)?)
            .arg("--kubeconfig")
            .arg(self.kubeconfig_path())
            .arg(format!("--controllers={}", controllers.join(",")))
            // nobody else leads, and nobody asks it anything
            .args(["--leader-elect=false", "--secure-port=0"]);
        let name = self.unique("kube-controller-manager");
        Process::start(&command, &self.dir().join(format!("{name}.log")))
    }
}
