//! One Pod at one moment, under every policy that matches it: roles and facts in, transitions and Events out.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{
    Index, PodEntry, PodKey,
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
    tracker::{self, Changed, Tracked, sooner},
};

impl Index {
    /// Brings a Pod up to `now`: judges it, or leaves it as it stands while it is held, or ends what it violates when
    /// it is not evaluated any more. Being not evaluated wins over being held.
    pub(super) fn reevaluate(&mut self, key: &PodKey, now: Timestamp, look: Observed, effects: &mut Effects) {
        let Some(pod) = self
            .namespaces
            .get_mut(&key.0)
            .and_then(|entry| entry.pods.get_mut(&key.1))
        else {
            return;
        };
        let mut deadline = None;
        if !pod.observation.is_evaluated() {
            // Counts are forgotten: a Pod that comes back starts anew.
            pod.history = None;
            for matched in &mut pod.matched {
                matched.looked = true;
                if let Some(policy) = self.policies.get_mut(&matched.policy) {
                    end(policy, &pod.observation, &mut matched.tracked, now, effects);
                }
            }
        } else if self.watches.held_since(&key.0).is_some() {
            self.watches.wait(key, look);
        } else {
            adopt(pod, &mut self.policies, now);
            if pod.observation.is_held() {
                // Nothing to evaluate by, but from here on we see what it does.
                pod.matched.iter_mut().for_each(|matched| matched.looked = true);
            } else {
                deadline = evaluate(pod, &mut self.policies, &mut self.durations, (now, look), effects);
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

/// Advances the violations of a Pod, and returns when time alone changes something next.
fn evaluate(
    pod: &mut PodEntry,
    policies: &mut BTreeMap<PolicyId, PolicyEntry>,
    durations: &mut Durations,
    (now, look): (Timestamp, Observed),
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
        policy.unrecord(observation, &matched.tracked);
        let Some(version) = &policy.policy else { continue };
        let view = View {
            pod: observation,
            roles: &matched.roles,
            policy: version,
            history: history.as_deref(),
            now,
        };
        let look = if std::mem::replace(&mut matched.looked, true) {
            look
        } else {
            Observed::Initial
        };
        let (changed, next) = tracker::advance(&mut matched.tracked, &view, look);
        let mut announcer = EventPlanner {
            policy,
            view: &view,
            written: &mut *written,
            events: &mut effects.events,
        };
        announcer.recoveries(&changed);
        let repeat = announcer.firing(&mut matched.tracked);
        for at in next.into_iter().chain(repeat) {
            sooner(&mut deadline, at, now);
        }
        report(policy, observation, &changed, now, effects);
        for (violation, change) in &changed {
            match change {
                Change::Firing if !violation.counted => policy.count_fired(violation.check),
                Change::Resolved => durations.observe(now.duration_since(violation.onset)),
                _ => {}
            }
        }
        policy.record(observation, &matched.tracked);
        if matched.tracked.is_empty() {
            // A storm must not leave its room behind.
            matched.tracked = Vec::new();
        }
    }
    deadline
}

/// Ends violations that are still recorded, without Events.
pub(super) fn end(
    policy: &mut PolicyEntry,
    pod: &Observation,
    tracked: &mut Vec<Tracked>,
    now: Timestamp,
    effects: &mut Effects,
) {
    policy.unrecord(pod, tracked);
    let ended = tracker::end_all(tracked);
    report(policy, pod, &ended, now, effects);
}

/// Adds what changed to the effects.
pub(super) fn report(
    policy: &PolicyEntry,
    pod: &Observation,
    changed: &[Changed],
    now: Timestamp,
    effects: &mut Effects,
) {
    for (violation, change) in changed {
        let at = usize::from(violation.container);
        let (Some(container), Some(version)) = (pod.shape.containers.get(at), &policy.policy) else {
            continue;
        };
        effects.transitions.push(Transition {
            policy: policy.key.clone(),
            check: violation.check,
            severity: version.settings(violation.check).severity,
            namespace: pod.namespace.clone(),
            pod: pod.name.clone(),
            uid: pod.uid.clone(),
            container: container.name.clone(),
            to: *change,
            onset: violation.onset,
            at: now,
        });
    }
    if !changed.is_empty() {
        effects.changed.insert(policy.key.clone());
    }
}
