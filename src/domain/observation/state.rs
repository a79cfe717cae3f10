//! What the statuses and the conditions of a Pod say together.

use jiff::Timestamp;

use super::{
    Container, ContainerKind, ContainerStatus, Exit, Observation, Phase, RESTARTING_ALL_CONTAINERS, State,
};

impl Observation {
    /// A container with its status, if the kubelet has reported it.
    pub fn container(&self, container_idx: usize) -> Option<(&Container, &ContainerStatus)> {
        let status = self.statuses.get(container_idx)?.as_ref()?;
        Some((self.shape.containers.get(container_idx)?, status))
    }

    /// The last exit of a container that is terminated and will not be restarted.
    pub fn finished(&self, container_idx: usize) -> Option<&Exit> {
        let (container, status) = self.container(container_idx)?;
        match &status.state {
            State::Terminated(exit) if container.is_final(exit.code, self.shape.restart_policy) => Some(exit),
            _ => None,
        }
    }

    /// The earliest time at which the container can have become unready, if all others are ready: the Pod was ready before, or
    /// the container started.
    pub fn ready_until(&self, container_idx: usize) -> Option<Timestamp> {
        let others_are_ready = self.statuses.iter().enumerate().all(|(other, status)| {
            let is_init = || {
                let container = self.shape.containers.get(other);
                container.is_some_and(|container| container.kind == ContainerKind::Init)
            };
            let is_done = || self.finished(other).is_some_and(|exit| exit.code == 0);
            other == container_idx || status.as_ref().is_none_or(|s| s.ready) || is_init() || is_done()
        });
        let condition = self.conditions.containers_ready;
        let unready = condition.filter(|c| others_are_ready && !c.holds)?.since.get();
        let status = self.statuses.get(container_idx).and_then(Option::as_ref);
        let first_run = status.filter(|status| status.restart_count == 0);
        let started = first_run.and_then(ContainerStatus::running_since);
        let finished = self.finished(container_idx).and_then(|exit| exit.finished_at);
        unready.max(started).max(finished)
    }

    /// Whether the Pod has no owner, so that it is its own workload.
    pub fn is_own_workload(&self) -> bool {
        self.workload.is_pod() && self.workload.name == self.name
    }

    /// Whether the container has begun to run in the present sandbox, and since the last restart of all containers.
    ///
    /// The kubelet reports the sandbox as ready before it starts the second container, so only the first container can have
    /// an earlier start in this sandbox.
    pub fn has_begun(&self, container_idx: usize) -> bool {
        let Some(status) = self.statuses.get(container_idx).and_then(Option::as_ref) else {
            return false;
        };
        let sandbox = self.conditions.sandbox_ready;
        if status.waits_to_be_created() || sandbox.is_some_and(|sandbox| !sandbox.holds) {
            return false;
        }
        let ready = sandbox.and_then(|sandbox| sandbox.since.get());
        if let State::Running(since) = status.state {
            return since >= ready || since.is_none();
        }
        status.latest_exit().is_some_and(|exit| {
            &*exit.reason != RESTARTING_ALL_CONTAINERS && !exit.is_lost() && exit.finished_at > ready
        })
    }

    /// Whether a regular container has begun to run, as in [`Self::has_begun`].
    pub fn regular_has_begun(&self) -> bool {
        let mut containers = self.shape.containers.iter().enumerate();
        containers.any(|(idx, container)| container.kind == ContainerKind::Regular && self.has_begun(idx))
    }

    /// Whether all init containers have been done in this sandbox: the kubelet reports it, or a regular container has begun.
    /// The kubelet reports the contrary again while all regular containers wait and a native sidecar has not started
    /// (`status/generate.go`). A virtual kubelet can report nothing.
    pub fn is_initialized(&self) -> bool {
        self.conditions.initialized || self.regular_has_begun()
    }

    /// Whether the Pod has ended or is being deleted.
    pub const fn is_ending(&self) -> bool {
        self.terminating || matches!(self.phase, Phase::Succeeded | Phase::Failed)
    }

    /// Whether the Pod is evaluated: it is on a node, has not ended and is not being deleted or evicted.
    pub fn is_evaluated(&self) -> bool {
        self.scheduled && !self.is_ending() && !self.conditions.disruption_target
    }

    /// Whether the container statuses are not reliable now: all containers are being restarted together, or the node is
    /// lost. For a lost node the node controller sets only `Ready=False`, without a reason; `ContainersReady` and the
    /// container statuses stay as the kubelet last wrote them.
    pub fn is_held(&self) -> bool {
        let conditions = &self.conditions;
        conditions.all_containers_restarting
            || conditions.ready_false_without_reason
                && conditions.containers_ready.is_some_and(|c| c.holds)
                && self
                    .statuses
                    .iter()
                    .all(|status| status.as_ref().is_some_and(|s| s.ready))
    }
}
