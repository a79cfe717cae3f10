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
//! pod.crash("istio-proxy", 1).await?; // exits 1 and is restarted at once
//! pod.crash("istio-proxy", 1).await?; // exits 1, CrashLoopBackOff
//! pod.step(Step::Start("istio-proxy")).await?;
//! pod.remove().await?;
//! # Ok(())
//! # }
//! ```
//!
//! It never acts without a step, and never sleeps.

use anyhow::{Context, Result};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::json;

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
            client: self.client.clone(),
            pods: Api::namespaced(self.client.clone(), namespace),
            state: PodState::new(&spec, namespace, &uid),
            namespace: namespace.into(),
            spec,
            uid,
        }
    }

    /// Creates a Pod and starts it: all containers run and are ready.
    pub async fn run(&self, namespace: &str, spec: PodSpec) -> Result<SimulatedPod> {
        let mut pod = self.create(namespace, spec).await?;
        pod.run().await?;
        Ok(pod)
    }
}

/// A Pod in the cluster. Dropping the handle does not change the Pod.
pub struct SimulatedPod {
    client: Client,
    pods: Api<Pod>,
    state: PodState,
    namespace: String,
    spec: PodSpec,
    uid: String,
}

impl SimulatedPod {
    /// Name of the Pod.
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// The Pod in the API server.
    pub async fn get(&self) -> Result<Pod> {
        Ok(self.pods.get(self.name()).await?)
    }

    /// Binds it to a node, as the scheduler does.
    pub async fn schedule(&mut self) -> Result<()> {
        let body = json!({
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": self.name(), "uid": self.uid},
            "target": {"apiVersion": "v1", "kind": "Node", "name": NODE},
        });
        let path = format!(
            "/api/v1/namespaces/{}/pods/{}/binding",
            self.namespace,
            self.name()
        );
        let request = http::Request::post(path)
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(serde_json::to_vec(&body)?)?;
        self.client
            .request_text(request)
            .await
            .with_context(|| format!("bind Pod {}", self.name()))?;
        self.state.scheduled(Timestamp::now());
        Ok(())
    }

    /// Schedules it if necessary and applies the steps of [`PodSpec::healthy_start`].
    pub async fn run(&mut self) -> Result<()> {
        if self.spec.node().is_none() {
            self.schedule().await?;
        }
        let spec = self.spec.clone();
        for step in spec.healthy_start() {
            self.step(step).await?;
        }
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

    /// A container exits with this code. The kubelet restarts it immediately the first time, and later after a back-off, which
    /// [`Step::Start`] ends.
    pub async fn crash(&mut self, container: &str, exit_code: i32) -> Result<()> {
        let first = self.state.restarts(container) == Some(0);
        self.step(Step::Exit(container, exit_code)).await?;
        if first {
            self.step(Step::Start(container)).await?;
        } else if self.state.shows_back_off(container) {
            self.step(Step::BackOff(container)).await?;
        }
        Ok(())
    }

    /// Deletes it as a user does: it gets a `deletionTimestamp`, and its containers run until [`SimulatedPod::end`].
    pub async fn delete(&mut self) -> Result<()> {
        self.pods.delete(self.name(), &self.delete_params(30)).await?;
        self.see_deletion().await
    }

    /// Ends a deleted Pod: all containers exit with the given codes or 0, and the object is removed.
    pub async fn end(mut self, exit_codes: &[(&str, i32)]) -> Result<()> {
        self.step(Step::End(exit_codes)).await?;
        self.remove_now().await
    }

    /// Deletes it gracefully and ends it.
    pub async fn remove(mut self) -> Result<()> {
        self.delete().await?;
        self.end(&[]).await
    }

    /// Removes the object immediately (`kubectl delete --force`).
    pub async fn remove_now(self) -> Result<()> {
        self.pods.delete(self.name(), &self.delete_params(0)).await?;
        Ok(())
    }

    async fn see_deletion(&mut self) -> Result<()> {
        let generation = self.get().await?.metadata.generation.unwrap_or(2);
        self.state.deleted(generation, Timestamp::now());
        self.write().await
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

    fn delete_params(&self, grace: u32) -> DeleteParams {
        let uid = kube::api::Preconditions {
            uid: Some(self.uid.clone()),
            resource_version: None,
        };
        DeleteParams {
            grace_period_seconds: Some(grace),
            preconditions: Some(uid),
            ..DeleteParams::default()
        }
    }
}
