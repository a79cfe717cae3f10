//! Restarts that the Pod causes, not the container. They never count.

use std::num::NonZeroU32;

use jiff::Timestamp;

use crate::domain::observation::{ContainerStatus, Exit, OOM_KILLED, Observation, RESTARTING_ALL_CONTAINERS};

/// What is known of the latest runs of a Pod's containers and of its sandbox, beyond the times: before Kubernetes 1.36 the kubelet
/// reports the sandbox as ready only after it has started the first containers. For the first 32 containers.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SandboxRuns {
    /// They ended in the present sandbox before the kubelet reported that as ready.
    ended_in_it: u32,
    /// They began in an earlier sandbox. The kubelet shows them for a moment as running in the present one.
    older: u32,
}

impl SandboxRuns {
    /// The present sandbox may be younger than every run.
    pub(super) const UNKNOWN: Self = Self {
        ended_in_it: 0,
        older: u32::MAX,
    };

    /// Adds an update that can change the sandbox.
    pub(super) fn advance(&mut self, before: &Observation, next: &Observation) {
        if !is_same_sandbox(before, next) {
            *self = Self::replaced(before);
        }
    }

    fn replaced(before: &Observation) -> Self {
        let statuses = before.statuses.iter().enumerate();
        let running = statuses.filter(|(_, status)| {
            status
                .as_ref()
                .is_some_and(|status| status.running_since().is_some())
        });
        Self {
            ended_in_it: 0,
            older: running.fold(0, |older, (idx, _)| older | bit(idx)),
        }
    }

    pub(super) fn is_empty(self) -> bool {
        self.ended_in_it | self.older == 0
    }

    /// The run ended in the present sandbox.
    pub(super) fn end(&mut self, container_idx: usize) {
        self.ended_in_it |= bit(container_idx) & !self.older;
    }

    /// A run began after the latest one.
    pub(super) fn restart(&mut self, container_idx: usize) {
        self.ended_in_it &= !bit(container_idx);
        self.older &= !bit(container_idx);
    }
}

fn bit(container_idx: usize) -> u32 {
    u32::try_from(container_idx).map_or(0, |idx| 1_u32.checked_shl(idx).unwrap_or(0))
}

/// Whether the restart affected all containers of the Pod and was not caused by the container: a restart of all containers
/// in place (KEP-5532), or a sandbox that is younger than the run that ended.
pub(super) fn is_pod_restart(
    before: &Observation,
    next: &Observation,
    previous: &ContainerStatus,
    status: &ContainerStatus,
    (runs, container_idx): (SandboxRuns, usize),
) -> bool {
    if before.conditions.all_containers_restarting || next.conditions.all_containers_restarting {
        return true;
    }
    // Init containers lose their last state with the sandbox. The previous status shows the run that ended.
    let ended = match status.last_exit.as_deref() {
        Some(exit) if &*exit.reason == RESTARTING_ALL_CONTAINERS => return true,
        Some(exit) => Some(exit),
        None => previous
            .latest_exit()
            .filter(|_| previous.running_since().is_none()),
    };
    let Some(began) = ended.map_or(previous.running_since(), |exit| exit.started_at) else {
        return false;
    };
    let sandbox = next
        .conditions
        .sandbox_ready
        .and_then(|condition| condition.since.get());
    let bit = bit(container_idx);
    let ran_in_it = sandbox_ready_since(before).is_some() && previous.running_since() == Some(began);
    let ran_in_it = runs.ended_in_it & bit != 0 || (ran_in_it && runs.older & bit == 0);
    if ran_in_it && is_same_sandbox(before, next) {
        return false;
    }
    // A busy kubelet reports the first sandbox as ready after the first run began, so the end of the run is used if it
    // is known. Both times are in whole seconds: a new sandbox can be ready in the same second in which the old one
    // ended.
    let end = ended.and_then(|exit| exit.finished_at).unwrap_or(began);
    sandbox.is_some_and(|sandbox| sandbox > began && sandbox >= end)
}

/// Whether this update shows the end of a run that ended before the kubelet reported its sandbox as ready. Other runs cannot be
/// mistaken for runs in an earlier sandbox.
pub(super) fn ended_in_sandbox(
    before: &Observation,
    previous: &ContainerStatus,
    status: &ContainerStatus,
) -> bool {
    let exit = status.latest_exit().filter(|_| status.running_since().is_none());
    exit.is_some_and(|exit| {
        exit.started_at.is_some()
            && exit.started_at == previous.running_since()
            && status.restart_count == previous.restart_count
            && exit.finished_at.is_some()
            && exit.finished_at <= sandbox_ready_since(before)
    })
}

/// Whether two observations of a Pod show the same sandbox.
fn is_same_sandbox(before: &Observation, next: &Observation) -> bool {
    sandbox_ready_since(before) == sandbox_ready_since(next)
}

fn sandbox_ready_since(pod: &Observation) -> Option<Timestamp> {
    let condition = pod.conditions.sandbox_ready.filter(|condition| condition.holds)?;
    condition.since.get()
}

/// Whether a resize in place is in progress that can restart the container.
pub(super) fn can_resize_restart(before: &Observation, next: &Observation, container_idx: usize) -> bool {
    let resizing = |pod: &Observation| pod.conditions.resize_in_progress.is_some();
    (resizing(before) || resizing(next))
        && next
            .shape
            .containers
            .get(container_idx)
            .is_some_and(|container| container.restarts_on_resize)
}

/// Subtracts the restarts that a resize in place causes (KEP-1287) from `count`: one per resize. `resized` is the
/// latest resize that has restarted the container; it is updated. A resize that stays in progress therefore does not
/// hide a crash loop.
pub(super) fn without_resize_restarts(
    (before, next): (&Observation, &Observation),
    resized: &mut Option<NonZeroU32>,
    count: u32,
) -> u32 {
    let mut count = count;
    let in_progress = [before, next].map(|pod| pod.conditions.resize_in_progress);
    for resize in in_progress.into_iter().flatten() {
        if count > 0 && *resized != Some(resize) {
            *resized = Some(resize);
            count -= 1;
        }
    }
    count
}

/// The reason of the run that ended, as the metrics show it.
pub(super) fn reason_of(exit: Option<&Exit>) -> &'static str {
    match exit.map(|exit| &*exit.reason) {
        Some(OOM_KILLED) => OOM_KILLED,
        Some("Error") => "Error",
        Some("Completed") => "Completed",
        _ => "Other",
    }
}
