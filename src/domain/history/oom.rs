//! The latest OOM kill of a container.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{ContainerHistory, History};
use crate::domain::{
    checkpoint::wire,
    observation::{ContainerStatus, Exit, OOM_KILLED, Observation, State},
};

/// An OOM kill. The order is the precedence in a merge: the latest run, then what was observed when it happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct OomKill {
    /// The number of runs before the run that was killed.
    pub run_number: u32,
    /// The kill was not in the first observation of the container.
    pub observed: bool,
    /// The time from which it counts. [`Timestamp::MIN`] for a kill that does not count.
    #[serde(with = "wire::time")]
    pub at: Timestamp,
    /// The identity of the exit.
    pub exit: ExitId,
}

/// The identity of an exit: its containerID, or else its `finishedAt`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ExitId {
    /// A hash of the container ID.
    Run(#[serde(with = "wire::hash")] u64),
    /// `finishedAt`.
    At(#[serde(with = "wire::optional_time")] Option<Timestamp>),
}

impl ExitId {
    fn of(exit: &Exit) -> Self {
        if exit.run == 0 {
            Self::At(exit.finished_at)
        } else {
            Self::Run(exit.run)
        }
    }
}

impl ContainerStatus {
    /// Whether the status shows an OOM kill.
    pub(super) fn shows_oom_kill(&self) -> bool {
        let (last, current) = self.exits();
        [last, current]
            .into_iter()
            .flatten()
            .any(|exit| &*exit.reason == OOM_KILLED)
    }

    /// The exit of the previous run, and of the current one.
    fn exits(&self) -> (Option<&Exit>, Option<&Exit>) {
        let current = match &self.state {
            State::Terminated(exit) => Some(&**exit),
            _ => None,
        };
        (self.last_exit.as_deref(), current)
    }
}

impl History {
    /// Adds an OOM kill from the status of a policy.
    pub fn adopt_oom_kill(
        history: &mut Option<Box<Self>>,
        pod: &Observation,
        container_idx: usize,
        when: Timestamp,
    ) {
        let oom = &mut Self::of(history, pod, container_idx).oom;
        let kill = oom.get_or_insert(OomKill {
            run_number: 0,
            observed: false,
            at: when,
            exit: ExitId::At(Some(when)),
        });
        // The status of the Pod can contain the exit without its time.
        kill.at = kill.at.max(when);
    }
}

impl ContainerHistory {
    /// Adds an OOM kill from `status`, if it is new. `when` returns its time. `None` means that the kill does not
    /// count; it is stored only so that it is not new in the next status.
    pub(super) fn note_oom_kill(
        &mut self,
        status: &ContainerStatus,
        when: impl Fn(&Exit) -> Option<Timestamp>,
    ) {
        let (last, current) = status.exits();
        let exits = [
            (last, status.restart_count.saturating_sub(1)),
            (current, status.restart_count),
        ];
        for (exit, run_number) in exits {
            let Some(exit) = exit.filter(|exit| &*exit.reason == OOM_KILLED) else {
                continue;
            };
            let is_known = |exit: &Exit| self.oom.is_some_and(|known| known.exit == ExitId::of(exit));
            // If the current exit is known, the exit before it is older.
            let is_older = current.is_some_and(|current| !std::ptr::eq(current, exit) && is_known(current));
            if !is_known(exit) && !is_older {
                self.oom = Some(OomKill {
                    run_number,
                    observed: true,
                    at: when(exit).unwrap_or(Timestamp::MIN),
                    exit: ExitId::of(exit),
                });
            }
        }
    }

    /// The time of the latest OOM kill that counts.
    pub fn oom_killed_at(&self) -> Option<Timestamp> {
        self.oom.map(|kill| kill.at).filter(|at| *at > Timestamp::MIN)
    }
}
