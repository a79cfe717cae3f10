//! kube-controller-manager, for tests that need one of its controllers, and a loop that marks Pods as ready, because no
//! kubelet runs the Pods that controllers create.

use std::convert::Infallible;
use std::time::Duration;

use anyhow::Result;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::json;

use super::ControlPlane;
use crate::process::{Process, Spec};
use crate::tools::{self, Tool};

const POLL: Duration = Duration::from_millis(100);
/// How long Pods that are marked as ready have been ready.
const READY_FOR: Duration = Duration::from_mins(1);

impl ControlPlane {
    /// Starts kube-controller-manager with these controllers only. Does not wait until they are active.
    pub async fn start_controllers(&self, controllers: &[&str]) -> Result<Process> {
        let tools = tokio::task::spawn_blocking(|| tools::ensure(&[Tool::KubeControllerManager])).await??;
        let command = Spec::new(tools.path(Tool::KubeControllerManager)?)
            .arg("--kubeconfig")
            .arg(self.kubeconfig_path())
            .arg(format!("--controllers={}", controllers.join(",")))
            // a single instance without endpoints
            .args(["--leader-elect=false", "--secure-port=0"]);
        let name = self.unique("kube-controller-manager");
        Process::start(&command, &self.dir().join(format!("{name}.log")))
    }

    /// Sets the condition Ready on every current and future Pod of a namespace. Returns only on an error.
    pub async fn keep_pods_ready(&self, namespace: &str) -> Result<Infallible> {
        let pods: Api<Pod> = Api::namespaced(self.client().await?, namespace);
        // Longer than `minReadySeconds`, so that a rollout does not wait.
        let since = (Timestamp::now() - READY_FOR).to_string();
        let condition = json!({"type": "Ready", "status": "True", "lastTransitionTime": since});
        let ready = Patch::Merge(json!({"status": {"conditions": [condition]}}));
        loop {
            for pod in pods.list(&ListParams::default()).await? {
                if pod.status.is_none_or(|status| status.conditions.is_none()) {
                    let name = pod.metadata.name.unwrap_or_default();
                    // The Pod may have been deleted.
                    if let Some(error) = pods
                        .patch_status(&name, &PatchParams::default(), &ready)
                        .await
                        .err()
                        .filter(|error| !matches!(error, kube::Error::Api(status) if status.code == 404))
                    {
                        return Err(error.into());
                    }
                }
            }
            tokio::time::sleep(POLL).await;
        }
    }
}
