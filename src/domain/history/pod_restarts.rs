//! Which restarts the Pod causes, not the container: they never count. The reasons of the others.

use std::num::NonZeroU32;

use super::sandbox::{SandboxRuns, is_same_sandbox, sandbox_ready_since};
use crate::domain::observation::{ContainerStatus, Exit, OOM_KILLED, Observation, RESTARTING_ALL_CONTAINERS};

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
        Some(exit) if &*exit.reason == RESTARTING_ALL_CONTAINERS || exit.is_lost() => return true,
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
    let was_running = sandbox_ready_since(before).is_some() && previous.running_since() == Some(began);
    if is_same_sandbox(before, next) && runs.is_of_sandbox(container_idx, was_running) {
        return false;
    }
    // A busy kubelet reports the first sandbox as ready after the first run began, so the end of the run is used if it
    // is known. Both times are in whole seconds: a new sandbox can be ready in the same second in which the old one
    // ended.
    let end = ended.and_then(|exit| exit.finished_at).unwrap_or(began);
    sandbox.is_some_and(|sandbox| sandbox > began && sandbox >= end)
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
