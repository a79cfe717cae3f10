//! What happened to a Pod's containers that its present status no longer shows: restarts, flaps and memory kills with
//! their times. Kept per Pod, not per policy, so that a policy that comes or changes later judges by the same facts;
//! kept only for Pods to which something happened.

use std::collections::VecDeque;

use jiff::{SignedDuration, Timestamp};

use super::{
    observation::{ContainerStatus, Exit, OOM_KILLED, Observation, RESTARTING_ALL_CONTAINERS, State},
    time::later,
};

/// How many restarts or flaps of one container are remembered: the largest `count` of the API.
const REMEMBERED: usize = 1000;
/// For how many windows a container that is down answers for its restarts.
pub const DOWN_WINDOWS: i32 = 4;

/// The history of the containers of one Pod, in the order of its shape.
#[derive(Clone, Debug, Default)]
pub struct History(Box<[ContainerHistory]>);

/// The history of one container.
#[derive(Clone, Debug, Default)]
pub struct ContainerHistory {
    /// Restarts that we saw, oldest first: when, and how many at once.
    restarts: VecDeque<(Timestamp, u32)>,
    /// Transitions from ready to unready within one run, oldest first.
    flaps: VecDeque<Timestamp>,
    /// What the status told of restarts before our first look.
    prior: Option<Prior>,
    /// The latest memory kill.
    oom: Option<OomKill>,
}

/// Restarts before our first look: how many, when the last run ended, how long it was.
#[derive(Clone, Copy, Debug)]
struct Prior {
    at: Timestamp,
    count: u32,
    run: SignedDuration,
}

/// A memory kill: when it counts from, and which exit it was.
#[derive(Clone, Copy, Debug)]
struct OomKill {
    at: Timestamp,
    exit: ExitId,
}

/// The identity of an exit: its containerID, or else its `finishedAt`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ExitId {
    Run(u64),
    At(Option<Timestamp>),
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

/// How an observation comes to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Observed {
    /// We saw it happen: what is new began now.
    Live,
    /// The first look after a gap: what is new began some time since our last look.
    AfterGap(Timestamp),
    /// The first look of a policy's version at a Pod: what is there may be old.
    Initial,
}

/// Restarts of one container that one observation brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restarts {
    /// The container's place in the shape.
    pub container: usize,
    /// How many.
    pub count: u32,
    /// The reason of the run that ended: one of `OOMKilled`, `Error`, `Completed`, `Other`.
    pub reason: &'static str,
}

impl History {
    /// Takes in the first observation of a Pod.
    pub fn begin(history: &mut Option<Box<Self>>, first: &Observation, now: Timestamp) {
        for (at, status) in first.statuses.iter().enumerate() {
            let Some(status) = status else { continue };
            if let Some(prior) = Prior::of(status, now) {
                Self::of(history, first, at).prior = Some(prior);
            }
            Self::note_memory_kill(history, first, at, status, |exit| {
                exit.finished_at.map(|t| t.min(now))
            });
        }
    }

    /// Takes in what changed between two observations of a Pod, and returns the restarts that are its containers' own
    /// fault. While the Pod is held or not evaluated nothing is counted, and a restart that the Pod did to all its
    /// containers never is. Before its first status there was nothing to see of a Pod, so that one is its first
    /// observation here.
    ///
    /// What happened while the *watch* was broken, since our last look at `gap`, is counted, at the time that the kubelet gives it within the gap: it
    /// is as true as what we saw, and after the gap everything must read as if there had been none.
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
        let mut found = Vec::new();
        let held = !before.is_evaluated() || before.is_held() || next.is_held();
        let when = |finished: Option<Timestamp>| match gap {
            None => now,
            Some(last_synced) => finished.unwrap_or(now).max(last_synced).min(now),
        };
        for (at, status) in next.statuses.iter().enumerate() {
            let Some(status) = status else { continue };
            Self::note_memory_kill(history, next, at, status, |exit| {
                (!held).then(|| when(exit.finished_at))
            });
            let Some(previous) = before.statuses.get(at).and_then(Option::as_ref).filter(|_| !held) else {
                continue;
            };
            let count = status.restart_count.saturating_sub(previous.restart_count);
            if count > 0 && !is_the_pods_own(before, next, previous, status) {
                let ended = when(status.last_exit.as_ref().and_then(|exit| exit.finished_at));
                push(&mut Self::of(history, next, at).restarts, (ended, count));
                let reason = reason_of(status.last_exit.as_deref());
                found.push(Restarts {
                    container: at,
                    count,
                    reason,
                });
            }
            if previous.ready && !status.ready && is_same_run(previous, status) {
                push(&mut Self::of(history, next, at).flaps, now);
            }
        }
        found
    }

    /// What is remembered of the container at `at`.
    pub fn container(&self, at: usize) -> Option<&ContainerHistory> {
        self.0.get(at)
    }

    /// Takes over a memory kill that only the policy's status remembers.
    pub fn adopt_oom_kill(history: &mut Option<Box<Self>>, pod: &Observation, at: usize, when: Timestamp) {
        let oom = &mut Self::of(history, pod, at).oom;
        let kill = oom.get_or_insert(OomKill {
            at: when,
            exit: ExitId::At(Some(when)),
        });
        // An exit that the Pod still shows, but without its time.
        kill.at = kill.at.max(when);
    }

    fn of<'a>(history: &'a mut Option<Box<Self>>, pod: &Observation, at: usize) -> &'a mut ContainerHistory {
        let history = history.get_or_insert_default();
        let containers = pod.shape.containers.len().max(at + 1);
        if history.0.len() < containers {
            let mut grown = std::mem::take(&mut history.0).into_vec();
            grown.resize_with(containers, ContainerHistory::default);
            history.0 = grown.into_boxed_slice();
        }
        // The slice was just made long enough.
        #[allow(clippy::indexing_slicing)]
        &mut history.0[at]
    }

    /// Remembers a memory kill that `status` shows and that is new; `when` gives its time, or `None` for one that moves
    /// only the baseline.
    fn note_memory_kill(
        history: &mut Option<Box<Self>>,
        pod: &Observation,
        at: usize,
        status: &ContainerStatus,
        when: impl Fn(&Exit) -> Option<Timestamp>,
    ) {
        let present = match &status.state {
            State::Terminated(exit) => Some(&**exit),
            _ => None,
        };
        for exit in status.last_exit.as_deref().into_iter().chain(present) {
            if &*exit.reason != OOM_KILLED {
                continue;
            }
            let id = ExitId::of(exit);
            let known = history.as_ref().and_then(|h| h.container(at)).and_then(|c| c.oom);
            let is_known = known.is_some_and(|kill| kill.exit == id);
            // The exit before a known present one is older than what we know.
            let is_older = present
                .is_some_and(|p| !std::ptr::eq(p, exit) && known.is_some_and(|k| k.exit == ExitId::of(p)));
            if !is_known && !is_older {
                let at_or_never = when(exit).unwrap_or(Timestamp::MIN);
                Self::of(history, pod, at).oom = Some(OomKill {
                    at: at_or_never,
                    exit: id,
                });
            }
        }
    }
}

impl ContainerHistory {
    /// Whether at least `count` restarts that we saw fell within `window` before `now`; if so, until when that holds
    /// without another one.
    pub fn restarted_often(&self, count: u32, window: SignedDuration, now: Timestamp) -> Option<Timestamp> {
        reached(self.restarts.iter().rev().copied(), count, window, now)
    }

    /// The same over the windows for which a container that is down answers, and with the restarts from before our
    /// first look. They count at the end of the last run, provided that it was shorter than `window`.
    pub fn went_down_often(&self, count: u32, window: SignedDuration, now: Timestamp) -> Option<Timestamp> {
        let prior = self
            .prior
            .filter(|prior| prior.run < window)
            .map(|prior| (prior.at, prior.count));
        let windows = window.saturating_mul(DOWN_WINDOWS);
        reached(
            self.restarts.iter().rev().copied().chain(prior),
            count,
            windows,
            now,
        )
    }

    /// How many restarts that we saw fell within `window` before `now`.
    pub fn restarts_within(&self, window: SignedDuration, now: Timestamp) -> u32 {
        self.restarts
            .iter()
            .filter(|(at, _)| later(*at, window) > now)
            .map(|(_, n)| n)
            .sum()
    }

    /// Whether at least `count` flaps fell within `window` before `now`; if so, until when that holds without another.
    pub fn flapped_often(&self, count: u32, window: SignedDuration, now: Timestamp) -> Option<Timestamp> {
        reached(self.flaps.iter().rev().map(|at| (*at, 1)), count, window, now)
    }

    /// How many flaps fell within `window` before `now`.
    pub fn flaps_within(&self, window: SignedDuration, now: Timestamp) -> usize {
        self.flaps.iter().filter(|at| later(**at, window) > now).count()
    }

    /// When the latest memory kill that counts happened.
    pub fn oom_killed_at(&self) -> Option<Timestamp> {
        self.oom.map(|kill| kill.at).filter(|at| *at > Timestamp::MIN)
    }
}

impl Prior {
    fn of(status: &ContainerStatus, now: Timestamp) -> Option<Self> {
        let exit = status.latest_exit()?;
        let finished = exit.finished_at?;
        // A program that cannot be started (StartError) ended without having begun.
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

/// Walks `newest` entries until they add up to `count`: the entry that completes it is the first to leave the window.
fn reached(
    newest: impl Iterator<Item = (Timestamp, u32)>,
    count: u32,
    window: SignedDuration,
    now: Timestamp,
) -> Option<Timestamp> {
    let mut sum = 0u32;
    for (at, n) in newest {
        let leaves = later(at, window);
        if leaves <= now {
            return None;
        }
        sum = sum.saturating_add(n);
        if sum >= count {
            return Some(leaves);
        }
    }
    None
}

fn push<T>(entries: &mut VecDeque<T>, entry: T) {
    if entries.len() == REMEMBERED {
        entries.pop_front();
    }
    entries.push_back(entry);
}

/// Whether a restart was done to all containers of the Pod, and so is no sidecar's fault: all of them restart in place
/// (KEP-5532), a resize is under way (KEP-1287), or the sandbox is younger than the run that ended.
fn is_the_pods_own(
    before: &Observation,
    next: &Observation,
    previous: &ContainerStatus,
    status: &ContainerStatus,
) -> bool {
    let under_way =
        |pod: &Observation| pod.conditions.all_containers_restarting || pod.conditions.resize_in_progress;
    if under_way(before) || under_way(next) {
        return true;
    }
    // Init containers lose their last state with the sandbox; what we saw last is the run that ended.
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
    // A busy kubelet says that the first sandbox is ready some time after the first run began, and so its end, where it is
    // known, tells more. Both are in whole seconds: a new sandbox may be ready in the second in which the old one went.
    let end = ended.and_then(|exit| exit.finished_at).unwrap_or(began);
    sandbox.is_some_and(|sandbox| sandbox > began && sandbox >= end)
}

fn is_same_run(previous: &ContainerStatus, status: &ContainerStatus) -> bool {
    matches!((&previous.state, &status.state), (State::Running(a), State::Running(b)) if a == b)
        && previous.restart_count == status.restart_count
        && previous.run == status.run
}

fn reason_of(exit: Option<&Exit>) -> &'static str {
    match exit.map(|exit| &*exit.reason) {
        Some(OOM_KILLED) => OOM_KILLED,
        Some("Error") => "Error",
        Some("Completed") => "Completed",
        _ => "Other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::testing::{at, seconds, web};

    #[test]
    fn what_is_a_window_old_has_left_it() {
        let history = ContainerHistory {
            restarts: [(at(0), 1), (at(1), 2)].into(),
            flaps: [at(0), at(1)].into(),
            ..ContainerHistory::default()
        };
        assert_eq!(history.restarts_within(seconds(10), at(10)), 2);
        assert_eq!(history.flaps_within(seconds(10), at(10)), 1);
    }

    #[test]
    fn a_first_look_remembers_what_counts() {
        let mut history = None;
        History::begin(&mut history, &web().exits("envoy", 1, 5).0, at(10));
        assert!(history.is_none(), "a first run that ended is no restart");
        let killed = web().killed_for_memory("envoy", 5).0;
        let mut containers = killed.shape.containers.iter();
        let place = containers
            .position(|container| &*container.name == "envoy")
            .unwrap();
        let status = killed.statuses[place].as_ref().unwrap();
        History::note_memory_kill(&mut history, &killed, place, status, |_| None);
        let container = history.unwrap().container(place).cloned().unwrap();
        assert!(container.oom.is_some(), "known from now on");
        assert_eq!(container.oom_killed_at(), None, "but it does not count");
    }
}
