//! Writes the status of a [`PodState`] to the API server after each [`Step`], and binds and deletes Pods.
//!
//! ```text
//! PodSpec ──create──▶ SimulatedPod ──Step──▶ PodState::apply (testkit) ──status──▶ PATCH pods/status
//! ```
//!
//! ```no_run
//! # async fn example() -> anyhow::Result<()> {
//! use e2e::simulated_kubelet::{Container, SimulatedKubelet, PodSpec, Step};
//!
//! let plane = e2e::shared().await?;
//! let namespace = plane.namespace("example").await?;
//! let kubelet = SimulatedKubelet::new(plane.client().await?);
//! let spec = PodSpec::new("web")
//!     .container(Container::native("istio-proxy").readiness_probe())
//!     .container(Container::regular("app"));
//! let mut pod = kubelet.run(&namespace, spec).await?; // everything runs and is ready
//! pod.step(Step::Unready("istio-proxy")).await?;
//! pod.step(Step::Ready("istio-proxy")).await?;
//! pod.steps(&[Step::Exit("istio-proxy", 1), Step::Start("istio-proxy")]).await?; // restarted at once
//! pod.steps(&[Step::Exit("istio-proxy", 1), Step::BackOff("istio-proxy")]).await?; // CrashLoopBackOff
//! pod.remove_now().await?;
//! # Ok(())
//! # }
//! ```
//!
//! It never acts without a step, and never sleeps.

use anyhow::{Context, Result};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Client};
use serde_json::{Value, json};

pub use testkit::kubelet::{Container, Kind, PodSpec, PodState, RestartPolicy, Step};

/// Node of the Pods. No Node object is needed.
const NODE: &str = "node-1";

/// Creates simulated Pods.
#[derive(Clone)]
pub struct SimulatedKubelet {
    client: Client,
}

impl SimulatedKubelet {
    /// A kubelet with the client of an administrator.
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    /// Creates a Pod. It is Pending and, unless its spec has a node, unscheduled: see [`SimulatedPod::schedule`].
    pub async fn create(&self, namespace: &str, spec: PodSpec) -> Result<SimulatedPod> {
        // As JSON, because the typed Pod has only the fields of the oldest supported Kubernetes.
        let pods: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), namespace, &ApiResource::erase::<Pod>(&()));
        let object = serde_json::from_value(spec.pod())?;
        let created = pods
            .create(&PostParams::default(), &object)
            .await
            .with_context(|| format!("create Pod {namespace}/{}", spec.name))?;
        let uid = created.metadata.uid.context("a Pod without a UID")?;
        Ok(self.pod(namespace, spec, uid))
    }

    /// Takes over an existing, unscheduled Pod, whose spec must match.
    pub async fn adopt(&self, namespace: &str, spec: PodSpec) -> Result<SimulatedPod> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let pod = pods.get(&spec.name).await?;
        let uid = pod.metadata.uid.context("a Pod without a UID")?;
        Ok(self.pod(namespace, spec, uid))
    }

    fn pod(&self, namespace: &str, spec: PodSpec, uid: String) -> SimulatedPod {
        SimulatedPod {
            pods: Api::namespaced(self.client.clone(), namespace),
            state: PodState::new(&spec, namespace, &uid),
            spec,
            uid,
        }
    }

    /// Creates a Pod and starts it: all containers run and are ready.
    pub async fn run(&self, namespace: &str, spec: PodSpec) -> Result<SimulatedPod> {
        let mut pod = self.create(namespace, spec.clone()).await?;
        if spec.node().is_none() {
            pod.schedule().await?;
        }
        pod.steps(&spec.healthy_start()).await?;
        Ok(pod)
    }
}

/// A Pod in the cluster. Dropping the handle does not change the Pod.
pub struct SimulatedPod {
    pods: Api<Pod>,
    state: PodState,
    spec: PodSpec,
    uid: String,
}

impl SimulatedPod {
    /// Name of the Pod.
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// Binds it to a node, as the scheduler does.
    pub async fn schedule(&mut self) -> Result<()> {
        let body = json!({
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": self.name(), "uid": self.uid},
            "target": {"apiVersion": "v1", "kind": "Node", "name": NODE},
        });
        let params = PostParams::default();
        let bound = self
            .pods
            .create_subresource("binding", self.name(), &params, &body);
        let _status: Value = bound.await.with_context(|| format!("bind Pod {}", self.name()))?;
        self.state.scheduled(Timestamp::now());
        Ok(())
    }

    /// Applies one step and writes the status.
    pub async fn step(&mut self, step: Step<'_>) -> Result<()> {
        self.together(&[step]).await
    }

    /// Applies steps, with a write after each.
    pub async fn steps(&mut self, steps: &[Step<'_>]) -> Result<()> {
        for step in steps {
            self.step(*step).await?;
        }
        Ok(())
    }

    /// Applies steps and writes the status once, as a kubelet does for changes between two writes.
    pub async fn together(&mut self, steps: &[Step<'_>]) -> Result<()> {
        for step in steps {
            self.state.apply(*step, Timestamp::now())?;
        }
        self.write().await
    }

    /// Removes the object immediately (`kubectl delete --force`).
    pub async fn remove_now(self) -> Result<()> {
        let uid = Preconditions {
            uid: Some(self.uid.clone()),
            resource_version: None,
        };
        let now = DeleteParams::default().grace_period(0).preconditions(uid);
        self.pods.delete(self.name(), &now).await?;
        Ok(())
    }

    async fn write(&self) -> Result<()> {
        // The UID prevents a write to another Pod of the same name.
        let patch = json!({"metadata": {"uid": self.uid}, "status": self.state.status()});
        self.pods
            .patch_status(self.name(), &PatchParams::default(), &Patch::Merge(patch))
            .await
            .with_context(|| format!("write the status of Pod {}", self.name()))?;
        Ok(())
    }
}
