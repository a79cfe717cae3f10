//! The parts of a checkpoint, which are stored one by one: [`Entry`].

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Checkpoint, PodKey, PodState, PolicyState, ViolationId, ViolationState, wire};
use crate::domain::{
    effects::Event,
    policy::{Check, PolicyKey, Severity},
};

/// A part of a checkpoint. All policies come first, then the Pods, the most important first, then the Events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Entry {
    /// A policy. The first one has the number 0.
    Policy(StoredPolicy),
    /// A Pod, or another subject of violations.
    Pod(StoredPod),
    /// An Event that has not been written.
    Event(Event),
}

/// A policy without its violations.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredPolicy {
    /// `metadata.uid`.
    #[serde(with = "wire::uid")]
    pub uid: Arc<str>,
    /// The kind, the namespace and the name.
    pub key: PolicyKey,
    /// `metadata.generation`.
    pub generation: i64,
    /// See [`PolicyState::complete`].
    pub complete: bool,
    /// See [`PolicyState::as_of`]; `None` if it is the time of the checkpoint.
    #[serde(with = "wire::optional_time")]
    pub as_of: Option<Timestamp>,
}

/// A Pod with its violations under all policies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredPod {
    /// The Pod.
    pub key: PodKey,
    /// Its Events and histories.
    pub state: PodState,
    /// Its violations.
    pub violations: Vec<PodViolation>,
}

/// A violation of a Pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodViolation {
    /// The number of the policy.
    pub policy: u32,
    /// The name of the container.
    pub container: Arc<str>,
    /// The failing check.
    #[serde(with = "wire::check")]
    pub check: Check,
    /// The state.
    pub state: ViolationState,
}

/// The importance of a Pod in a checkpoint: what is lost without it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Importance {
    /// Events only. The API shows them for an hour.
    Events,
    /// Pending violations. They begin again with the onset that the API shows.
    Pending,
    /// A history without a violation.
    History,
    /// Firing violations: the highest severity, and the oldest onset with it.
    Firing(Severity, Reverse<Timestamp>),
}

impl Importance {
    /// The importance of a Pod with these violations: severity, onset, and whether it fires.
    pub fn of(has_history: bool, violations: impl Iterator<Item = (Severity, Timestamp, bool)>) -> Self {
        let most = violations.map(|(severity, onset, fires)| {
            if fires {
                Self::Firing(severity, Reverse(onset))
            } else {
                Self::Pending
            }
        });
        let rest = if has_history { Self::History } else { Self::Events };
        most.fold(rest, Self::max)
    }
}

impl StoredPod {
    /// The importance of the Pod.
    pub fn importance(&self) -> Importance {
        let violations = self
            .violations
            .iter()
            .map(|PodViolation { state, .. }| (state.severity, state.onset, state.firing_since.is_some()));
        Importance::of(!self.state.containers.is_empty(), violations)
    }
}

impl Checkpoint {
    /// The parts of the checkpoint.
    pub fn into_entries(self) -> Vec<Entry> {
        let mut entries = Vec::new();
        let mut violations = BTreeMap::<PodKey, Vec<PodViolation>>::new();
        for (number, (uid, policy)) in (0..).zip(self.policies) {
            entries.push(Entry::Policy(StoredPolicy {
                uid,
                key: policy.key,
                generation: policy.generation,
                complete: policy.complete,
                as_of: Some(policy.as_of).filter(|as_of| *as_of != self.as_of),
            }));
            for (
                ViolationId {
                    pod,
                    container,
                    check,
                },
                state,
            ) in policy.violations
            {
                violations.entry(pod).or_default().push(PodViolation {
                    policy: number,
                    container,
                    check,
                    state,
                });
            }
        }
        let pods = self.pods.into_iter().map(|(key, state)| StoredPod {
            violations: violations.remove(&key).unwrap_or_default(),
            key,
            state,
        });
        let mut pods: Vec<_> = pods.collect();
        pods.sort_by_key(|pod| Reverse(pod.importance()));
        entries.extend(pods.into_iter().map(Entry::Pod));
        entries.extend(self.waiting.into_values().map(Entry::Event));
        entries
    }
}

/// Puts the parts of a checkpoint together.
#[derive(Debug, Default)]
pub struct Assembly {
    checkpoint: Checkpoint,
    /// The policies by number.
    policies: Vec<(Arc<str>, PolicyState)>,
    /// The names of namespaces and containers, which many Pods share.
    names: HashSet<Arc<str>>,
}

impl Assembly {
    /// Begins a checkpoint of this time.
    pub fn new(as_of: Timestamp, omitted: u32) -> Self {
        Self {
            checkpoint: Checkpoint {
                as_of,
                omitted,
                ..Checkpoint::default()
            },
            ..Self::default()
        }
    }

    /// Adds a part. Returns an error if it does not fit the others.
    pub fn add(&mut self, entry: Entry) -> Result<(), &'static str> {
        match entry {
            Entry::Policy(policy) => self.policies.push((
                policy.uid,
                PolicyState {
                    as_of: policy.as_of.unwrap_or(self.checkpoint.as_of),
                    complete: policy.complete,
                    generation: policy.generation,
                    key: policy.key,
                    violations: BTreeMap::new(),
                },
            )),
            Entry::Pod(pod) => self.add_pod(pod)?,
            Entry::Event(event) => drop(self.checkpoint.waiting.insert(event.name.clone(), event)),
        }
        Ok(())
    }

    fn add_pod(&mut self, pod: StoredPod) -> Result<(), &'static str> {
        let StoredPod {
            mut key,
            state,
            violations,
        } = pod;
        key.namespace = self.shared(key.namespace);
        let containers = state.containers.into_iter();
        let containers = containers
            .map(|(name, state)| (self.shared(name), state))
            .collect();
        let state = PodState { containers, ..state };
        for violation in violations {
            let container = self.shared(violation.container);
            let policy = usize::try_from(violation.policy).ok();
            let (_, policy) = policy
                .and_then(|number| self.policies.get_mut(number))
                .ok_or("unknown policy")?;
            let id = ViolationId {
                pod: key.clone(),
                container,
                check: violation.check,
            };
            policy.violations.insert(id, violation.state);
        }
        self.checkpoint.pods.entry(key).or_default().merge(state);
        Ok(())
    }

    fn shared(&mut self, name: Arc<str>) -> Arc<str> {
        if let Some(known) = self.names.get(&name) {
            return Arc::clone(known);
        }
        self.names.insert(Arc::clone(&name));
        name
    }

    /// The checkpoint. `is_cut` tells whether violations under the policy with this number are missing.
    pub fn finish(self, is_cut: impl Fn(usize) -> bool) -> Checkpoint {
        let mut checkpoint = self.checkpoint;
        for (number, (uid, mut policy)) in self.policies.into_iter().enumerate() {
            policy.complete &= !is_cut(number);
            checkpoint.policies.insert(uid, policy);
        }
        checkpoint
    }
}
