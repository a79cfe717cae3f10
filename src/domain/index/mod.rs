//! The in-memory model: Pods, policies, and the violations of each Pod under each policy.
//!
//! ```text
//! namespaces ── labels, Pods by UID
//! pods, by number ── observation, history
//!     ├── matches ── the versions of policies that select the Pod and the roles that they assign, shared between Pods
//!     └── findings ── its violations under each policy that it violates, and its Events
//! policies ── the latest version, the counts of its Pods, its violations in the order of its status
//! deadlines ── (time, Pod): the next time at which the state of the Pod changes without an update
//! watches ── per Pod watch: synced or held, the Pods that a resync has seen, the Pods to evaluate after the hold
//! work ── what remains to do for edits of policies, changes of namespaces and ends of lists
//! ```
//!
//! Each method applies one change and returns [`Effects`]. The cost of a step is limited: an update changes one Pod, and
//! a change that concerns many Pods is done in steps ([`Index::work`]). Until its step a Pod stays under the version of
//! the policy that evaluated it last. The status of a policy waits for its last Pod.
//!
//! A step that changes a Pod, its violations or a policy first removes the Pod from the counts and lists of the
//! policies concerned ([`Index::uncount`]). [`Index::reevaluate`] adds it again at the end.

mod adopt;
pub mod check_states;
mod checkpoint;
mod counts;
mod deadlines;
mod drift;
mod entry;
mod evaluate;
mod event_planner;
mod exemptions;
mod histories;
mod image_states;
mod images;
mod join;
mod matched_pods;
mod matches;
mod missing;
mod namespaces;
mod pods;
mod policies;
mod policy_limits;
mod recent_kills;
#[cfg(test)]
pub(crate) mod recount;
pub mod series;
mod startups;
mod stored;
mod subjects;
mod views;
mod watches;
mod work;
mod workloads;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use jiff::Timestamp;

#[cfg(test)]
pub(crate) use self::histories::MAX_ENTRIES_PER_NAMESPACE;
#[cfg(test)]
pub(crate) use self::images::{MAX_VERSIONS, MAX_VERSIONS_PER_NAMESPACE};
#[cfg(test)]
pub(crate) use self::startups::{MAX_STARTUP_NAMES, MAX_STARTUP_NAMES_PER_NAMESPACE, STARTUP_BOUNDS};
pub use self::{
    checkpoint::Export,
    counts::{ContainerClass, VIOLATION_DURATIONS},
    exemptions::HidingExemption,
    matched_pods::MatchedPod,
    startups::{StartupDurations, StartupHistograms},
    views::RestartView,
    watches::Scope,
};
use self::{
    entry::{Policies, PolicyId},
    exemptions::Exemptions,
    histories::Histories,
    image_states::ImageStates,
    images::ParsedImages,
    matches::{MatchSet, MatchSets},
    missing::Missing,
    pods::{PodEntry, PodId, Selected, Unevaluated},
    policy_limits::RankedPolicies,
    startups::Startups,
    watches::Watches,
    work::WorkQueue,
    workloads::{WorkloadKey, Workloads},
};
use super::{
    checkpoint::Checkpoint,
    effects::Effects,
    histogram::Histogram,
    history::{History, Observed},
    observation::{NamespaceMetadata, Observation},
    pattern::Patterns,
    policy::PolicyKey,
};

/// The in-memory model, see the module's documentation.
#[derive(Debug)]
pub struct Index {
    /// The labels and the Pods of each namespace.
    namespaces: HashMap<Arc<str>, Namespace>,
    /// Pods by their number, in the order of their arrival.
    pods: BTreeMap<PodId, Box<PodEntry>>,
    /// The number of the next Pod.
    next_pod: PodId,
    /// The sets of policies that select Pods.
    match_sets: MatchSets,
    /// Policies by their number.
    policies: Policies,
    /// The number of each policy.
    ids: BTreeMap<PolicyKey, PolicyId>,
    /// The policies that can select a Pod of a namespace. `ClusterSidecarPolicy` objects are under the empty name.
    by_namespace: HashMap<Arc<str>, BTreeSet<PolicyId>>,
    /// The limits on namespaced policies, and their order.
    ranked: RankedPolicies,
    /// The patterns in the versions of the policies.
    patterns: Patterns,
    /// The number of the next policy.
    next_id: PolicyId,
    /// The time at which each Pod has to be evaluated again if it does not change.
    deadlines: BTreeSet<(Timestamp, PodId)>,
    /// The state of the watches.
    watches: Watches,
    /// The work on many Pods that remains.
    work: WorkQueue,
    /// The limit of one step of this work.
    units_per_step: usize,
    /// The workloads of the Pods. The restart series of a workload are removed with its last Pod.
    workloads: Workloads,
    /// The workloads whose Pods must have a sidecar.
    missing: Missing,
    /// The exemptions of each namespace.
    exemptions: Exemptions,
    /// The sidecar images that run in several versions.
    image_states: ImageStates,
    /// The images of sidecars, whose versions the policies count.
    images: ParsedImages,
    /// The state from checkpoints of other processes that has not been applied yet.
    restored: Checkpoint,
    /// The Pods whose history ended because they were not evaluated any more. Checkpoints do not bring it back.
    without_history: HashSet<PodId>,
    /// The number of entries in the histories of each namespace.
    histories: Histories,
    /// The durations of resolved violations.
    durations: Histogram,
    /// The sidecars that are starting, and the durations of their starts.
    startups: Startups,
    /// The number of container statuses whose name is not in the spec.
    stray_statuses: u64,
    /// The latest `now`. The time of the index never goes back, even if the clock does.
    latest: Timestamp,
}

/// A namespace.
#[derive(Debug, Default)]
struct Namespace {
    /// Its labels and annotations; `None` until the watch of namespaces has delivered them.
    metadata: Option<Arc<NamespaceMetadata>>,
    /// Its Pods by UID.
    pods: HashMap<Arc<str>, PodId>,
}

impl Index {
    /// Creates an empty index. It is not synced before the first list of each Pod watch in `scopes`, and of the
    /// namespaces if they are watched, is complete.
    pub fn new(scopes: impl IntoIterator<Item = Scope>, namespaces_watched: bool) -> Self {
        Self {
            namespaces: HashMap::new(),
            pods: BTreeMap::new(),
            next_pod: 0,
            match_sets: MatchSets::default(),
            policies: BTreeMap::new(),
            ids: BTreeMap::new(),
            by_namespace: HashMap::new(),
            ranked: RankedPolicies::default(),
            patterns: Patterns::default(),
            next_id: 0,
            deadlines: BTreeSet::new(),
            watches: Watches::new(scopes, namespaces_watched),
            work: WorkQueue::default(),
            units_per_step: work::UNITS,
            workloads: Workloads::default(),
            missing: Missing::default(),
            exemptions: Exemptions::default(),
            image_states: ImageStates::default(),
            images: ParsedImages::default(),
            restored: Checkpoint::default(),
            without_history: HashSet::new(),
            histories: Histories::default(),
            durations: Histogram::new(&VIOLATION_DURATIONS),
            startups: Startups::default(),
            stray_statuses: 0,
            latest: Timestamp::MIN,
        }
    }

    /// Applies a Pod from a list or a watch. Returns early if nothing has changed.
    pub fn apply(&mut self, observation: Observation, now: Timestamp) -> Effects {
        let mut effects = Effects::default();
        let now = self.advance_time(now);
        let Some(id) = self.pod_id(&observation.namespace, &observation.uid) else {
            self.insert(observation, now, &mut effects);
            return effects;
        };
        let namespace = Arc::clone(&observation.namespace);
        self.watches.mark_seen(&namespace, id);
        if self
            .pods
            .get(&id)
            .is_none_or(|pod| pod.observation == observation)
        {
            return effects;
        }
        self.uncount(id, Selected::All);
        let gap = self.watches.held_since(&namespace);
        let Some(pod) = self.pods.get_mut(&id) else {
            return effects;
        };
        let before = std::mem::replace(&mut pod.observation, observation);
        for matched in pod.matches.iter() {
            let policy = self.policies.get(&matched.version.policy);
            effects.changed.extend(policy.map(|policy| policy.key.clone()));
        }
        self.stray_statuses += u64::from(
            pod.observation
                .stray_statuses
                .saturating_sub(before.stray_statuses),
        );
        if pod.observation.is_evaluated() {
            let restarts = History::advance(&mut pod.history, &before, &pod.observation, (now, gap));
            pods::count_restarts(&mut self.policies, pod, &restarts);
        }
        self.count_history(id);
        let Some(pod) = self.pods.get(&id) else {
            return effects;
        };
        let is_matched_again = before.labels != pod.observation.labels
            || before.shape != pod.observation.shape
            || before.annotations != pod.observation.annotations
            || before.host_network != pod.observation.host_network;
        let observed = gap.map_or(Observed::Live, Observed::AfterGap);
        let matches = &*pod.matches;
        self.missing
            .change((&before, matches), (&pod.observation, matches), |_| observed);
        let (old, new) = ((&before, matches), (&pod.observation, matches));
        self.images.count(
            (&mut self.policies, &mut self.image_states),
            Selected::All,
            old,
            new,
        );
        if let Some(ended) = self.workloads.change(&before, &pod.observation, now) {
            self.forget_workload(&ended);
        }
        let unevaluated = if is_matched_again {
            let matches = self.latest_matches(id);
            self.switch(id, Selected::All, &matches, now, &mut effects)
        } else {
            Unevaluated::NONE
        };
        if let Some(pod) = self.pods.get(&id) {
            let states = (Some(&before), &pod.observation);
            self.startups
                .observe(id, states, &pod.matches, (now, gap.is_some()));
        }
        self.reevaluate(id, Selected::All, (now, observed), unevaluated, &mut effects);
        effects
    }

    fn insert(&mut self, observation: Observation, now: Timestamp, effects: &mut Effects) {
        let (history, findings) = self.first_state(&observation, now);
        self.stray_statuses += u64::from(observation.stray_statuses);
        let (namespace, uid) = (Arc::clone(&observation.namespace), Arc::clone(&observation.uid));
        self.workloads.add(&observation);
        let id = self.next_pod;
        self.next_pod += 1;
        self.watches.mark_seen(&namespace, id);
        self.namespaces.entry(namespace).or_default().pods.insert(uid, id);
        let pod = Box::new(PodEntry {
            observation,
            history,
            matches: Arc::default(),
            findings,
        });
        self.pods.insert(id, pod);
        self.count_history(id);
        let matches = self.latest_matches(id);
        self.switch(id, Selected::All, &matches, now, effects);
        if let Some(pod) = self.pods.get(&id) {
            let is_held = self.watches.held_since(&pod.observation.namespace).is_some();
            let states = (None, &pod.observation);
            self.startups.observe(id, states, &pod.matches, (now, is_held));
        }
        let observed = (now, Observed::Live);
        self.reevaluate(id, Selected::All, observed, Unevaluated::All, effects);
    }

    /// Removes a Pod. Its violations end without an Event.
    pub fn delete(&mut self, namespace: &str, uid: &str, now: Timestamp) -> Effects {
        let mut effects = Effects::default();
        let now = self.advance_time(now);
        if let Some(id) = self.pod_id(namespace, uid) {
            self.remove_pod(id, now, &mut effects);
        }
        effects
    }

    fn remove_pod(&mut self, id: PodId, now: Timestamp, effects: &mut Effects) {
        self.uncount(id, Selected::All);
        let Some(mut pod) = self.pods.remove(&id) else {
            return;
        };
        let matches = Arc::clone(&pod.matches);
        for matched in matches.iter() {
            if let Some(policy) = self.policies.get_mut(&matched.version.policy) {
                evaluate::end(policy, &mut pod, matched, now, effects);
                effects.changed.insert(policy.key.clone());
            }
        }
        self.exemptions.report_changes(effects);
        let Observation { namespace, uid, .. } = &pod.observation;
        let observed = self.observed_now(namespace);
        let unmatched = MatchSet::default();
        let (old, new) = ((&pod.observation, &*matches), (&pod.observation, &unmatched));
        self.missing.change(old, new, |_| observed);
        self.images.count(
            (&mut self.policies, &mut self.image_states),
            Selected::All,
            old,
            new,
        );
        if let Some(at) = pod.findings.as_ref().and_then(|findings| findings.deadline) {
            self.deadlines.remove(&(at, id));
        }
        self.watches.remove_pod(namespace, id);
        self.startups.remove(id);
        self.histories.set(namespace, id, None);
        self.without_history.remove(&id);
        if let Some(ended) = self.workloads.remove(&pod.observation) {
            self.forget_workload(&ended);
        }
        if let Some(entry) = self.namespaces.get_mut(namespace) {
            entry.pods.remove(uid);
            if entry.pods.is_empty() && entry.metadata.is_none() {
                self.namespaces.remove(namespace);
            }
        }
    }

    /// Sets the time of the index, which never goes back, and returns it. Overdue deadlines wait for [`Self::tick`]: facts
    /// that arrive late come before them.
    fn advance_time(&mut self, now: Timestamp) -> Timestamp {
        self.latest = self.latest.max(now);
        self.latest
    }

    fn pod_id(&self, namespace: &str, uid: &str) -> Option<PodId> {
        self.namespaces.get(namespace)?.pods.get(uid).copied()
    }

    /// The Pods of a namespace, in the order of their arrival.
    fn pods_of_namespace(&self, name: &str) -> Vec<PodId> {
        let namespace = self.namespaces.get(name);
        let mut pods: Vec<PodId> = namespace
            .iter()
            .flat_map(|entry| entry.pods.values().copied())
            .collect();
        pods.sort_unstable();
        pods
    }

    /// Removes the restart series of a workload.
    fn forget_workload(&mut self, (namespace, workload): &WorkloadKey) {
        for policy in self.policies.values_mut() {
            policy.remove_restarts(namespace, workload);
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
