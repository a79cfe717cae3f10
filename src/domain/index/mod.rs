//! The in-memory model: Pods, policies, and the violations of each Pod under each policy.
//!
//! ```text
//! namespaces ── labels
//!     └── pods, by UID ── observation, history
//!             └── matched ── a policy that selects the Pod, the roles it assigns, the violations it tracks
//! policies ── the version in use, the counts of its Pods, its violations in the order of its status
//! deadlines ── (time, Pod): the next time at which the state of the Pod changes without an update
//! watches ── per Pod watch: synced or held, the Pods that a resync has seen, the Pods to evaluate after the hold
//! ```
//!
//! Each method applies one change and returns [`Effects`]. The cost of a step depends on what it changes: one Pod for
//! an update, the Pods of its namespaces for an edit of a policy, nothing for an update without a change.
//!
//! A step that changes a Pod, its violations or a policy first removes the Pod from the counts and lists of its
//! policies ([`PolicyEntry::remove_pod`]). [`Index::reevaluate`] adds it again at the end.

mod adopt;
mod counts;
mod entry;
mod evaluate;
mod event_planner;
mod policies;
#[cfg(test)]
pub(crate) mod recount;
pub mod series;
mod views;
mod watches;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use jiff::Timestamp;

pub use self::{
    counts::{ContainerClass, Durations},
    views::{PolicyView, RestartView},
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

/// The in-memory model, see the module's documentation.
#[derive(Debug)]
pub struct Index {
    /// Pods by namespace, and the labels of the namespaces.
    namespaces: HashMap<Arc<str>, Namespace>,
    /// Policies by their number.
    policies: BTreeMap<PolicyId, PolicyEntry>,
    /// The number of each policy.
    ids: BTreeMap<PolicyKey, PolicyId>,
    /// The policies that can select a Pod of a namespace. `ClusterSidecarPolicy` objects are under the empty name.
    by_namespace: HashMap<Arc<str>, BTreeSet<PolicyId>>,
    /// The number of the next policy.
    next_id: PolicyId,
    /// The time at which each Pod has to be evaluated again if it does not change.
    deadlines: BTreeSet<(Timestamp, PodKey)>,
    /// The state of the watches.
    watches: Watches,
    /// The number of Pods of each workload. The restart series of a workload are removed with its last Pod.
    workloads: HashMap<(Arc<str>, Arc<Workload>), u32>,
    /// The durations of resolved violations.
    durations: Durations,
    /// The number of container statuses whose name is not in the spec.
    stray_statuses: u64,
    /// The latest `now`. The time of the index never goes back, even if the clock does.
    latest: Timestamp,
}

/// The namespace and UID of a Pod.
type PodKey = (Arc<str>, Arc<str>);

/// A namespace with its Pods.
#[derive(Debug, Default)]
struct Namespace {
    /// Its labels; `None` until the watch of namespaces has delivered them.
    labels: Option<Arc<Labels>>,
    /// Its Pods by UID. Boxed, because up to half of a hash table is empty.
    pods: HashMap<Arc<str>, Box<PodEntry>>,
}

/// A Pod.
#[derive(Debug)]
struct PodEntry {
    /// Its latest observation.
    observation: Observation,
    /// The restarts, flaps and OOM kills of its containers.
    history: Option<Box<History>>,
    /// The policies that select it, in the order of their numbers.
    matched: Box<[Matched]>,
    /// The hashes in the names of its Events, with the number of times that each was written. A new episode with an old
    /// name raises the count of that Event.
    written: Box<[(u64, u32)]>,
    /// Its time in [`Index::deadlines`].
    deadline: Option<Timestamp>,
}

/// A policy that selects a Pod.
#[derive(Debug)]
struct Matched {
    policy: PolicyId,
    /// Shared between Pods of the same shape.
    roles: Arc<Roles>,
    /// This version of the policy has evaluated the Pod before. The onset of a new fault is then known.
    evaluated: bool,
    /// The Pod is in the counts and the list of violations of the policy.
    in_counts: bool,
    /// The violations, ordered by container and check; empty for a healthy Pod.
    tracked: Vec<Tracked>,
}

impl Index {
    /// Creates an empty index. It is not synced before the first list of each Pod watch in `scopes`, and of the
    /// namespaces if they are watched, is complete.
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

    /// Applies a Pod from a list or a watch. Returns early if nothing has changed.
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
        for matched in &mut pod.matched {
            if let Some(policy) = self.policies.get_mut(&matched.policy) {
                policy.remove_pod(&pod.observation, matched);
                effects.changed.insert(policy.key.clone());
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
        let labels_changed = before.labels != pod.observation.labels;
        let shape_changed = before.shape != pod.observation.shape;
        if before.workload != pod.observation.workload {
            let workload = pod.observation.workload.clone();
            self.add_to_workload(&key.0, &workload);
            self.remove_from_workload(&key.0, &before.workload);
        }
        if labels_changed || shape_changed {
            self.rematch(&key, now, &mut effects);
        }
        let observed = gap.map_or(Observed::Live, Observed::AfterGap);
        self.reevaluate(&key, now, observed, &mut effects);
        effects
    }

    fn insert(&mut self, key: &PodKey, observation: Observation, now: Timestamp, effects: &mut Effects) {
        let mut history = None;
        if observation.is_evaluated() {
            History::begin(&mut history, &observation, now);
        }
        self.stray_statuses += u64::from(observation.stray_statuses);
        self.add_to_workload(&key.0, &observation.workload);
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

    /// Removes a Pod. Its violations end without an Event.
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
            evaluate::end(policy, &pod.observation, matched, now, &mut effects);
            effects.changed.insert(policy.key.clone());
        }
        let key = (pod.observation.namespace.clone(), uid);
        if let Some(at) = pod.deadline {
            self.deadlines.remove(&(at, key.clone()));
        }
        self.watches.remove_waiting(&key);
        self.remove_from_workload(&key.0, &pod.observation.workload);
        if is_empty {
            self.namespaces.remove(namespace);
        }
        effects
    }

    /// The next time at which [`Self::tick`] has work to do.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// Evaluates the Pods whose deadlines are not after `now`, in the order of the deadlines. Each Pod is evaluated at
    /// the time of its deadline.
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

    fn add_to_workload(&mut self, namespace: &Arc<str>, workload: &Arc<Workload>) {
        *self
            .workloads
            .entry((namespace.clone(), workload.clone()))
            .or_default() += 1;
    }

    fn remove_from_workload(&mut self, namespace: &Arc<str>, workload: &Arc<Workload>) {
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

/// Changes a boxed slice. Every Pod has such lists and they rarely change, so they have no spare capacity.
fn edit<T, R>(list: &mut Box<[T]>, change: impl FnOnce(&mut Vec<T>) -> R) -> R {
    let mut items = std::mem::take(list).into_vec();
    let result = change(&mut items);
    *list = items.into_boxed_slice();
    result
}

/// Adds restarts to the series of each policy for which the container is a sidecar.
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
