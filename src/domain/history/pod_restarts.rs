//! Restarts that the Pod causes, not the container. They never count.

use std::num::NonZeroU32;

use jiff::{SignedDuration, Timestamp};

use crate::domain::observation::{ContainerStatus, Observation, RESTARTING_ALL_CONTAINERS};

/// The time within which a kubelet before Kubernetes 1.36 reports the first sandbox as ready, after it has started the first
/// container.
const REPORTED_WITHIN: SignedDuration = SignedDuration::from_secs(5);

/// Whether the restart affected all containers of the Pod and was not caused by the container: a restart of all containers
/// in place (KEP-5532), or a sandbox that is younger than the run that ended. `ran_in` is the sandbox of that run, if it is known
/// ([`ended_in`]).
pub(super) fn is_pod_restart(
    before: &Observation,
    next: &Observation,
    previous: &ContainerStatus,
    status: &ContainerStatus,
    ran_in: Option<Timestamp>,
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
    let ran_in = sandbox_of(before, previous)
        .filter(|_| previous.running_since() == Some(began))
        .or(ran_in);
    // A busy kubelet reports the first sandbox as ready after the first run began, so the end of the run is used if it
    // is known. Both times are in whole seconds: a new sandbox can be ready in the same second in which the old one
    // ended.
    let end = ended.and_then(|exit| exit.finished_at).unwrap_or(began);
    sandbox.is_some_and(|sandbox| sandbox > began && sandbox >= end && ran_in != Some(sandbox))
}

/// The sandbox of a run that ends with this update, if it ended before the kubelet reported the sandbox as ready. Other runs
/// cannot be mistaken for runs in an earlier sandbox.
pub(super) fn ended_in(
    before: &Observation,
    previous: &ContainerStatus,
    status: &ContainerStatus,
) -> Option<Timestamp> {
    let exit = status
        .latest_exit()
        .filter(|_| status.running_since().is_none())?;
    let sandbox = sandbox_of(before, previous)?;
    let is_its_end =
        exit.started_at == previous.running_since() && status.restart_count == previous.restart_count;
    (is_its_end && exit.finished_at? <= sandbox).then_some(sandbox)
}

/// The sandbox of the current run, by the time at which the kubelet reported it as ready. A kubelet shows a run of an earlier
/// sandbox for a moment as running in the next one; such a run began earlier.
fn sandbox_of(pod: &Observation, status: &ContainerStatus) -> Option<Timestamp> {
    let began = status.running_since()?;
    let condition = pod.conditions.sandbox_ready.filter(|condition| condition.holds)?;
    let sandbox = condition.since.get()?;
    (sandbox.duration_since(began) <= REPORTED_WITHIN).then_some(sandbox)
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
