//! The state that the API does not show, in a form that another process can continue: [`Checkpoint`].
//!
//! [`Checkpoint::merge`] joins two checkpoints. It is commutative, associative and idempotent, so the order in which
//! checkpoints arrive does not matter. Each part has a join of its own:
//!
//! * The violations under a policy are replaced as a whole: those of the later observation are kept. A union would restore
//!   a violation that has resolved.
//! * Restarts, flaps and OOM kills belong to a container and have identities that the API provides. They are united.
//! * The Events of a Pod are united by name, with the highest count.

mod entry;
mod map;
pub(super) mod wire;

use std::{collections::BTreeMap, num::NonZeroU32, sync::Arc};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

pub use self::{
    entry::{Assembly, Entry, Importance, PodViolation, StoredPod, StoredPolicy},
    map::SmallMap,
};
use super::{
    effects::Event,
    history::{OomKill, Prior},
    policy::{Check, PolicyKey, Severity},
    tracker::FiringEvent,
};

/// No observation is later than this: a watch that is silent for 75 s is closed.
const MAX_DELAY: SignedDuration = SignedDuration::from_mins(2);

/// The state of an index at one time, as far as the API does not show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The time at which the state was read from the index.
    pub as_of: Timestamp,
    /// The policies by UID, with the violations under each.
    pub policies: BTreeMap<Arc<str>, PolicyState>,
    /// The Pods with a violation or a history, and Pods with an Event.
    pub pods: BTreeMap<PodKey, PodState>,
    /// The Events that had not been written, by name.
    pub waiting: BTreeMap<String, Event>,
    /// The number of entries that were left out because of the size limit.
    pub omitted: u32,
}

impl Default for Checkpoint {
    fn default() -> Self {
        Self {
            as_of: Timestamp::MIN,
            policies: BTreeMap::new(),
            pods: BTreeMap::new(),
            waiting: BTreeMap::new(),
            omitted: 0,
        }
    }
}

/// The identity of a Pod, or of a workload: then the name is `Kind/name`, which no Pod has, and the UID is empty.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PodKey {
    /// `metadata.namespace`.
    pub namespace: Arc<str>,
    /// `metadata.name`.
    pub name: Arc<str>,
    /// `metadata.uid`.
    #[serde(with = "wire::uid")]
    pub uid: Arc<str>,
}

/// A policy and the violations under it. The order of the fields is the order of precedence in a merge.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PolicyState {
    /// The time of the latest data about its Pods: the time of the checkpoint, or an earlier one while a watch was held.
    pub as_of: Timestamp,
    /// Every violation under the policy is listed. A fault without an entry began later than `as_of`.
    pub complete: bool,
    /// `metadata.generation`.
    pub generation: i64,
    /// The kind, the namespace and the name.
    pub key: PolicyKey,
    /// The violations.
    pub violations: BTreeMap<ViolationId, ViolationState>,
}

impl PolicyState {
    /// Removes and returns the violations of one Pod.
    pub fn take_violations_of(&mut self, pod: &PodKey) -> Vec<(ViolationId, ViolationState)> {
        let first = ViolationId {
            pod: pod.clone(),
            container: Arc::default(),
            check: Check::ALL[0],
        };
        let from = self.violations.range(&first..);
        let number = from.take_while(|(id, _)| id.pod == *pod).count();
        let from = self.violations.extract_if(first.., |_, _| true);
        from.take(number).collect()
    }
}

/// The identity of a violation under a policy. Together with the policy this is a
/// [`ViolationKey`](super::violation::ViolationKey).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ViolationId {
    /// The Pod.
    pub pod: PodKey,
    /// The name of the container.
    pub container: Arc<str>,
    /// The failing check.
    pub check: Check,
}

/// The state of one violation: the fields of [`Tracked`](super::tracker::Tracked) that cannot be computed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ViolationState {
    /// The time at which the fault began.
    #[serde(with = "wire::time")]
    pub onset: Timestamp,
    /// The operator observed the start of the fault.
    pub observed: bool,
    /// The time at which the violation began to fire; `None` while it is pending.
    #[serde(with = "wire::optional_time")]
    pub firing_since: Option<Timestamp>,
    /// The time at which the fault ended, while the violation keeps firing.
    #[serde(with = "wire::optional_time")]
    pub gone_since: Option<Timestamp>,
    /// The Event of the violation, if it has one.
    pub event: Option<FiringEvent>,
    /// The hash in the name of the Event of the other check about the same fault.
    pub other_event: Option<u64>,
    /// The violation has fired before.
    pub counted: bool,
    /// Status, metrics and counts show the violation.
    pub visible: bool,
    /// The severity in the policy. It decides which entries are left out first.
    pub severity: Severity,
}

/// A Pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodState {
    /// The hashes in the names of its Events, with the number of times that each was written.
    pub written: SmallMap<u64, u32>,
    /// The histories of its containers, by name.
    pub containers: SmallMap<Arc<str>, ContainerState>,
}

/// The history of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerState {
    /// Its status at the time of the checkpoint, if the kubelet had reported one.
    pub seen: Option<Seen>,
    /// The observed restarts by the `restartCount` that they resulted in.
    pub restarts: Occurrences<u32>,
    /// Restarts that became visible together with a later one, with a time after which they happened.
    pub restarts_after: Occurrences<u32>,
    /// The changes from ready to unready by run and second.
    pub flaps: Occurrences<FlapId>,
    /// The restarts before the first observation.
    pub prior: Option<Prior>,
    /// The latest OOM kill.
    pub oom: Option<OomKill>,
    /// The latest resize in place that restarted the container.
    pub resized: Option<NonZeroU32>,
}

/// The status of a container at the time of a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Seen {
    /// `restartCount`.
    pub restart_count: u32,
    /// `ready`.
    pub ready: bool,
}

/// The identity of a change from ready to unready: two replicas that observe the same change compute the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FlapId {
    /// A hash of the container ID, or `restartCount` without one.
    #[serde(with = "wire::hash")]
    pub run: u64,
    /// The second of `ContainersReady.lastTransitionTime` if the condition changed too, else of the observation.
    pub second: i64,
}

/// Times by identity. An identity can occur more than once, for example if `restartCount` has decreased meanwhile; the
/// number tells the occurrences apart. In a merge the earlier time is kept, because an observation can only be late.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(bound(serialize = "K: Serialize", deserialize = "K: Deserialize<'de>"))]
pub struct Occurrences<K: Ord>(#[serde(with = "wire::occurrences")] pub SmallMap<(K, u16), Timestamp>);

impl<K: Ord> Default for Occurrences<K> {
    fn default() -> Self {
        Self(SmallMap::default())
    }
}

impl<K: Ord + Copy> Occurrences<K> {
    /// Adds the next occurrence of an identity.
    pub fn push(&mut self, id: K, at: Timestamp) {
        let known = self.0.iter().rev().find(|((known, _), _)| *known == id);
        let number = known.map_or(0, |((_, number), _)| number.saturating_add(1));
        self.0.insert_or((id, number), at, |known, at| *known = at);
    }

    fn merge(&mut self, other: Self) {
        for (id, at) in other.0 {
            self.0.insert_or(id, at, |kept, at| *kept = at.min(*kept));
        }
    }

    /// Removes the times of another clock, if this process has its own time of the same occurrence. See [`is_other_clock`].
    pub fn remove_other_clock(&mut self, own: &Self, age: SignedDuration) {
        self.0
            .retain(|id, at| own.0.get(id).is_none_or(|own| !is_other_clock(*own, *at, age)));
    }

    /// The identities in the order of their times.
    pub fn in_order(&self) -> Vec<(Timestamp, K)> {
        let mut marks: Vec<_> = self.0.iter().map(|((id, _), at)| (*at, *id)).collect();
        marks.sort_unstable();
        marks
    }
}

impl Checkpoint {
    /// Joins another checkpoint to this one.
    pub fn merge(&mut self, other: Self) {
        let Self {
            as_of,
            policies,
            pods,
            waiting,
            omitted,
        } = other;
        (self.as_of, self.omitted) = (self.as_of, self.omitted).max((as_of, omitted));
        for (uid, theirs) in policies {
            let kept = match self.policies.remove(&uid) {
                Some(ours) => ours.max(theirs),
                None => theirs,
            };
            self.policies.insert(uid, kept);
        }
        for (key, theirs) in pods {
            self.pods.entry(key).or_default().merge(theirs);
        }
        for (name, theirs) in waiting {
            let kept = match self.waiting.remove(&name) {
                Some(ours) => ours.max(theirs),
                None => theirs,
            };
            self.waiting.insert(name, kept);
        }
    }

    /// The number of violations and of Pods without a violation.
    pub fn entries(&self) -> usize {
        let violations = self.policies.values().map(|policy| policy.violations.len());
        violations.sum::<usize>() + self.pods.len()
    }

    /// Whether there is nothing to store.
    pub fn is_empty(&self) -> bool {
        self.pods.is_empty() && self.waiting.is_empty()
    }
}

/// Whether a stored time is earlier than the own time of the same occurrence only because the clock of the other process is
/// behind. `age` is the time since the checkpoint was made, by the clock of this process. If `age` is short, the clocks
/// agree. If the difference of the times is short, this process may have observed the occurrence late.
pub fn is_other_clock(own: Timestamp, stored: Timestamp, age: SignedDuration) -> bool {
    age > MAX_DELAY && own.duration_since(stored) > MAX_DELAY
}

impl PodState {
    /// Joins another state of the same Pod.
    pub fn merge(&mut self, other: Self) {
        for (hash, times) in other.written {
            self.written
                .insert_or(hash, times, |kept, times| *kept = times.max(*kept));
        }
        for (name, theirs) in other.containers {
            self.containers.insert_or(name, theirs, ContainerState::merge);
        }
    }
}

impl ContainerState {
    /// Joins another history of the same container.
    pub fn merge(&mut self, other: Self) {
        let Self {
            seen,
            restarts,
            restarts_after,
            flaps,
            prior,
            oom,
            resized,
        } = other;
        self.seen = self.seen.max(seen);
        self.restarts.merge(restarts);
        self.restarts_after.merge(restarts_after);
        self.flaps.merge(flaps);
        // No restart before the first observation is the smallest number.
        self.prior = self.prior.min(prior);
        self.oom = self.oom.max(oom);
        self.resized = self.resized.max(resized);
    }
}
