//! Restarts that the Pod causes, not the container. They never count.

use std::num::NonZeroU32;

use jiff::{SignedDuration, Timestamp};

use crate::domain::observation::{ContainerStatus, Exit, OOM_KILLED, Observation, RESTARTING_ALL_CONTAINERS};

/// The time within which a kubelet before Kubernetes 1.36 reports the first sandbox as ready, after it has started the first
/// container.
const REPORTED_WITHIN: SignedDuration = SignedDuration::from_secs(5);

/// Some of the first 64 containers of a Pod.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ContainerSet(u64);

impl ContainerSet {
    pub(super) fn insert(&mut self, container_idx: usize) {
        self.0 |= Self::bit(container_idx);
    }

    pub(super) fn contains(self, container_idx: usize) -> bool {
        self.0 & Self::bit(container_idx) != 0
    }

    fn bit(container_idx: usize) -> u64 {
        u32::try_from(container_idx).map_or(0, |idx| 1_u64.checked_shl(idx).unwrap_or(0))
    }
}

/// Whether the restart affected all containers of the Pod and was not caused by the container: a restart of all containers
/// in place (KEP-5532), or a sandbox that is younger than the run that ended. `ended_in_sandbox` tells that an earlier update
/// showed the end of the run in the sandbox of `before` ([`ended_in_sandbox`]).
pub(super) fn is_pod_restart(
    before: &Observation,
    next: &Observation,
    previous: &ContainerStatus,
    status: &ContainerStatus,
    ended_in_sandbox: bool,
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
    let ran_in_it =
        ended_in_sandbox || (began_in_sandbox(before, previous) && previous.running_since() == Some(began));
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
        began_in_sandbox(before, previous)
            && exit.started_at == previous.running_since()
            && status.restart_count == previous.restart_count
            && exit.finished_at.is_some()
            && exit.finished_at <= sandbox_ready_since(before)
    })
}

/// Whether the container runs in the sandbox of its Pod. A kubelet shows a run of an earlier sandbox for a moment as running in
/// the next one; such a run began earlier.
fn began_in_sandbox(pod: &Observation, status: &ContainerStatus) -> bool {
    let times = status.running_since().zip(sandbox_ready_since(pod));
    times.is_some_and(|(began, sandbox)| sandbox.duration_since(began) <= REPORTED_WITHIN)
}

/// Whether two observations of a Pod show the same sandbox.
pub(super) fn is_same_sandbox(before: &Observation, next: &Observation) -> bool {
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
