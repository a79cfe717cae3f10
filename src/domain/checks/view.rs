//! The input of the checks, and conditions that several checks use.

use jiff::{SignedDuration, Timestamp};

use crate::domain::{
    catalogue,
    history::{ContainerHistory, History},
    observation::{Container, ContainerKind, ContainerStatus, Observation, State},
    pattern::Repository,
    policy::Policy,
    roles::{Role, Roles},
    time::later,
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

    pub(super) fn status(&self, container_idx: usize) -> Option<&'a ContainerStatus> {
        self.pod.statuses.get(container_idx)?.as_ref()
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

    /// Whether the container was restarted or ended after this time, as far as its status shows.
    pub(super) fn restarted_since(&self, container_idx: usize, since: Timestamp) -> bool {
        self.status(container_idx).is_some_and(|status| {
            let is_current_end =
                matches!(status.state, State::Terminated(_)) && !self.is_finished(container_idx);
            let ended = status.latest_exit().map(|exit| exit.finished_at);
            (status.restart_count > 0 || is_current_end)
                && ended.is_some_and(|ended| ended.is_none_or(|ended| ended >= since))
        })
    }

    /// The main containers.
    pub(super) fn mains(&self) -> impl Iterator<Item = &'a Container> {
        let mains = self.roles.with(Role::Main);
        mains.filter_map(|main| self.pod.shape.containers.get(main))
    }

    /// Whether all main containers are terminated and will not be restarted.
    pub(super) fn mains_finished(&self) -> bool {
        let mut mains = self.roles.with(Role::Main).peekable();
        mains.peek().is_some() && mains.all(|container_idx| self.is_finished(container_idx))
    }

    /// Whether all main containers have finished with exit code 0.
    pub(super) fn mains_succeeded(&self) -> bool {
        let mut mains = self.roles.with(Role::Main);
        mains.all(|main| self.pod.finished(main).is_some_and(|exit| exit.code == 0))
    }

    /// Whether the container works after the main containers by design.
    pub(super) fn outlives(&self, container_idx: usize) -> bool {
        let containers = &self.pod.shape.containers;
        let names = containers.iter().map(|container| &*container.name);
        let product = containers
            .get(container_idx)
            .and_then(|c| catalogue::find(&c.name, &Repository::of(&c.image), &names));
        product.is_some_and(|product| product.outlives)
    }

    /// Whether the container is a proxy between the app and the network.
    pub(super) fn is_proxy(&self, container_idx: usize) -> bool {
        self.pod
            .shape
            .containers
            .get(container_idx)
            .is_some_and(is_ambassador)
    }

    /// Whether the container is a native sidecar that the kubelet stops, because all regular containers have finished
    /// (KEP-753).
    fn is_stopped_with_its_pod(&self, container_idx: usize) -> bool {
        let mut regular = (0..self.pod.shape.containers.len())
            .filter(|other| self.kind(*other) == Some(ContainerKind::Regular))
            .peekable();
        self.kind(container_idx) == Some(ContainerKind::Native)
            && regular.peek().is_some()
            && regular.all(|other| self.is_finished(other))
    }

    /// Whether the container waits because an init container before it has to run again, for example in a new sandbox.
    fn waits_for_init_containers(&self, container_idx: usize) -> bool {
        let Some(status) = self.status(container_idx) else {
            return false;
        };
        let Some((blocking, _)) = self.blocking_init().filter(|(idx, _)| *idx < container_idx) else {
            return false;
        };
        // A plain init container has to complete first. A native sidecar that is down holds up only containers that
        // have not run in this sandbox.
        self.kind(blocking) == Some(ContainerKind::Init)
            || status.waits_to_be_created()
            || self.ended_before_sandbox(status)
    }

    fn ended_before_sandbox(&self, status: &ContainerStatus) -> bool {
        let sandbox = self.pod.conditions.sandbox_ready.and_then(|c| c.since.get());
        let ended = status.latest_exit().and_then(|exit| exit.finished_at);
        ended
            .zip(sandbox)
            .is_some_and(|(ended, sandbox)| ended <= sandbox)
    }

    /// Whether the container is waiting, or is terminated and will be restarted. A container that the Pod itself keeps
    /// from running is not down.
    pub(super) fn is_down(&self, container_idx: usize) -> bool {
        let not_running = self
            .status(container_idx)
            .is_some_and(|status| match status.state {
                State::Running(_) => false,
                State::Waiting(_) => true,
                State::Terminated(_) => !self.is_finished(container_idx),
            });
        not_running
            && !self.is_stopped_with_its_pod(container_idx)
            && !self.waits_for_init_containers(container_idx)
    }

    /// The init container that the containers after it wait for. `None` if the kubelet has not reported it or one before it.
    ///
    /// The kubelet walks the init containers backwards to the last one that has begun in this sandbox, so those before it block
    /// nothing, even if a native sidecar among them restarts (`computeInitContainerActions` in `kuberuntime_container.go`). For
    /// the same reason none blocks once a regular container has begun.
    pub(super) fn blocking_init(&self) -> Option<(usize, &'a ContainerStatus)> {
        if self.pod.regular_has_begun() {
            return None;
        }
        let containers = self.pod.shape.containers.iter().enumerate();
        let inits: Vec<(usize, ContainerKind)> = containers
            .map(|(idx, container)| (idx, container.kind))
            .filter(|(_, kind)| *kind != ContainerKind::Regular)
            .collect();
        let latest = inits.iter().rposition(|(idx, _)| self.pod.has_begun(*idx));
        for (container_idx, kind) in inits.into_iter().skip(latest.unwrap_or(0)) {
            let status = self.status(container_idx)?;
            if !status.is_done(kind) {
                return Some((container_idx, status));
            }
        }
        None
    }

    fn main_has_run(&self) -> bool {
        let mut mains = self.roles.with(Role::Main);
        mains.any(|container_idx| self.status(container_idx).is_some_and(ContainerStatus::has_run))
    }

    /// The main containers that are ready.
    pub(super) fn ready_mains(&self) -> impl Iterator<Item = (&'a Container, &'a ContainerStatus)> + '_ {
        self.roles
            .with(Role::Main)
            .filter_map(|container_idx| self.container(container_idx))
            .filter(|(_, status)| status.ready)
    }

    /// Whether the container counts as unready: it is not ready and has not finished with exit code 0. A proxy counts
    /// also after exit code 0, because a main container still needs it. A container that has not been created yet counts
    /// only after a main container has begun to run, and so does a proxy that has finished.
    fn is_unready(&self, container_idx: usize) -> bool {
        self.container(container_idx).is_some_and(|(container, status)| {
            let succeeded = self
                .pod
                .finished(container_idx)
                .is_some_and(|exit| exit.code == 0);
            !status.ready
                && (!succeeded || is_ambassador(container))
                && (self.main_has_run() || !(succeeded || status.waits_to_be_created()))
        })
    }

    /// Whether the readiness of the container includes that of the app.
    pub(super) fn reflects_app(&self, container_idx: usize) -> bool {
        let container = self.pod.shape.containers.get(container_idx);
        container.is_some_and(|c| catalogue::reflects_app(&c.name, &Repository::of(&c.image)))
    }

    /// The sidecars that are unready in an initialized Pod whose main containers have not finished: the subjects of
    /// NotReady and MainReadySidecarNotReady.
    pub(super) fn unready_sidecars(&self) -> impl Iterator<Item = usize> + '_ {
        let needed = self.pod.is_initialized() && !self.mains_finished();
        self.roles
            .with(Role::Sidecar)
            .filter(move |container_idx| needed && self.is_unready(*container_idx))
    }

    /// The time since which the container is known to be unready: it is down, has not started since, or was seen ready before.
    pub(super) fn unready_since(&self, container_idx: usize) -> Option<Timestamp> {
        let status = self.status(container_idx)?;
        let running_since = status.running_since();
        if running_since.is_some() && status.started {
            return self.history(container_idx)?.unready_since();
        }
        // The time between two sandboxes is not the container's.
        let exit = status
            .latest_exit()
            .filter(|_| !self.ended_before_sandbox(status));
        exit.and_then(|exit| exit.finished_at).or(running_since)
    }

    /// The time before which the container is not expected to be ready: its probes do not run yet.
    pub(super) fn probed_from(&self, container_idx: usize) -> Option<Timestamp> {
        let (container, status) = self.container(container_idx)?;
        let probes = container.probes;
        let startup = if status.started { 0 } else { probes.startup_delay };
        let delay = startup.max(probes.readiness_delay);
        let since = status.running_since().filter(|_| delay > 0)?;
        Some(later(since, SignedDuration::from_secs(i64::from(delay))))
    }
}

fn is_ambassador(container: &Container) -> bool {
    catalogue::is_ambassador(&container.name, &Repository::of(&container.image))
}
