//! Restarts that the Pod causes, not the container. They never count.

use std::num::NonZeroU32;

use crate::domain::observation::{ContainerStatus, Observation, RESTARTING_ALL_CONTAINERS};

/// Whether the restart affected all containers of the Pod and was not caused by the container: a restart of all containers
/// in place (KEP-5532), or a sandbox that is younger than the run that ended.
pub(super) fn is_pod_restart(
    before: &Observation,
    next: &Observation,
    previous: &ContainerStatus,
    status: &ContainerStatus,
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
