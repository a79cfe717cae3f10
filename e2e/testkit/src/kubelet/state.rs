//! The state of a Pod on its node: applies [`Step`]s and returns the status that a kubelet writes.
//!
//! No I/O, and no clock: the time is an argument. A step that a kubelet never takes is an error and changes nothing.

use anyhow::{Context, Result};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::container::{ContainerState, seconds};
use super::spec::{Kind, PodSpec};
use super::status::{self, Condition, Phase, Sandbox, Verdict};
use super::step::Step;

/// State of a Pod on its node.
#[derive(Debug, Clone)]
pub struct PodState {
    pub(super) name: String,
    pub(super) namespace: String,
    pub(super) uid: String,
    pub(super) generation: i64,
    /// Init containers and native sidecars in order, then regular containers.
    pub(super) containers: Vec<ContainerState>,
    pub(super) admitted: Option<Timestamp>,
    pub(super) sandbox: Sandbox,
    /// Number of sandboxes with an address so far.
    pub(super) addresses: u8,
    pub(super) has_address: bool,
    /// A regular container has run, in this or an earlier sandbox.
    pub(super) begun: bool,
    pub(super) deleted: bool,
    /// It was deleted, and all its containers have exited.
    pub(super) ended: bool,
    pub(super) node_lost: bool,
    /// The reported phase: it becomes Succeeded or Failed one write after the containers have finished.
    pub(super) phase: Phase,
    pub(super) conditions: Vec<Condition>,
}

impl PodState {
    /// A Pod before its admission by a kubelet.
    pub fn new(spec: &PodSpec, namespace: &str, uid: &str) -> Self {
        let state =
            |container: &super::Container| ContainerState::new(container.clone(), spec.restart_policy, uid);
        let mut containers: Vec<_> = spec.containers.iter().map(state).collect();
        containers.sort_by_key(|container| container.is(Kind::Regular));
        Self {
            name: spec.name.clone(),
            namespace: namespace.into(),
            uid: uid.into(),
            generation: 1,
            containers,
            admitted: None,
            sandbox: Sandbox::None,
            addresses: 0,
            has_address: false,
            begun: false,
            deleted: false,
            ended: false,
            node_lost: false,
            phase: Phase::Pending,
            conditions: Vec::new(),
        }
    }

    /// Binds it to a node.
    pub fn scheduled(&mut self, now: Timestamp) {
        status::set(&mut self.conditions, "PodScheduled", Verdict::of(true), None, now);
    }

    /// Marks it for deletion, which is a new generation. The kubelet no longer restarts containers.
    pub fn deleted(&mut self, generation: i64, now: Timestamp) {
        self.deleted = true;
        self.generation = generation;
        self.refresh(now);
    }

    /// Applies a step.
    pub fn apply(&mut self, step: Step<'_>, now: Timestamp) -> Result<()> {
        let before = self.clone();
        let result = self
            .take(step, now)
            .with_context(|| format!("{step:?} cannot happen to Pod {}", self.name));
        if result.is_err() {
            *self = before;
        } else {
            self.refresh(now);
        }
        result
    }

    pub(super) fn set(&mut self, kind: &'static str, verdict: Verdict, now: Timestamp) {
        status::set(&mut self.conditions, kind, verdict, Some(self.generation), now);
    }

    /// Updates conditions and phase from the containers.
    fn refresh(&mut self, now: Timestamp) {
        if self.admitted.is_none() {
            return;
        }
        let phase = status::phase(&self.containers, self.begun, self.ended);
        if phase.is_last() {
            self.sandbox = Sandbox::Gone;
        } else {
            self.phase = phase;
        }
        let scheduled = self
            .conditions
            .iter()
            .position(|condition| condition.kind == "PodScheduled");
        let scheduled = scheduled.map(|at| self.conditions.remove(at));
        let ready = status::containers_ready(&self.containers, phase);
        self.set("PodReadyToStartContainers", status::sandbox(self.sandbox), now);
        self.set(
            "Initialized",
            status::initialized(&self.containers, self.begun, phase),
            now,
        );
        // The node controller gives no reason, and does not change a condition that is already False.
        let lost = self.node_lost && ready.status;
        self.set(
            "Ready",
            if lost { Verdict::of(false) } else { ready.clone() },
            now,
        );
        self.set("ContainersReady", ready, now);
        self.conditions
            .extend(scheduled.map(|condition| condition.observed(self.generation)));
    }

    /// The complete status.
    pub fn status(&self) -> Value {
        let mut status = json!({
            "phase": self.phase,
            "conditions": self.conditions.iter().map(Condition::json).collect::<Vec<_>>(),
        });
        let Some(admitted) = self.admitted else {
            return status;
        };
        let has_init = self
            .containers
            .iter()
            .any(|container| !container.is(Kind::Regular));
        let waits_for = if has_init {
            "PodInitializing"
        } else {
            "ContainerCreating"
        };
        let list = |regular: bool| -> Vec<Value> {
            let wanted = self
                .containers
                .iter()
                .filter(|container| container.is(Kind::Regular) == regular);
            wanted.map(|container| container.status(waits_for)).collect()
        };
        status["observedGeneration"] = json!(self.generation);
        status["startTime"] = json!(seconds(admitted));
        status["hostIP"] = json!("127.0.0.1");
        status["hostIPs"] = json!([{"ip": "127.0.0.1"}]);
        if self.has_address {
            let address = format!("10.244.0.{}", self.addresses);
            status["podIP"] = json!(address);
            status["podIPs"] = json!([{"ip": address}]);
        }
        if has_init {
            status["initContainerStatuses"] = json!(list(false));
        }
        status["containerStatuses"] = json!(list(true));
        status
    }
}
