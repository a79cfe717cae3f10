//! Joins the state of a Pod in a checkpoint to what this process has observed.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::{
    Index,
    adopt::{continue_violation, find_fault, shown_onset},
    checkpoint::key_of,
    entry::PolicyEntry,
    event_planner::{event_name, recovery_hash},
    matches::Match,
    pods::{Findings, PodEntry, PodId},
    stored::FromCheckpoint,
};
use crate::domain::{
    checkpoint::{PodState, SmallMap, ViolationId, ViolationState, is_other_clock},
    checks::View,
    effects::Effects,
    history::History,
    policy::{Check, Severity},
    time::later,
    tracker::{Tracked, visible_after},
};

impl Index {
    /// Joins the stored history, Events and violations of a Pod. The Pod must have been removed from the counts.
    pub(super) fn join_stored(
        &mut self,
        id: PodId,
        stored: &PodState,
        now: Timestamp,
        effects: &mut Effects,
    ) {
        let Some(pod) = self.pods.get_mut(&id) else { return };
        let has_history = pod.observation.is_evaluated() && !self.without_history.contains(&id);
        let own_history = pod.history.clone();
        if has_history {
            History::merge(
                &mut pod.history,
                &stored.containers,
                &pod.observation,
                (now, self.restored.as_of),
            );
        }
        self.count_history(id);
        let Some(pod) = self.pods.get_mut(&id) else { return };
        pod.edit_findings(|findings| findings.merge_written(&stored.written));
        let matches = Arc::clone(&pod.matches);
        let key = key_of(&pod.observation);
        for matched in matches.iter() {
            let Some(policy) = self.policies.get(&matched.version.policy) else {
                continue;
            };
            let Some(state) = self.restored.policies.get_mut(&policy.uid) else {
                continue;
            };
            // They are removed here, so that no step drops all violations of a large checkpoint.
            let violations = state.take_violations_of(&key);
            // Under another version the violation may have begun later.
            if state.generation == policy.generation {
                pod.join_violations(matched, (&violations, state.as_of), now);
                if has_history {
                    let stored = (violations, state.as_of, &stored.written);
                    let recoveries =
                        pod.continue_violations((policy, matched), own_history.as_deref(), stored, now);
                    effects.withdrawn.extend(recoveries);
                }
            }
        }
        pod.edit_findings(Findings::own_present_events);
    }
}

impl PodEntry {
    /// Joins the stored violations under one policy to those of this process.
    fn join_violations(
        &mut self,
        matched: &Match,
        (stored, as_of): (&[(ViolationId, ViolationState)], Timestamp),
        now: Timestamp,
    ) {
        let policy = matched.version.policy;
        if self.tracked(policy).is_empty() {
            return;
        }
        let (mut tracked, deadline) = self.edit_findings(|findings| findings.take_with_deadline(policy));
        for violation in &mut tracked {
            let container_idx = usize::from(violation.container);
            let Some(container) = self.observation.shape.containers.get(container_idx) else {
                continue;
            };
            let is_this = |id: &ViolationId| id.container == container.name && id.check == violation.check;
            if let Some((id, stored)) = stored.iter().find(|(id, _)| is_this(id)) {
                let shown = shown_onset(&self.view(matched, now), id.check, container_idx);
                violation.join(stored, (now, as_of), shown);
            }
        }
        self.edit_findings(|findings| findings.put(policy, tracked, deadline));
    }

    /// Continues the stored violations that this process could not find before the stored history was joined. It may have
    /// resolved them: then their recovery Events have not been written, and do not count. Returns the names of these Events.
    /// `written` are the stored Events.
    fn continue_violations(
        &mut self,
        (policy, matched): (&PolicyEntry, &Match),
        own_history: Option<&History>,
        (stored, as_of, written): (Vec<(ViolationId, ViolationState)>, Timestamp, &SmallMap<u64, u32>),
        now: Timestamp,
    ) -> Vec<String> {
        let mut recoveries = Vec::new();
        let number = matched.version.policy;
        for (id, state) in stored {
            let Some(container_idx) = self.observation.shape.position(&id.container) else {
                continue;
            };
            let check = id.check;
            let is_this =
                |known: &&Tracked| usize::from(known.container) == container_idx && known.check == check;
            let view = self.view(matched, now);
            let own_view = View {
                history: own_history,
                ..view
            };
            if self.tracked(number).iter().any(|known| is_this(&known))
                || find_fault(&own_view, check, container_idx).is_some()
                || find_fault(&view, check, container_idx).is_none()
            {
                continue;
            }
            continue_violation(FromCheckpoint { id, state, as_of }, self, matched, now);
            let Some(violation) = self.tracked(number).iter().find(is_this) else {
                continue;
            };
            let recovery = recovery_hash(policy, &self.view(matched, now), violation);
            let times = written.get(&recovery).copied().unwrap_or(0);
            self.edit_findings(|findings| findings.set_written(recovery, times));
            recoveries.push(event_name(&self.observation.name, recovery));
        }
        recoveries
    }
}

impl Tracked {
    /// The violation of the first container, or of a workload, in the status of a policy: whether it fired, and its onset.
    pub(super) fn of_status(
        check: Check,
        (firing, onset): (bool, Timestamp),
        hold_for: SignedDuration,
        now: Timestamp,
    ) -> Self {
        Self {
            firing_since: firing.then(|| later(onset, hold_for).min(now)),
            visible: firing || later(onset, visible_after(hold_for)) <= now,
            counted: firing,
            ..Self::since(check, onset)
        }
    }

    /// The violation of the first container, or of a workload, that a checkpoint contains.
    pub(super) fn continued(check: Check, state: &ViolationState, now: Timestamp) -> Self {
        Self {
            observed: state.observed,
            firing_since: state.firing_since.map(|since| since.min(now)),
            gone_since: state.gone_since.map(|since| since.min(now)),
            event: state.event,
            other_event: state.other_event,
            visible: state.visible,
            counted: state.counted,
            ..Self::since(check, state.onset.min(now))
        }
    }

    /// The state for a checkpoint.
    pub(super) fn exported(&self, severity: Severity) -> ViolationState {
        ViolationState {
            onset: self.onset,
            observed: self.observed,
            firing_since: self.firing_since,
            gone_since: self.gone_since,
            // A violation is announced again when its exemption ends.
            event: self.event.filter(|_| !self.is_exempt()),
            other_event: self.other_event,
            counted: self.counted,
            visible: self.visible,
            severity,
        }
    }

    /// Joins the state of the same violation in a checkpoint. An onset that this process has observed wins, unless the
    /// other process observed the same fault earlier: an observation can only be late. A violation that fires there
    /// then fires here too, so that its Event is not written again. `shown` is the onset of the fault that the API shows.
    pub(super) fn join(
        &mut self,
        stored: &ViolationState,
        (now, as_of): (Timestamp, Timestamp),
        shown: Option<Timestamp>,
    ) {
        // The other process has not seen the end of an earlier fault, because its watch is late. A violation that fires there
        // may have continued if this process has not seen that end either.
        let is_other_fault = shown.is_some_and(|since| since > stored.onset)
            && (self.observed || stored.firing_since.is_none());
        let is_known_there = stored.observed && self.onset < as_of && !is_other_fault;
        let age = now.duration_since(as_of);
        let is_late = stored.onset < self.onset
            && stored.gone_since.is_none()
            && !is_other_clock(self.onset, stored.onset, age);
        if is_known_there && (!self.observed || is_late) {
            self.onset = stored.onset;
            self.observed = true;
            if stored.firing_since.is_some() && (self.is_firing() || is_late) {
                self.firing_since = stored.firing_since;
                self.visible = true;
                self.event = self.event.or(stored.event);
                self.other_event = self.other_event.or(stored.other_event);
            }
        }
        // Both have seen the end of the fault. A process that has started since has seen it late.
        if let (Some(own), Some(theirs)) = (self.gone_since, stored.gone_since)
            && own < as_of
            && theirs >= self.onset
            && !is_other_clock(own, theirs, age)
        {
            self.gone_since = Some(own.min(theirs));
        }
        self.counted |= stored.counted;
        let (Some(event), Some(stored)) = (&mut self.event, stored.event) else {
            return;
        };
        if event.hash == stored.hash {
            // An earlier episode has fewer Events before it. Its repetitions do not count.
            *event = stored.max(*event);
        }
    }
}
