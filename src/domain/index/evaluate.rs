//! Evaluates one Pod at one time under the policies that select it. Returns transitions and Events.

use std::sync::Arc;

use jiff::Timestamp;

use super::{
    Index,
    adopt::adopt,
    entry::{Policies, PolicyEntry},
    event_planner::EventPlanner,
    exemptions::Exemptions,
    matches::{Match, MatchSet},
    pods::{PodEntry, PodId, Selected, Unevaluated},
    workloads::Workloads,
};
use crate::domain::{
    checks::View,
    effects::{Change, Effects, Transition},
    histogram::Histogram,
    history::Observed,
    observation::Observation,
    policy::Policy,
    tracker::{self, Changed, Tracked, keep_earliest},
};

impl Index {
    /// Removes a Pod from the counts and lists of the selected policies. [`Self::reevaluate`] must follow.
    pub(super) fn uncount(&mut self, id: PodId, selected: Selected) {
        self.for_each_policy(id, selected, |policy, exemptions, pod, matched| {
            let number = matched.version.policy;
            policy.remove_pod(&pod.observation, matched, pod.tracked(number));
            exemptions.subtract(id, number, pod.tracked(number));
        });
    }

    fn for_each_policy(
        &mut self,
        id: PodId,
        selected: Selected,
        mut act: impl FnMut(&mut PolicyEntry, &mut Exemptions, &PodEntry, &Match),
    ) {
        let Some(pod) = self.pods.get(&id) else { return };
        for matched in selected.among(&pod.matches) {
            let id = matched.version.policy;
            if let Some(policy) = self.policies.get_mut(&id) {
                act(policy, &mut self.exemptions, pod, matched);
            }
        }
    }

    /// Evaluates a Pod under the selected policies, which know it already.
    pub(super) fn reevaluate_live(
        &mut self,
        id: PodId,
        selected: Selected,
        now: Timestamp,
        effects: &mut Effects,
    ) {
        self.uncount(id, selected);
        self.reevaluate(id, selected, (now, Observed::Live), Unevaluated::NONE, effects);
    }

    /// Evaluates a Pod at `now` under the selected policies, and adds it to their counts and lists. It must have been
    /// removed from them.
    ///
    /// The violations of a Pod that is no longer evaluated end. The violations of a held Pod do not change, unless the
    /// Pod is also no longer evaluated.
    pub(super) fn reevaluate(
        &mut self,
        id: PodId,
        selected: Selected,
        (now, observed): (Timestamp, Observed),
        unevaluated: Unevaluated,
        effects: &mut Effects,
    ) {
        let Some(pod) = self.pods.get_mut(&id) else { return };
        let matches = Arc::clone(&pod.matches);
        if !pod.observation.is_evaluated() {
            // A Pod that is evaluated again later starts with an empty history, and its faults are new.
            if pod.history.take().is_some() {
                self.without_history.insert(id);
                self.histories.set(&pod.observation.namespace, id, None);
            }
            self.watches.set_evaluated(&pod.observation.namespace, id);
            for matched in selected.among(&matches) {
                if let Some(policy) = self.policies.get_mut(&matched.version.policy) {
                    end(policy, pod, matched, now, effects);
                }
            }
        } else if self.watches.is_waiting(&pod.observation.namespace, id) {
            let namespace = &pod.observation.namespace;
            self.watches.add_waiting(namespace, id, observed, unevaluated);
            clear_deadlines(pod, selected);
        } else {
            adopt(pod, &matches, selected, &mut self.policies, now);
            if pod.observation.is_held() {
                // The state is unknown now, but a fault that appears later is new.
                clear_deadlines(pod, selected);
            } else {
                for matched in selected.among(&matches) {
                    let observed = if unevaluated.contains(matched.version.policy) {
                        first_observed(self.policies.get(&matched.version.policy).map(Box::as_ref))
                    } else {
                        observed
                    };
                    evaluate(
                        pod,
                        matched,
                        (
                            (&self.workloads, &self.exemptions),
                            &mut self.policies,
                            &mut self.durations,
                        ),
                        (now, observed),
                        effects,
                    );
                }
            }
        }
        self.for_each_policy(id, selected, |policy, exemptions, pod, matched| {
            let number = matched.version.policy;
            policy.add_pod(&pod.observation, matched, pod.tracked(number));
            exemptions.add((id, pod), (matched, policy), now, effects);
        });
        self.exemptions.report_changes(effects);
        self.update_deadline(id);
    }

    /// Moves a Pod to its next deadline in the list of deadlines.
    pub(super) fn update_deadline(&mut self, id: PodId) {
        let Some(pod) = self.pods.get_mut(&id).filter(|pod| pod.findings.is_some()) else {
            return;
        };
        let (before, next) = pod.edit_findings(|findings| {
            let next = findings.next_deadline();
            (std::mem::replace(&mut findings.deadline, next), next)
        });
        if before != next {
            if let Some(at) = before {
                self.deadlines.remove(&(at, id));
            }
            if let Some(at) = next {
                self.deadlines.insert((at, id));
            }
        }
    }

    /// Changes the policies that a Pod is under. The violations that they no longer cover end without Events. The Pod must
    /// have been removed from the counts of the selected policies, and the sets must not differ in others. Returns the
    /// policies that are new for the Pod.
    pub(super) fn switch(
        &mut self,
        id: PodId,
        selected: Selected,
        new: &Arc<MatchSet>,
        now: Timestamp,
        effects: &mut Effects,
    ) -> Unevaluated {
        let namespace = self
            .pods
            .get(&id)
            .map(|pod| Arc::clone(&pod.observation.namespace));
        let known = self.observed_now(&namespace.unwrap_or_default());
        let Some(pod) = self.pods.get_mut(&id) else {
            return Unevaluated::NONE;
        };
        let old = std::mem::replace(&mut pod.matches, Arc::clone(new));
        for matched in selected.among(&old) {
            let Some(policy) = self.policies.get_mut(&matched.version.policy) else {
                continue;
            };
            if new.get(matched.version.policy).is_none() {
                end(policy, pod, matched, now, effects);
                effects.changed.insert(policy.key.clone());
            }
        }
        let Self {
            missing,
            image_states,
            images,
            policies,
            ..
        } = self;
        let observation = &pod.observation;
        let states = ((observation, &*old), (observation, &**new));
        images.count((policies, image_states), selected, states.0, states.1);
        missing.change(states.0, states.1, |id| {
            let version = |matches: &MatchSet| matches.get(id).map(|matched| Arc::as_ptr(&matched.version));
            if version(&old) == version(new) {
                known
            } else {
                first_observed(policies.get(&id).map(Box::as_ref))
            }
        });
        let mut unevaluated = Vec::new();
        for matched in selected.among(new) {
            let Some(policy) = self.policies.get(&matched.version.policy) else {
                continue;
            };
            let before = old.get(matched.version.policy);
            if before.is_none_or(|before| !Arc::ptr_eq(&before.version, &matched.version)) {
                unevaluated.push(matched.version.policy);
            }
            if before.is_some() {
                end_uncovered(policy, pod, matched, now, effects);
            }
            effects.changed.insert(policy.key.clone());
        }
        Unevaluated::Only(unevaluated)
    }
}

impl Selected {
    /// The selected policies of a set.
    pub(super) fn among(self, matches: &MatchSet) -> impl Iterator<Item = &Match> {
        let (all, only) = match self {
            Self::All => (Some(matches.iter()), None),
            Self::Only(policy) => (None, matches.get(policy)),
        };
        all.into_iter().flatten().chain(only)
    }
}

/// How the first evaluation of a Pod under a policy observes its state.
fn first_observed(policy: Option<&PolicyEntry>) -> Observed {
    let covered_until = policy.and_then(|policy| policy.covered_until);
    covered_until.map_or(Observed::Initial, Observed::AfterGap)
}

fn clear_deadlines(pod: &mut PodEntry, selected: Selected) {
    if let Some(findings) = &mut pod.findings {
        findings.clear_deadlines(selected);
    }
}

/// Advances the violations of a Pod under one policy.
fn evaluate(
    pod: &mut PodEntry,
    matched: &Match,
    ((workloads, exemptions), policies, durations): (
        (&Workloads, &Exemptions),
        &mut Policies,
        &mut Histogram,
    ),
    (now, observed): (Timestamp, Observed),
    effects: &mut Effects,
) {
    let Some(policy) = policies.get_mut(&matched.version.policy) else {
        return;
    };
    let PodEntry {
        observation,
        history,
        matches: _,
        findings,
    } = pod;
    let view = View {
        pod: observation,
        roles: &matched.roles,
        policy: &matched.version.spec,
        history: history.as_deref(),
        now,
    };
    let mut tracked = findings
        .as_mut()
        .map(|findings| findings.take(matched.version.policy))
        .unwrap_or_default();
    let visible = tracker::count_visible(&tracked);
    let (mut changed, mut deadline) = tracker::advance(&mut tracked, &view, observed);
    find_rollouts(&mut tracked, observation, workloads);
    let marked = exemptions.mark(matched.exempt_for, observation, (&mut tracked, &mut changed), now);
    for check in marked.announced {
        policy.count_fired(check);
    }
    if let Some(at) = marked.next {
        keep_earliest(&mut deadline, at, now);
    }
    if marked.is_changed || tracker::count_visible(&tracked) != visible {
        effects.changed.insert(policy.key.clone());
    }
    if tracked.is_empty() && changed.is_empty() {
        return;
    }
    let findings = findings.get_or_insert_default();
    let mut planner = EventPlanner {
        policy,
        view: &view,
        written: &mut findings.written,
        events: &mut effects.events,
    };
    planner.recoveries(&changed, &mut tracked);
    let repeat = planner.firing(&mut tracked, &changed);
    if let Some(at) = repeat {
        keep_earliest(&mut deadline, at, now);
    }
    findings.put(matched.version.policy, tracked, deadline);
    for (violation, change) in &changed {
        match change {
            Change::Firing => {
                policy
                    .recent_kills
                    .forget(observation, violation, &mut policy.workloads);
                if !violation.counted && !violation.is_exempt() {
                    policy.count_fired(violation.check);
                }
            }
            Change::Resolved => {
                policy.keep_kill(observation, &matched.version.spec, violation, now);
                durations.observe(now.duration_since(violation.onset));
            }
            _ => {}
        }
    }
    report(policy, pod, &matched.version.spec, &changed, now, effects);
}

/// Finds the rollouts after which the faults of new violations began.
fn find_rollouts(tracked: &mut [Tracked], pod: &Observation, workloads: &Workloads) {
    let mut new = tracked
        .iter_mut()
        .filter(|violation| !violation.rollout_known)
        .peekable();
    if new.peek().is_none() {
        return;
    }
    let rollout = workloads.rollout_of(pod);
    for violation in new {
        violation.rollout_known = true;
        let explaining = rollout
            .clone()
            .filter(|rollout| rollout.explains(violation.onset));
        violation.rollout = explaining.map(Box::new);
    }
}

/// Ends the violations of a Pod under a policy without Events. The Pod must have been removed from the counts.
pub(super) fn end(
    policy: &mut PolicyEntry,
    pod: &mut PodEntry,
    matched: &Match,
    now: Timestamp,
    effects: &mut Effects,
) {
    if pod.findings.is_some() {
        let mut tracked = pod.edit_findings(|findings| findings.take(matched.version.policy));
        let ended = tracker::end_all(&mut tracked);
        for (violation, _) in &ended {
            policy.keep_kill(&pod.observation, &matched.version.spec, violation, now);
        }
        report(policy, pod, &matched.version.spec, &ended, now, effects);
    }
}

/// Ends the violations that the version of a policy does not cover.
fn end_uncovered(
    policy: &PolicyEntry,
    pod: &mut PodEntry,
    matched: &Match,
    now: Timestamp,
    effects: &mut Effects,
) {
    let id = matched.version.policy;
    let Some(findings) = pod.findings.as_mut() else {
        return;
    };
    let mut tracked = findings.take(id);
    let view = pod.view(matched, now);
    let ended = tracker::end_uncovered(&mut tracked, &view);
    pod.edit_findings(|findings| findings.put(id, tracked, None));
    report(policy, pod, &matched.version.spec, &ended, now, effects);
}

/// Adds state changes to the effects.
fn report(
    policy: &PolicyEntry,
    pod: &PodEntry,
    spec: &Policy,
    changed: &[Changed],
    now: Timestamp,
    effects: &mut Effects,
) {
    let transitions = changed.iter().filter_map(|(tracked, change)| {
        Some(Transition {
            violation: policy.violation(&pod.observation, spec, tracked)?,
            to: *change,
            at: now,
        })
    });
    effects.transitions.extend(transitions);
    if changed.iter().any(|(tracked, _)| tracked.is_shown()) {
        effects.changed.insert(policy.key.clone());
    }
}
