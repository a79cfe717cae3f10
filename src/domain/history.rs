//! The past restarts, flaps and OOM kills of a Pod's containers, with their times. The current status of the Pod does
//! not contain them. The history belongs to the Pod, not to a policy, so that a policy that is created or edited later
//! evaluates the same facts. A Pod without such facts has no history.

mod entries;
mod oom;
mod pod_restarts;
mod sandbox;
mod stored;
mod windows;

use std::{collections::VecDeque, num::NonZeroU32};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use self::pod_restarts::{can_resize_restart, is_pod_restart, reason_of, without_resize_restarts};
use self::sandbox::{SandboxRuns, is_same_sandbox, sandbox_ready_since};
pub use self::{
    entries::Extent,
    oom::{ExitId, OomKill},
};
use super::{
    checkpoint::{FlapId, wire},
    observation::{ContainerStatus, Observation, State},
};

/// The maximum number of restarts or flaps in the history of one container: the largest `count` in the API.
const MAX_ENTRIES: usize = 1000;
/// The number of windows in which the restarts of a container that is down count.
pub const DOWN_WINDOWS: i32 = 4;
/// After a run of this length the kubelet resets the back-off.
pub const LONG_RUN: SignedDuration = SignedDuration::from_mins(10);

/// The history of the containers of one Pod.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// In the order of the Pod's shape.
    containers: Box<[ContainerHistory]>,
    runs: SandboxRuns,
}

/// The history of one container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContainerHistory {
    /// Observed restarts, oldest first.
    restarts: VecDeque<Restart>,
    /// Transitions from ready to unready within one run, oldest first.
    flaps: VecDeque<Flap>,
    /// The restarts before the first observation, from the status.
    prior: Option<Prior>,
    /// The latest OOM kill.
    oom: Option<OomKill>,
    /// The latest resize in place that restarted the container.
    resized: Option<NonZeroU32>,
    /// The `restartCount` in a checkpoint whose restarts the watch has not delivered yet. Zero if there are none.
    ahead: u32,
}

/// Restarts at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Restart {
    at: Timestamp,
    /// The number of restarts.
    count: u32,
    /// `restartCount` after them.
    total: u32,
    /// Whether they happened after `at`, at a time that is not known: a later restart became visible in the same update.
    after: bool,
}

/// A transition from ready to unready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Flap {
    at: Timestamp,
    id: FlapId,
    /// Another process has observed it, and the watch may deliver it later.
    joined: bool,
}

/// The restarts before the first observation: their number, and the end and duration of the last run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Prior {
    /// The number of restarts.
    pub count: u32,
    /// The end of the last run.
    #[serde(with = "wire::time")]
    pub at: Timestamp,
    /// The duration of the last run.
    #[serde(with = "wire::millis")]
    pub run: SignedDuration,
}

/// How the state of a Pod was observed. Later variants are less certain about the onset of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Observed {
    /// The change was observed when it happened: a new fault began now.
    Live,
    /// The first observation after a gap: a new fault began after this time, which is the time of the last data.
    AfterGap(Timestamp),
    /// The first evaluation of the Pod under this version of the policy: a fault can be older than this evaluation.
    Initial,
}

/// The restarts of one container in one update.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restarts {
    /// The index of the container in the shape.
    pub container: usize,
    /// The number of restarts.
    pub count: u32,
    /// The reason of the run that ended: one of `OOMKilled`, `Error`, `Completed`, `Other`.
    pub reason: &'static str,
}

impl History {
    /// Adds the first observation of a Pod.
    pub fn begin(history: &mut Option<Box<Self>>, first: &Observation, now: Timestamp) {
        for (container_idx, status) in first.statuses.iter().enumerate() {
            if let Some(status) = status {
                Self::begin_container(history, first, (container_idx, status), now);
            }
        }
    }

    /// Adds the changes between two observations of a Pod. Returns the restarts of single containers.
    ///
    /// Changes do not count while the Pod is held or not evaluated. A restart of all containers of the Pod never
    /// counts. The first observation with a container status is treated as the first observation of the Pod.
    ///
    /// `gap` is the time at which the watch was disconnected, if it was. Changes since then count at the time that the
    /// kubelet reports, so that the history is the same as without the gap.
    pub fn advance(
        history: &mut Option<Box<Self>>,
        before: &Observation,
        next: &Observation,
        (now, gap): (Timestamp, Option<Timestamp>),
    ) -> Vec<Restarts> {
        if history.is_none() && before.statuses.iter().all(Option::is_none) {
            Self::begin(history, next, now);
            return Vec::new();
        }
        let mut runs = history
            .as_ref()
            .map_or_else(SandboxRuns::default, |history| history.runs);
        runs.advance(before, next);
        let mut found = Vec::new();
        let held = !before.is_evaluated() || before.is_held() || next.is_held();
        let when = |finished: Option<Timestamp>| match gap {
            None => now,
            Some(last_synced) => finished.unwrap_or(now).max(last_synced).min(now),
        };
        for (container_idx, status) in next.statuses.iter().enumerate() {
            let Some(status) = status else { continue };
            if status.shows_oom_kill() {
                let container = Self::of(history, next, container_idx);
                container.note_oom_kill(status, |exit| (!held).then(|| when(exit.finished_at)));
            }
            let Some(previous) = before
                .statuses
                .get(container_idx)
                .and_then(Option::as_ref)
                .filter(|_| !held)
            else {
                continue;
            };
            let mut count = status.restart_count.saturating_sub(previous.restart_count);
            runs.note_end(container_idx, before, previous, status);
            if count > 0 {
                if is_pod_restart(before, next, previous, status, (runs, container_idx)) {
                    count = 0;
                } else if count > 1 && !is_same_sandbox(before, next) && sandbox_ready_since(before).is_some()
                {
                    // The container has ended again in the new sandbox, whose first start the Pod caused.
                    count -= 1;
                }
                runs.note_restart(container_idx);
            }
            if count > 0 && can_resize_restart(before, next, container_idx) {
                let resized = &mut Self::of(history, next, container_idx).resized;
                count = without_resize_restarts((before, next), resized, count);
            }
            if count > 0 {
                let finished = status.last_exit.as_ref().and_then(|exit| exit.finished_at);
                let began = previous.running_since();
                let began = began.or_else(|| previous.latest_exit()?.finished_at);
                let began = began.or(before.created.get()).unwrap_or(Timestamp::MIN);
                let ended = when(finished);
                // Both times are of the clock of the node, which can differ from that of this process.
                let period = finished.unwrap_or(now).duration_since(began);
                let began = ended.checked_sub(period).unwrap_or(Timestamp::MIN);
                let began = began.max(gap.unwrap_or(Timestamp::MIN));
                let container = Self::of(history, next, container_idx);
                container.push_restarts(count, status.restart_count, (began, ended));
                let reason = reason_of(status.last_exit.as_deref());
                found.push(Restarts {
                    container: container_idx,
                    count,
                    reason,
                });
            }
            if previous.ready && !status.ready && is_same_run(previous, status) {
                let were_ready = before.conditions.containers_ready.is_some_and(|c| c.holds);
                let id = flap_id(were_ready, next, status, now);
                let at = gap.map_or(now, |last_synced| {
                    unready_since(next, container_idx, (now, last_synced))
                });
                Self::of(history, next, container_idx).push_flap(at, id);
            }
        }
        if history.is_some() || !runs.is_empty() {
            history.get_or_insert_default().runs = runs;
        }
        found
    }

    /// The history of one container.
    pub fn container(&self, container_idx: usize) -> Option<&ContainerHistory> {
        self.containers.get(container_idx)
    }

    fn of<'a>(
        history: &'a mut Option<Box<Self>>,
        pod: &Observation,
        container_idx: usize,
    ) -> &'a mut ContainerHistory {
        let history = history.get_or_insert_default();
        let containers = pod.shape.containers.len().max(container_idx + 1);
        if history.containers.len() < containers {
            let mut grown = std::mem::take(&mut history.containers).into_vec();
            grown.resize_with(containers, ContainerHistory::default);
            history.containers = grown.into_boxed_slice();
        }
        // The slice has at least `container_idx + 1` entries, see above.
        #[allow(clippy::indexing_slicing)]
        &mut history.containers[container_idx]
    }
}

impl ContainerHistory {
    /// Adds the restarts of one update, without those that a checkpoint has added. The last one was at the end of `period`, the
    /// others at any time in it. They have its beginning, so that a limit is not reached by restarts that may be older.
    fn push_restarts(&mut self, mut count: u32, total: u32, period: (Timestamp, Timestamp)) {
        if self.ahead > 0 {
            count = count.min(total.saturating_sub(self.ahead));
            if total >= self.ahead {
                self.ahead = 0;
            }
        }
        let Some(others) = count.checked_sub(1) else {
            return;
        };
        let last = Restart {
            at: period.1,
            count: 1,
            total,
            after: false,
        };
        if others > 0 {
            let earlier = Restart {
                at: period.0.min(period.1),
                count: others,
                total: total.saturating_sub(1),
                after: true,
            };
            push(&mut self.restarts, earlier);
        }
        push(&mut self.restarts, last);
    }

    /// Adds a flap, unless a checkpoint has added it.
    fn push_flap(&mut self, at: Timestamp, id: FlapId) {
        match self.flaps.iter_mut().find(|flap| flap.joined && flap.id == id) {
            Some(known) => known.joined = false,
            None => push(
                &mut self.flaps,
                Flap {
                    at,
                    id,
                    joined: false,
                },
            ),
        }
    }

    /// The history after the first observation of a container.
    fn first(status: &ContainerStatus, now: Timestamp) -> Self {
        let mut history = Self {
            prior: Prior::of(status, now),
            ..Self::default()
        };
        history.note_oom_kill(status, |exit| exit.finished_at.map(|at| at.min(now)));
        if let Some(kill) = &mut history.oom {
            kill.observed = false;
        }
        history
    }
}

impl Prior {
    fn of(status: &ContainerStatus, now: Timestamp) -> Option<Self> {
        let exit = status.latest_exit()?;
        let finished = exit.finished_at?;
        // A program that could not be started (StartError) has no start time.
        let run = exit
            .started_at
            .map_or(SignedDuration::ZERO, |started| finished.duration_since(started));
        (status.restart_count > 0).then_some(Self {
            at: finished.min(now),
            count: status.restart_count,
            run,
        })
    }
}

fn push<T>(entries: &mut VecDeque<T>, entry: T) {
    if entries.len() == MAX_ENTRIES {
        entries.pop_front();
    }
    entries.push_back(entry);
}

fn is_same_run(previous: &ContainerStatus, status: &ContainerStatus) -> bool {
    matches!((&previous.state, &status.state), (State::Running(a), State::Running(b)) if a == b)
        && previous.restart_count == status.restart_count
        && previous.run == status.run
}

/// The time at which a container became unready that was ready at `last_synced`. It is `now` if the conditions of the Pod do
/// not show it.
fn unready_since(
    pod: &Observation,
    container_idx: usize,
    (now, last_synced): (Timestamp, Timestamp),
) -> Timestamp {
    let shown = pod.ready_until(container_idx).filter(|at| *at > last_synced);
    shown.map_or(now, |at| at.min(now))
}

/// The identity of a transition from ready to unready. `were_ready` tells whether all containers were ready before.
fn flap_id(were_ready: bool, next: &Observation, status: &ContainerStatus, now: Timestamp) -> FlapId {
    let run = if status.run == 0 {
        u64::from(status.restart_count)
    } else {
        status.run
    };
    let condition = next.conditions.containers_ready;
    let changed = condition.filter(|condition| were_ready && !condition.holds);
    let at = changed.and_then(|condition| condition.since.get());
    FlapId {
        run,
        second: at.unwrap_or(now).as_second(),
    }
}

#[cfg(test)]
mod tests;
