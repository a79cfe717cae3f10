//! Exports histories to a checkpoint, and continues them in another process.

use std::sync::Arc;

use jiff::Timestamp;

use super::{
    ContainerHistory, Flap, History, MAX_ENTRIES, Restart, SandboxRuns, can_resize_restart, flap_id,
    is_pod_restart, push, sandbox::sandbox_ready_since, unready_since, without_resize_restarts,
};
use crate::domain::{
    checkpoint::{ContainerState, FlapId, Seen, SmallMap},
    observation::{ContainerStatus, Observation, State},
};

impl History {
    /// The histories that the status of the Pod does not show, by container. Restarts and flaps before `since` are left
    /// out.
    pub fn export(
        history: Option<&Self>,
        pod: &Observation,
        now: Timestamp,
        since: Timestamp,
    ) -> SmallMap<Arc<str>, ContainerState> {
        let hidden = Self::hidden(history, pod, now).filter_map(|(container_idx, known)| {
            let name = Arc::clone(&pod.shape.containers.get(container_idx)?.name);
            let status = pod.statuses.get(container_idx).and_then(Option::as_ref);
            let known = known.cloned().unwrap_or_default();
            Some((name, known.export(status.map(Seen::from), since)))
        });
        hidden.collect()
    }

    /// Whether [`Self::export`] returns something.
    pub fn is_exported(history: Option<&Self>, pod: &Observation, now: Timestamp) -> bool {
        Self::hidden(history, pod, now).next().is_some()
    }

    /// The containers with a history that the status of the Pod does not show.
    fn hidden<'a>(
        history: Option<&'a Self>,
        pod: &'a Observation,
        now: Timestamp,
    ) -> impl Iterator<Item = (usize, Option<&'a ContainerHistory>)> {
        let containers = (0..pod.shape.containers.len()).map(move |container_idx| {
            let known = history.and_then(|history| history.container(container_idx));
            (container_idx, known)
        });
        containers.filter(move |(container_idx, known)| {
            let status = pod.statuses.get(*container_idx).and_then(Option::as_ref);
            match (known, status) {
                (None, None) => false,
                (Some(_), None) => true,
                // Most containers have never exited.
                (None, Some(status)) if status.latest_exit().is_none() => false,
                (known, Some(status)) => {
                    let first = ContainerHistory::first(status, now);
                    known.map_or_else(|| first != ContainerHistory::default(), |known| *known != first)
                }
            }
        })
    }

    /// Adds the first observation of a Pod in this process. `stored` has the histories that a checkpoint contains, as of
    /// `as_of`. Restarts since then count at the time that the kubelet reports.
    pub fn restore(
        history: &mut Option<Box<Self>>,
        mut stored: SmallMap<Arc<str>, ContainerState>,
        first: &Observation,
        (now, as_of): (Timestamp, Timestamp),
    ) {
        for (container_idx, container) in first.shape.containers.iter().enumerate() {
            let status = first.statuses.get(container_idx).and_then(Option::as_ref);
            match (stored.remove(&container.name), status) {
                (Some(state), status) => {
                    let seen = state.seen;
                    let container = Self::of(history, first, container_idx);
                    *container = ContainerHistory::from(state);
                    if let Some(status) = status {
                        container.advance_since(seen, (first, container_idx, status), (now, as_of));
                    }
                }
                (None, Some(status)) => Self::begin_container(history, first, (container_idx, status), now),
                (None, None) => {}
            }
        }
    }

    /// Adds the first observation of a container.
    pub(super) fn begin_container(
        history: &mut Option<Box<Self>>,
        first: &Observation,
        (container_idx, status): (usize, &ContainerStatus),
        now: Timestamp,
    ) {
        let container = ContainerHistory::first(status, now);
        if container != ContainerHistory::default() {
            *Self::of(history, first, container_idx) = container;
        }
    }

    /// Joins the histories of a checkpoint to those that this process has observed.
    pub fn merge(
        history: &mut Option<Box<Self>>,
        stored: &SmallMap<Arc<str>, ContainerState>,
        pod: &Observation,
        (now, as_of): (Timestamp, Timestamp),
    ) {
        for (container_idx, container) in pod.shape.containers.iter().enumerate() {
            let Some(state) = stored.get(&container.name) else {
                continue;
            };
            let status = pod.statuses.get(container_idx).and_then(Option::as_ref);
            let container = Self::of(history, pod, container_idx);
            container.count_prior_since(state, as_of);
            let ahead = status.zip(state.seen).map_or(0, |(status, seen)| {
                // A status can lose its count. The watch does not deliver again the restarts that this process has observed.
                let observed = container.restarts.iter().map(|restart| restart.total).max();
                let is_ahead = seen.restart_count > status.restart_count.max(observed.unwrap_or(0));
                if is_ahead { seen.restart_count } else { 0 }
            });
            let own = |flap: &&Flap| !flap.joined;
            let observed: Vec<FlapId> = container.flaps.iter().filter(own).map(|flap| flap.id).collect();
            let ahead = ahead.max(container.ahead);
            let mut joined = container.clone().export(status.map(Seen::from), Timestamp::MIN);
            let mut state = state.clone();
            let age = now.duration_since(as_of);
            state.restarts.remove_other_clock(&joined.restarts, age);
            state
                .restarts_after
                .remove_other_clock(&joined.restarts_after, age);
            state.flaps.remove_other_clock(&joined.flaps, age);
            joined.merge(state);
            *container = ContainerHistory::from(joined);
            container.ahead = ahead;
            for flap in &mut container.flaps {
                flap.joined = !observed.contains(&flap.id);
            }
        }
    }
}

impl From<&ContainerStatus> for Seen {
    fn from(status: &ContainerStatus) -> Self {
        Self {
            restart_count: status.restart_count,
            ready: status.ready,
        }
    }
}

impl ContainerHistory {
    fn export(self, seen: Option<Seen>, since: Timestamp) -> ContainerState {
        let Self {
            restarts,
            flaps,
            prior,
            oom,
            resized,
            ahead: _,
        } = self;
        let mut state = ContainerState {
            seen,
            prior,
            oom,
            resized,
            ..ContainerState::default()
        };
        for restart in restarts.iter().filter(|restart| restart.at >= since) {
            let count = restart.count.min(u32::try_from(MAX_ENTRIES).unwrap_or(u32::MAX));
            for total in (0..count).rev().map(|after| restart.total.saturating_sub(after)) {
                let times = if restart.after {
                    &mut state.restarts_after
                } else {
                    &mut state.restarts
                };
                times.push(total, restart.at);
            }
        }
        for flap in flaps.iter().filter(|flap| flap.at >= since) {
            state.flaps.push(flap.id, flap.at);
        }
        state
    }

    /// Adds the changes between a checkpoint and the first observation.
    fn advance_since(
        &mut self,
        seen: Option<Seen>,
        (pod, container_idx, status): (&Observation, usize, &ContainerStatus),
        (now, as_of): (Timestamp, Timestamp),
    ) {
        let held = pod.is_held();
        let when = |finished: Option<Timestamp>| finished.unwrap_or(now).max(as_of).min(now);
        self.note_oom_kill(status, |exit| (!held).then(|| when(exit.finished_at)));
        let Some(seen) = seen.filter(|_| !held) else {
            return;
        };
        let mut count = status.restart_count.saturating_sub(seen.restart_count);
        let is_new_sandbox = sandbox_ready_since(pod).is_some_and(|since| since >= as_of);
        // Init containers lose their last state with the sandbox.
        let lost_with_sandbox = status.latest_exit().is_none() && is_new_sandbox;
        let unknown = (SandboxRuns::UNKNOWN, container_idx);
        if count > 0 && (lost_with_sandbox || is_pod_restart(pod, pod, status, status, unknown)) {
            count = 0;
        }
        let had_run = seen.ready || seen.restart_count > 0;
        if count > 0 && is_new_sandbox && had_run {
            // The container has ended again in the new sandbox, whose first start the Pod caused.
            count -= 1;
        }
        if count > 0 && can_resize_restart(pod, pod, container_idx) {
            count = without_resize_restarts((pod, pod), &mut self.resized, count);
        }
        if count > 0 {
            let ended = when(status.last_exit.as_ref().and_then(|exit| exit.finished_at));
            self.push_restarts(count, status.restart_count, (as_of, ended));
        }
        let is_same_run =
            status.restart_count == seen.restart_count && matches!(status.state, State::Running(_));
        if is_same_run && seen.ready && !status.ready {
            let condition = pod.conditions.containers_ready;
            let since = condition.and_then(|condition| condition.since.get());
            let id = flap_id(since.is_some_and(|since| since > as_of), pod, status, now);
            self.push_flap(unready_since(pod, container_idx, (now, as_of)), id);
        }
    }

    /// Counts the restarts between a checkpoint and the first observation of this process. Until the checkpoint arrived
    /// they were part of those before the first observation.
    fn count_prior_since(&mut self, stored: &ContainerState, as_of: Timestamp) {
        let (Some(prior), Some(seen)) = (self.prior, stored.seen) else {
            return;
        };
        if stored.prior >= self.prior {
            // The other process did not observe the container before this one.
            return;
        }
        let count = prior.count.saturating_sub(seen.restart_count);
        if count > 0 {
            let observed = std::mem::take(&mut self.restarts);
            self.push_restarts(count, prior.count, (as_of, prior.at.max(as_of)));
            self.restarts.extend(observed);
            self.prior = stored.prior;
        }
    }
}

impl From<ContainerState> for ContainerHistory {
    fn from(state: ContainerState) -> Self {
        let ContainerState {
            seen: _,
            restarts,
            restarts_after,
            flaps,
            prior,
            oom,
            resized,
        } = state;
        let mut history = Self {
            prior,
            oom,
            resized,
            ..Self::default()
        };
        let restart = |(at, total), after| Restart {
            at,
            count: 1,
            total,
            after,
        };
        let dated = restarts.in_order().into_iter();
        let mut all: Vec<Restart> = dated.map(|entry| restart(entry, false)).collect();
        let undated = restarts_after.in_order().into_iter();
        let undated = undated.map(|entry| restart(entry, true));
        // Another process may know the time of a restart.
        let is_dated = |undated: &Restart| {
            let mut dated = all.iter();
            dated.any(|dated| dated.total == undated.total && dated.at >= undated.at)
        };
        let undated: Vec<Restart> = undated.filter(|restart| !is_dated(restart)).collect();
        all.extend(undated);
        all.sort_by_key(|restart| (restart.at, restart.total));
        for restart in all {
            match history.restarts.back_mut() {
                // One update, see `export`.
                Some(last)
                    if (last.at, last.after) == (restart.at, restart.after)
                        && last.total.checked_add(1) == Some(restart.total) =>
                {
                    last.count += 1;
                    last.total = restart.total;
                }
                _ => push(&mut history.restarts, restart),
            }
        }
        for (at, id) in flaps.in_order() {
            let joined = false;
            push(&mut history.flaps, Flap { at, id, joined });
        }
        history
    }
}
