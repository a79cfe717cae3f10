//! Writes what a [`PodState`] says to the API server, and plays the others that have a hand in a Pod's life: the scheduler, the
//! user who deletes it, the eviction.
//!
//! Input: a client that may do all that. Output: Pods, and one write of `pods/status` for each [`Step`].

use anyhow::{Context, Result};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ApiResource, DeleteParams, DynamicObject, EvictParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::json;

use super::{PodSpec, PodState, Step};

/// The node that Pods are bound to. No Node object is needed for it.
const NODE: &str = "node-1";

/// Makes Pods and moves them.
#[derive(Clone)]
pub struct SimulatedKubelet {
    client: Client,
}

impl SimulatedKubelet {
    /// With the client of an administrator.
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    /// Creates a Pod and nothing more: it is Pending and, unless its spec presets a node, waits for
    /// [`SimulatedPod::schedule`].
    pub async fn create(&self, namespace: &str, spec: PodSpec) -> Result<SimulatedPod> {
        // as plain JSON: the typed Pod has only the fields of the oldest Kubernetes that we support
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

    /// Takes over a Pod that somebody else has created and that waits for [`SimulatedPod::schedule`]. Its spec must be as told
    /// here.
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
            time: None,
        }
    }

    /// Creates a Pod and lets it come up: all its containers run and are ready.
    pub async fn run(&self, namespace: &str, spec: PodSpec) -> Result<SimulatedPod> {
        let mut pod = self.create(namespace, spec).await?;
        pod.run().await?;
        Ok(pod)
    }
}

/// A Pod in the cluster. Dropping it leaves the Pod as it is.
pub struct SimulatedPod {
    client: Client,
    pods: Api<Pod>,
    state: PodState,
    namespace: String,
    spec: PodSpec,
    uid: String,
    time: Option<Timestamp>,
}

impl SimulatedPod {
    /// The Pod's name.
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// The Pod's UID.
    pub fn uid(&self) -> &str {
        &self.uid
    }

    /// What its kubelet would say of it.
    pub fn state(&self) -> &PodState {
        &self.state
    }

    /// The Pod as the API server has it now.
    pub async fn get(&self) -> Result<Pod> {
        Ok(self.pods.get(self.name()).await?)
    }

    /// Lets all further steps happen at this time, which may lie in the past; `None` for the real one.
    pub fn set_time(&mut self, time: Option<Timestamp>) {
        self.time = time;
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
        self.state.scheduled(self.now());
        Ok(())
    }

    /// Schedules it if need be and takes the steps of [`PodSpec::healthy_start`].
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

    /// Takes one step and writes the status.
    pub async fn step(&mut self, step: Step<'_>) -> Result<()> {
        self.together(&[step]).await
    }

    /// Takes one step after the other, with a write after each.
    pub async fn steps(&mut self, steps: &[Step<'_>]) -> Result<()> {
        for step in steps {
            self.step(*step).await?;
        }
        Ok(())
    }

    /// Takes several steps and writes the status once, as a kubelet does when much happens between two of its writes.
    pub async fn together(&mut self, steps: &[Step<'_>]) -> Result<()> {
        for step in steps {
            self.state.apply(*step, self.now())?;
        }
        self.write().await
    }

    /// A container exits with this code, and the kubelet does what it does next: start it again at once the first time, wait
    /// (and show it, where it does) later. After that, [`Step::Start`] is the end of the wait.
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

    /// Deletes it as a user does: it gets a `deletionTimestamp`, and its containers run on until [`SimulatedPod::end`].
    pub async fn delete(&mut self) -> Result<()> {
        self.pods.delete(self.name(), &self.delete_params(30)).await?;
        self.see_deletion().await
    }

    /// Evicts it: the API server sets `DisruptionTarget` and then deletes it, gracefully.
    pub async fn evict(&mut self) -> Result<()> {
        let params = EvictParams {
            delete_options: Some(self.delete_params(30)),
            ..EvictParams::default()
        };
        self.pods.evict(self.name(), &params).await?;
        self.state.evicted(self.now());
        self.see_deletion().await
    }

    /// The end of a deleted Pod: everything has exited at once, with the code given here or 0, and the object goes away.
    pub async fn end(mut self, exit_codes: &[(&str, i32)]) -> Result<()> {
        self.step(Step::End(exit_codes)).await?;
        self.remove_now().await
    }

    /// Deletes it gracefully and ends it.
    pub async fn remove(mut self) -> Result<()> {
        self.delete().await?;
        self.end(&[]).await
    }

    /// Removes the object at once, whatever runs (`kubectl delete --force`).
    pub async fn remove_now(self) -> Result<()> {
        self.pods.delete(self.name(), &self.delete_params(0)).await?;
        Ok(())
    }

    async fn see_deletion(&mut self) -> Result<()> {
        let generation = self.get().await?.metadata.generation.unwrap_or(2);
        self.state.deleted(generation, self.now());
        self.write().await
    }

    async fn write(&self) -> Result<()> {
        // the UID guards against writing to a successor of the same name
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

    fn now(&self) -> Timestamp {
        self.time.unwrap_or_else(Timestamp::now)
    }
}
