//! Tells the runs of the present sandbox of a Pod from those of an earlier one.
//!
//! The times are not always sufficient. Before Kubernetes 1.36 the kubelet reports the sandbox as ready only after it has started
//! the first containers. A later kubelet shows a run of a lost sandbox for a moment as running in the next one.

use jiff::Timestamp;

use crate::domain::observation::{ContainerStatus, Observation};

/// The latest runs of the first 32 containers of a Pod. Each container is a bit.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SandboxRuns {
    /// The runs that ended in the present sandbox before the kubelet reported the sandbox as ready.
    ended: u32,
    /// The runs that began in an earlier sandbox.
    older: u32,
}

impl SandboxRuns {
    /// Nothing has been observed, so each run can be older than the sandbox.
    pub(super) const UNKNOWN: Self = Self {
        ended: 0,
        older: u32::MAX,
    };

    pub(super) fn is_empty(self) -> bool {
        self.ended | self.older == 0
    }

    /// Begins an update. If it changes the sandbox, the runs before it are older than the sandbox.
    pub(super) fn advance(&mut self, before: &Observation, next: &Observation) {
        if is_same_sandbox(before, next) {
            return;
        }
        *self = Self::default();
        for (container_idx, status) in before.statuses.iter().enumerate() {
            if status.as_ref().and_then(ContainerStatus::running_since).is_some() {
                self.older |= bit(container_idx);
            }
        }
    }

    /// Adds the end of a run, if this update shows one that ended before the kubelet reported its sandbox as ready.
    pub(super) fn note_end(
        &mut self,
        container_idx: usize,
        before: &Observation,
        previous: &ContainerStatus,
        status: &ContainerStatus,
    ) {
        let (Some(began), None) = (previous.running_since(), status.running_since()) else {
            return;
        };
        let Some(exit) = status.latest_exit() else { return };
        if exit.started_at == Some(began)
            && status.restart_count == previous.restart_count
            && exit.finished_at.is_some()
            && exit.finished_at <= sandbox_ready_since(before)
        {
            self.ended |= bit(container_idx) & !self.older;
        }
    }

    /// Adds a restart: the next run is in the present sandbox.
    pub(super) fn note_restart(&mut self, container_idx: usize) {
        self.ended &= !bit(container_idx);
        self.older &= !bit(container_idx);
    }

    /// Whether the latest run is one of the present sandbox. `was_running` tells whether the update before showed it as running,
    /// with the sandbox ready.
    pub(super) fn is_of_sandbox(self, container_idx: usize, was_running: bool) -> bool {
        let bit = bit(container_idx);
        self.ended & bit != 0 || (was_running && self.older & bit == 0)
    }
}

fn bit(container_idx: usize) -> u32 {
    u32::try_from(container_idx).map_or(0, |idx| 1_u32.checked_shl(idx).unwrap_or(0))
}

/// Whether two observations of a Pod show the same sandbox.
pub(super) fn is_same_sandbox(before: &Observation, next: &Observation) -> bool {
    sandbox_ready_since(before) == sandbox_ready_since(next)
}

/// The time at which the sandbox became ready. `None` if it is not ready.
pub(super) fn sandbox_ready_since(pod: &Observation) -> Option<Timestamp> {
    let condition = pod.conditions.sandbox_ready.filter(|condition| condition.holds)?;
    condition.since.get()
}
