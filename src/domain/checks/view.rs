//! The input of the checks, and conditions that several checks use.

use jiff::Timestamp;

use crate::domain::{
    history::{ContainerHistory, History},
    observation::{Container, ContainerKind, ContainerStatus, Observation},
    policy::Policy,
    roles::{Role, Roles},
};

/// One Pod under one policy at one time: all data that a check may read.
#[derive(Clone, Copy)]
pub struct View<'a> {
    /// The Pod.
    pub pod: &'a Observation,
    /// The roles of its containers.
    pub roles: &'a Roles,
    /// The policy.
    pub policy: &'a Policy,
    /// The history of its containers, if it is not empty.
    pub history: Option<&'a History>,
    /// The time.
    pub now: Timestamp,
}

impl<'a> View<'a> {
    pub(super) fn container(&self, container_idx: usize) -> Option<(&'a Container, &'a ContainerStatus)> {
        self.pod.container(container_idx)
    }

    pub(super) fn kind(&self, container_idx: usize) -> Option<ContainerKind> {
        Some(self.pod.shape.containers.get(container_idx)?.kind)
    }

    pub(super) fn history(&self, container_idx: usize) -> Option<&'a ContainerHistory> {
        self.history.and_then(|history| history.container(container_idx))
    }

    /// Whether the container is terminated, with any exit code, and will not be restarted.
    pub(super) fn is_finished(&self, container_idx: usize) -> bool {
        self.pod.finished(container_idx).is_some()
    }

    /// Whether all main containers are terminated and will not be restarted.
    pub(super) fn mains_finished(&self) -> bool {
        let mut mains = self.roles.with(Role::Main).peekable();
        mains.peek().is_some() && mains.all(|container_idx| self.is_finished(container_idx))
    }

    fn main_has_run(&self) -> bool {
        self.roles.with(Role::Main).any(|container_idx| {
            self.container(container_idx)
                .is_some_and(|(_, status)| status.has_run())
        })
    }

    /// The main containers that are ready.
    pub(super) fn ready_mains(&self) -> impl Iterator<Item = (&'a Container, &'a ContainerStatus)> + '_ {
        self.roles
            .with(Role::Main)
            .filter_map(|container_idx| self.container(container_idx))
            .filter(|(_, status)| status.ready)
    }

    /// Whether the container counts as unready: it is not ready and has not finished with exit code 0. A container that
    /// has not been created yet counts only after a main container has begun to run.
    fn is_unready(&self, container_idx: usize) -> bool {
        self.container(container_idx).is_some_and(|(_, status)| {
            !status.ready
                && self.pod.finished(container_idx).is_none_or(|exit| exit.code != 0)
                && (self.main_has_run() || !status.waits_to_be_created())
        })
    }

    /// The sidecars that are unready in an initialized Pod whose main containers have not finished: the subjects of
    /// NotReady and MainReadySidecarNotReady.
    pub(super) fn unready_sidecars(&self) -> impl Iterator<Item = usize> + '_ {
        let needed = self.pod.conditions.initialized && !self.mains_finished();
        self.roles
            .with(Role::Sidecar)
            .filter(move |container_idx| needed && self.is_unready(*container_idx))
    }

    /// The time at which the container became unready: the latest time in the status of the Pod that applies.
    pub(super) fn unready_since(&self, container_idx: usize) -> Option<Timestamp> {
        let others_are_ready = self.pod.statuses.iter().enumerate().all(|(other, status)| {
            let is_init = self.kind(other) == Some(ContainerKind::Init);
            let is_done = || self.pod.finished(other).is_some_and(|exit| exit.code == 0);
            other == container_idx || is_init || status.as_ref().is_none_or(|s| s.ready) || is_done()
        });
        let condition = self
            .pod
            .conditions
            .containers_ready
            .filter(|c| others_are_ready && !c.holds);
        let status = self
            .container(container_idx)
            .map(|(_, status)| status)
            .filter(|status| status.restart_count == 0);
        condition
            .and_then(|c| c.since.get())
            .max(status.and_then(ContainerStatus::running_since))
    }
}
