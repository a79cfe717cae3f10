//! Evaluates one Pod at one time under every policy that selects it. Returns transitions and Events.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{
    Index, Matched, PodEntry, PodKey,
    adopt::adopt,
    counts::Durations,
    entry::{PolicyEntry, PolicyId},
    event_planner::EventPlanner,
};
use crate::domain::{
    checks::View,
    effects::{Change, Effects, Transition},
    history::Observed,
    observation::Observation,
    tracker::{self, Changed, keep_earliest},
};

impl Index {
    /// Evaluates a Pod at `now` and adds it to the counts and lists of its policies.
    ///
    /// The violations of a Pod that is no longer evaluated end. The violations of a held Pod do not change, unless the
    /// Pod is also no longer evaluated.
    pub(super) fn reevaluate(
        &mut self,
        key: &PodKey,
        now: Timestamp,
        observed: Observed,
        effects: &mut Effects,
    ) {
        let Some(pod) = self
            .namespaces
            .get_mut(&key.0)
            .and_then(|entry| entry.pods.get_mut(&key.1))
        else {
            return;
        };
        let mut deadline = None;
        if !pod.observation.is_evaluated() {
            // A Pod that is evaluated again later starts with an empty history.
            pod.history = None;
            for matched in &mut pod.matched {
                matched.evaluated = true;
                if let Some(policy) = self.policies.get_mut(&matched.policy) {
                    end(policy, &pod.observation, matched, now, effects);
                }
            }
        } else if self.watches.held_since(&key.0).is_some() {
            self.watches.add_waiting(key, observed);
        } else {
            adopt(pod, &mut self.policies, now);
            if pod.observation.is_held() {
                // The state is unknown now, but a fault that appears later is new.
                pod.matched
                    .iter_mut()
                    .for_each(|matched| matched.evaluated = true);
            } else {
                let context = (now, observed);
                deadline = evaluate(pod, &mut self.policies, &mut self.durations, context, effects);
            }
        }
        for matched in &mut pod.matched {
            if let Some(policy) = self.policies.get_mut(&matched.policy) {
                policy.add_pod(&pod.observation, matched);
            }
        }
        if pod.deadline != deadline {
            if let Some(at) = std::mem::replace(&mut pod.deadline, deadline) {
                self.deadlines.remove(&(at, key.clone()));
            }
            if let Some(at) = deadline {
                self.deadlines.insert((at, key.clone()));
            }
        }
    }
}

/// Advances the violations of a Pod. Returns the next time at which they change without an update.
fn evaluate(
    pod: &mut PodEntry,
    policies: &mut BTreeMap<PolicyId, PolicyEntry>,
    durations: &mut Durations,
    (now, observed): (Timestamp, Observed),
    effects: &mut Effects,
) -> Option<Timestamp> {
    let PodEntry {
        observation,
        history,
        matched,
        written,
        deadline: _,
    } = pod;
    let mut deadline = None;
    for matched in matched {
        let Some(policy) = policies.get_mut(&matched.policy) else {
            continue;
        };
        policy.remove_pod(observation, matched);
        let Some(version) = &policy.policy else { continue };
        let view = View {
            pod: observation,
            roles: &matched.roles,
            policy: version,
            history: history.as_deref(),
            now,
        };
        let observed = if std::mem::replace(&mut matched.evaluated, true) {
            observed
        } else {
            Observed::Initial
        };
        let visible = tracker::count_visible(&matched.tracked);
        let (changed, next) = tracker::advance(&mut matched.tracked, &view, observed);
        if tracker::count_visible(&matched.tracked) != visible {
            effects.changed.insert(policy.key.clone());
        }
        let mut planner = EventPlanner {
            policy,
            view: &view,
            written: &mut *written,
            events: &mut effects.events,
        };
        planner.recoveries(&changed);
        let repeat = planner.firing(&mut matched.tracked);
        for at in next.into_iter().chain(repeat) {
            keep_earliest(&mut deadline, at, now);
        }
        report(policy, observation, &changed, now, effects);
        for (tracked, change) in &changed {
            match change {
                Change::Firing if !tracked.counted => policy.count_fired(tracked.check),
                Change::Resolved => durations.observe(now.duration_since(tracked.onset)),
                _ => {}
            }
        }
        if matched.tracked.is_empty() {
            // Frees the memory of violations that have ended.
            matched.tracked = Vec::new();
        }
    }
    deadline
}

/// Ends the violations of a Pod under a policy without Events, and removes the Pod from the counts.
pub(super) fn end(
    policy: &mut PolicyEntry,
    pod: &Observation,
    matched: &mut Matched,
    now: Timestamp,
    effects: &mut Effects,
) {
    policy.remove_pod(pod, matched);
    let ended = tracker::end_all(&mut matched.tracked);
    report(policy, pod, &ended, now, effects);
}

/// Adds state changes to the effects.
pub(super) fn report(
    policy: &PolicyEntry,
    pod: &Observation,
    changed: &[Changed],
    now: Timestamp,
    effects: &mut Effects,
) {
    let transitions = changed.iter().filter_map(|(tracked, change)| {
        Some(Transition {
            violation: policy.violation(pod, tracked)?,
            to: *change,
            at: now,
        })
    });
    effects.transitions.extend(transitions);
    if changed.iter().any(|(tracked, _)| tracked.visible) {
        effects.changed.insert(policy.key.clone());
    }
}
