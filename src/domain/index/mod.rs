//! Everything Sidewatch knows: Pods, policies, and what each Pod violates under each policy.
//!
//! ```text
//! namespaces ── labels
//!     └── pods, by UID ── observation, history
//!             └── matched ── a policy that matches, the roles it gives, the violations it tracks
//! policies ── the evaluated version, the counts of its Pods, its violations in the order of its status
//! deadlines ── (when, Pod): the next moment at which time alone changes something
//! watches ── per Pod watch: synced or held, what a resync has seen, which Pods wait for the hold to end
//! ```
//!
//! Every method takes in one fact and returns [`Effects`]. The work of a step grows with what it changes: one Pod for
//! an update, the Pods of its namespaces for a policy's edit, nothing for an update that says nothing new.

mod adopt;
mod counts;
mod entry;
mod evaluate;
mod event_planner;
mod policies;
#[cfg(test)]
pub(crate) mod recount;
mod views;
mod watches;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use jiff::Timestamp;

pub use self::{
    counts::{ContainerClass, Durations},
    views::{PolicyView, RestartView, ViolationView},
    watches::Scope,
};
use self::{
    entry::{PolicyEntry, PolicyId},
    watches::Watches,
};
use super::{
    effects::Effects,
    history::{History, Observed, Restarts},
    observation::{Labels, Observation, Workload},
    policy::PolicyKey,
    roles::{Role, Roles},
    tracker::Tracked,
};

/// The model. See the module's documentation.
#[derive(Debug)]
pub struct Index {
    /// Pods by namespace, and the namespaces' labels.
    namespaces: HashMap<Arc<str>, Namespace>,
    /// Policies by their place; a place is never used twice.
    policies: BTreeMap<PolicyId, PolicyEntry>,
    /// The place of each policy.
    ids: BTreeMap<PolicyKey, PolicyId>,
    /// The policies that may match a Pod of a namespace; those of the cluster kind stand under the empty name.
    by_namespace: HashMap<Arc<str>, BTreeSet<PolicyId>>,
    /// The next place.
    next_id: PolicyId,
    /// When each Pod has to be looked at again although it did not change.
    deadlines: BTreeSet<(Timestamp, PodKey)>,
    /// The state of the watches.
    watches: Watches,
    /// How many Pods of each workload live: a restart series goes with the last.
    workloads: HashMap<(Arc<str>, Arc<Workload>), u32>,
    /// How long resolved violations lasted.
    durations: Durations,
    /// Statuses that named a container which the spec lacks.
    stray_statuses: u64,
    /// The latest `now`: time does not go back here, whatever the clock does.
    latest: Timestamp,
}

/// The namespace and UID of a Pod.
type PodKey = (Arc<str>, Arc<str>);

/// A namespace with its Pods.
#[derive(Debug, Default)]
struct Namespace {
    /// Its labels; unknown until its own watch brought them.
    labels: Option<Arc<Labels>>,
    /// Its Pods by UID. Boxed, because half of a hash table may be empty.
    pods: HashMap<Arc<str>, Box<PodEntry>>,
}

/// A Pod.
#[derive(Debug)]
struct PodEntry {
    /// What we last saw of it.
    observation: Observation,
    /// What its containers went through.
    history: Option<Box<History>>,
    /// The policies that match it, in the order of their places.
    matched: Box<[Matched]>,
    /// The names of Events written for it, with how often: a new episode under an old name raises that Event.
    written: Box<[(u64, u32)]>,
    /// Its entry in the deadlines.
    deadline: Option<Timestamp>,
}

/// A policy that matches a Pod.
#[derive(Debug)]
struct Matched {
    policy: PolicyId,
    /// Shared between Pods of the same shape.
    roles: Arc<Roles>,
    /// This version of the policy has looked at the Pod: what fails from now on, we saw begin.
    looked: bool,
    /// The violations, ordered by container and check; empty for a healthy Pod.
    tracked: Vec<Tracked>,
}

impl Index {
    /// An empty index that awaits the first list of each Pod watch in `scopes`, and of namespaces if they are watched.
    pub fn new(scopes: impl IntoIterator<Item = Scope>, namespaces_watched: bool) -> Self {
        Self {
            namespaces: HashMap::new(),
            policies: BTreeMap::new(),
            ids: BTreeMap::new(),
            by_namespace: HashMap::new(),
            next_id: 0,
            deadlines: BTreeSet::new(),
            watches: Watches::new(scopes, namespaces_watched),
            workloads: HashMap::new(),
            durations: Durations::default(),
            stray_statuses: 0,
            latest: Timestamp::MIN,
        }
    }

    /// Takes in a Pod, from a list or a watch alike. One that says nothing new stops here.
    pub fn apply(&mut self, observation: Observation, now: Timestamp) -> Effects {
        let mut effects = self.tick(now);
        let now = self.latest;
        let key: PodKey = (observation.namespace.clone(), observation.uid.clone());
        self.watches.mark_seen(&key);
        let namespace = self.namespaces.entry(key.0.clone()).or_default();
        let Some(pod) = namespace.pods.get_mut(&key.1) else {
            self.insert(&key, observation, now, &mut effects);
            return effects;
        };
        if pod.observation == observation {
            return effects;
        }
        let gap = self.watches.held_since(&key.0);
        for matched in &pod.matched {
            if let Some(policy) = self.policies.get_mut(&matched.policy) {
                policy.counts.remove(&pod.observation, &matched.roles);
                policy.unrecord(&pod.observation, &matched.tracked);
            }
        }
        let before = std::mem::replace(&mut pod.observation, observation);
        self.stray_statuses += u64::from(
            pod.observation
                .stray_statuses
                .saturating_sub(before.stray_statuses),
        );
        if pod.observation.is_evaluated() {
            let restarts = History::advance(&mut pod.history, &before, &pod.observation, (now, gap));
            count_restarts(&mut self.policies, pod, &restarts);
        }
        for matched in &pod.matched {
            if let Some(policy) = self.policies.get_mut(&matched.policy) {
                policy.counts.add(&pod.observation, &matched.roles);
                policy.record(&pod.observation, &matched.tracked);
                effects.changed.insert(policy.key.clone());
            }
        }
        let (relabelled, reshaped) = (
            before.labels != pod.observation.labels,
            before.shape != pod.observation.shape,
        );
        if before.workload != pod.observation.workload {
            let next = pod.observation.workload.clone();
            self.join_workload(&key.0, &next);
            self.leave_workload(&key.0, &before.workload);
        }
        if relabelled || reshaped {
            self.rematch(&key, now, &mut effects);
        }
        self.reevaluate(
            &key,
            now,
            gap.map_or(Observed::Live, Observed::AfterGap),
            &mut effects,
        );
        effects
    }

    fn insert(&mut self, key: &PodKey, observation: Observation, now: Timestamp, effects: &mut Effects) {
        let mut history = None;
        if observation.is_evaluated() {
            History::begin(&mut history, &observation, now);
        }
        self.stray_statuses += u64::from(observation.stray_statuses);
        self.join_workload(&key.0, &observation.workload);
        let pod = Box::new(PodEntry {
            observation,
            history,
            matched: Box::default(),
            written: Box::default(),
            deadline: None,
        });
        self.namespaces
            .entry(key.0.clone())
            .or_default()
            .pods
            .insert(key.1.clone(), pod);
        let candidates = self.candidates(&key.0);
        for id in candidates {
            self.attach(id, key, now, effects);
        }
        self.reevaluate(key, now, Observed::Live, effects);
    }

    /// Forgets a Pod. Its violations end without an Event.
    pub fn delete(&mut self, namespace: &str, uid: &str, now: Timestamp) -> Effects {
        let mut effects = self.tick(now);
        let now = self.latest;
        let Some(entry) = self.namespaces.get_mut(namespace) else {
            return effects;
        };
        let Some((uid, mut pod)) = entry.pods.remove_entry(uid) else {
            return effects;
        };
        let is_empty = entry.pods.is_empty() && entry.labels.is_none();
        for matched in &mut pod.matched {
            let Some(policy) = self.policies.get_mut(&matched.policy) else {
                continue;
            };
            policy.counts.remove(&pod.observation, &matched.roles);
            evaluate::end(policy, &pod.observation, &mut matched.tracked, now, &mut effects);
            effects.changed.insert(policy.key.clone());
        }
        let key = (pod.observation.namespace.clone(), uid);
        if let Some(at) = pod.deadline {
            self.deadlines.remove(&(at, key.clone()));
        }
        self.watches.forget(&key);
        self.leave_workload(&key.0, &pod.observation.workload);
        if is_empty {
            self.namespaces.remove(namespace);
        }
        effects
    }

    /// The next moment at which [`Self::tick`] has something to do.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// Acts on every deadline up to `now`, each at its own time and in order.
    pub fn tick(&mut self, now: Timestamp) -> Effects {
        let mut effects = Effects::default();
        self.latest = self.latest.max(now);
        while let Some((at, key)) = self
            .deadlines
            .first()
            .filter(|(at, _)| *at <= self.latest)
            .cloned()
        {
            self.deadlines.remove(&(at, key.clone()));
            if let Some(pod) = self.pod_mut(&key) {
                pod.deadline = None;
            }
            self.reevaluate(&key, at, Observed::Live, &mut effects);
        }
        effects
    }

    fn pod_mut(&mut self, (namespace, uid): &PodKey) -> Option<&mut PodEntry> {
        let pod = self.namespaces.get_mut(namespace)?.pods.get_mut(uid)?;
        Some(pod)
    }

    fn join_workload(&mut self, namespace: &Arc<str>, workload: &Arc<Workload>) {
        *self
            .workloads
            .entry((namespace.clone(), workload.clone()))
            .or_default() += 1;
    }

    fn leave_workload(&mut self, namespace: &Arc<str>, workload: &Arc<Workload>) {
        let key = (namespace.clone(), workload.clone());
        let Some(pods) = self.workloads.get_mut(&key) else {
            return;
        };
        *pods -= 1;
        if *pods == 0 {
            self.workloads.remove(&key);
            for policy in self.policies.values_mut() {
                policy
                    .restarts
                    .retain(|series, _| (&series.0, &series.1) != (namespace, workload));
            }
        }
    }
}

/// Changes a list that every Pod has and that rarely changes: it is kept without room to spare.
fn edit<T, R>(list: &mut Box<[T]>, change: impl FnOnce(&mut Vec<T>) -> R) -> R {
    let mut items = std::mem::take(list).into_vec();
    let result = change(&mut items);
    *list = items.into_boxed_slice();
    result
}

/// Adds restarts of sidecars to the series of the policies that call them so.
fn count_restarts(policies: &mut BTreeMap<PolicyId, PolicyEntry>, pod: &PodEntry, restarts: &[Restarts]) {
    for restart in restarts {
        let Some(container) = pod.observation.shape.containers.get(restart.container) else {
            continue;
        };
        for matched in &pod.matched {
            let Some(policy) = policies.get_mut(&matched.policy) else {
                continue;
            };
            if matched.roles.of(restart.container) == Role::Sidecar {
                let (namespace, workload) = (
                    pod.observation.namespace.clone(),
                    pod.observation.workload.clone(),
                );
                let series = (namespace, workload, container.name.clone(), restart.reason);
                *policy.restarts.entry(series).or_default() += u64::from(restart.count);
            }
        }
    }
}
