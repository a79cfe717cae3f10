//! Read access to the state of every check of one Pod. It explains why a violation is reported or not.

use jiff::Timestamp;

use super::{
    HidingExemption, Index, adopt::find_fault, entry::PolicyEntry, matches::Match, pods::PodEntry,
    views::with_hint,
};
use crate::domain::{
    checks::{MessageContext, View, rule},
    observation::{Observation, Phase},
    policy::{Check, Mode, PolicyKey},
    time::later,
    tracker::Tracked,
    violation::WorkloadSubject,
};

/// The state of a check on a Pod under a policy.
#[derive(Clone, Debug)]
pub struct CheckState<'a> {
    /// The policy.
    pub policy: &'a PolicyKey,
    /// The check.
    pub check: Check,
    /// The container, for [`State::Pending`], [`State::Undated`] and [`State::Firing`]; otherwise the state is that of the whole Pod.
    pub container: Option<&'a str>,
    /// The state.
    pub state: State,
    /// The cause of a violation; otherwise empty.
    pub cause: String,
    /// The exemption that hides the violation: it is not reported.
    pub hidden_by: Option<HidingExemption<'a>>,
}

/// The state of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The mode is `Off`.
    Off,
    /// No container has a role that the check covers.
    NotCovered,
    /// The Pod is not evaluated.
    NotEvaluated(NotEvaluated),
    /// Nothing fires or resolves now, because the status of the Pod is not reliable.
    Held,
    /// No covered container has a fault.
    Fine,
    /// A fault has not lasted long enough.
    Pending {
        /// The start of the fault.
        onset: Timestamp,
        /// The time at which the violation fires.
        fires_at: Timestamp,
    },
    /// A fault was present at the first observation, and its onset is not known.
    Undated {
        /// The earliest onset that the conditions of the Pod allow.
        earliest: Timestamp,
    },
    /// The violation fires.
    Firing {
        /// The start of the fault.
        onset: Timestamp,
        /// The time at which it began to fire.
        since: Timestamp,
    },
}

/// Why a Pod is not evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotEvaluated {
    /// It is not on a node.
    NotScheduled,
    /// It is being deleted.
    Terminating,
    /// It is about to be evicted or preempted.
    Disrupted,
    /// All containers have ended.
    Finished,
}

impl NotEvaluated {
    fn of(pod: &Observation) -> Option<Self> {
        match pod {
            _ if pod.is_evaluated() => None,
            Observation {
                terminating: true, ..
            } => Some(Self::Terminating),
            Observation {
                phase: Phase::Succeeded | Phase::Failed,
                ..
            } => Some(Self::Finished),
            Observation { scheduled: false, .. } => Some(Self::NotScheduled),
            _ => Some(Self::Disrupted),
        }
    }
}

impl Index {
    /// The state of every check of a Pod, under each policy that selects it. Empty for an unknown Pod.
    pub fn check_states(&self, namespace: &str, uid: &str) -> Vec<CheckState<'_>> {
        let pod = self.pod_id(namespace, uid).and_then(|id| self.pods.get(&id));
        let Some(pod) = pod else {
            return Vec::new();
        };
        let mut states = Vec::new();
        for matched in pod.matches.iter() {
            let Some(entry) = self.policies.get(&matched.version.policy) else {
                continue;
            };
            // Those on images are not about the Pod.
            let of_pods = Check::ALL
                .into_iter()
                .filter(|check| *check != Check::VersionDrift);
            for check in of_pods {
                if check == Check::SidecarMissing {
                    states.extend(self.states_of_workload(entry, pod, matched));
                } else {
                    states.extend(self.states_of(&entry.key, pod, matched, check));
                }
            }
        }
        states
    }

    /// The states of SidecarMissing: one for each sidecar that the Pod lacks, or one for the Pod.
    fn states_of_workload<'a>(
        &self,
        entry: &'a PolicyEntry,
        pod: &PodEntry,
        matched: &'a Match,
    ) -> Vec<CheckState<'a>> {
        let spec = &matched.version.spec;
        let policy = matched.version.policy;
        let of_pod = |state| CheckState {
            policy: &entry.key,
            check: Check::SidecarMissing,
            container: None,
            state,
            cause: String::new(),
            hidden_by: None,
        };
        let expectation = matched.expectation;
        if spec.mode_of(Check::SidecarMissing) == Mode::Off {
            return vec![of_pod(State::Off)];
        }
        if expectation.required == 0 {
            return vec![of_pod(State::NotCovered)];
        }
        let lacking = expectation.entries(&spec.expected).filter(|(_, lacks)| *lacks);
        let states = lacking.filter_map(|(expected, _)| {
            let subject = WorkloadSubject {
                namespace: pod.observation.namespace.clone(),
                workload: pod.observation.workload.clone(),
                sidecar: expected.name.clone(),
            };
            let cause = self.missing.detail(policy, entry, &subject).unwrap_or_default();
            let tracked = self.missing.tracked(policy, subject)?;
            let onset = tracked.onset;
            let fires_at = later(onset, expected.hold_for);
            let pending = State::Pending { onset, fires_at };
            let state = tracked
                .firing_since
                .map_or(pending, |since| State::Firing { onset, since });
            Some(CheckState {
                container: Some(&expected.name),
                cause,
                ..of_pod(state)
            })
        });
        let states: Vec<_> = states.collect();
        if states.is_empty() {
            vec![of_pod(State::Fine)]
        } else {
            states
        }
    }

    fn states_of<'a>(
        &'a self,
        policy: &'a PolicyKey,
        pod: &'a PodEntry,
        matched: &Match,
        check: Check,
    ) -> Vec<CheckState<'a>> {
        let view = pod.view(matched, self.latest);
        let of_pod = |state| CheckState {
            policy,
            check,
            container: None,
            state,
            cause: String::new(),
            hidden_by: None,
        };
        let count = pod.observation.shape.containers.len();
        let is_covered = (0..count).any(|idx| rule(check).covers(&view, idx));
        let tracked = pod.tracked(matched.version.policy).iter();
        let tracked: Vec<&Tracked> = tracked.filter(|tracked| tracked.check == check).collect();
        let held = pod.observation.is_held() || self.watches.held_since(&pod.observation.namespace).is_some();
        match NotEvaluated::of(&pod.observation) {
            _ if view.policy.mode_of(check) == Mode::Off => vec![of_pod(State::Off)],
            _ if !is_covered => vec![of_pod(State::NotCovered)],
            Some(reason) => vec![of_pod(State::NotEvaluated(reason))],
            None if tracked.is_empty() && held => vec![of_pod(State::Held)],
            None if tracked.is_empty() => vec![of_pod(State::Fine)],
            None => tracked
                .into_iter()
                .map(|tracked| {
                    let container_idx = usize::from(tracked.container);
                    let container = pod.observation.shape.containers.get(container_idx);
                    let fires_at = later(tracked.onset, rule(check).hold_for(&view, container_idx));
                    let context = MessageContext {
                        view: &view,
                        container_idx,
                        onset: tracked.onset,
                        policy,
                    };
                    CheckState {
                        hidden_by: self.exemptions.hiding(tracked, matched.exempt_for),
                        container: container.map(|container| &*container.name),
                        cause: with_hint(
                            rule(check).detail(&context),
                            tracked.rollout_hint(&pod.observation),
                        ),
                        state: match tracked.firing_since {
                            Some(since) => State::Firing {
                                onset: tracked.onset,
                                since,
                            },
                            None => earliest_onset(&view, tracked).map_or(
                                State::Pending {
                                    onset: tracked.onset,
                                    fires_at,
                                },
                                |earliest| State::Undated { earliest },
                            ),
                        },
                        ..of_pod(State::Fine)
                    }
                })
                .collect(),
        }
    }
}

/// The earliest onset of a violation that began now only because its onset is not known.
pub(super) fn earliest_onset(view: &View<'_>, tracked: &Tracked) -> Option<Timestamp> {
    if tracked.is_firing() || tracked.observed || tracked.onset != view.now {
        return None;
    }
    let fault = find_fault(view, tracked.check, usize::from(tracked.container))?;
    let earliest = fault.earliest.filter(|earliest| *earliest < view.now)?;
    fault.since.is_none().then_some(earliest)
}
