//! The state of the watches: whether their data is up to date.
//!
//! A Pod watch is held from an error, or from the start of a relist, until its list is complete or the API server
//! answers the resumed watch. While a watch is held, its Pods are stored but not evaluated. Pods that change or whose
//! deadlines pass during the hold are stored here and evaluated when the hold ends.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use jiff::Timestamp;

use super::{
    Index,
    pods::{PodId, Selected, Unevaluated},
    work::Work,
};
use crate::domain::{
    effects::Effects,
    history::Observed,
    policy::{PolicyKey, PolicyKind},
};

/// The scope of a watch: one namespace, or all of them for `None`.
pub type Scope = Option<Arc<str>>;

/// The state of every watch.
#[derive(Debug)]
pub(super) struct Watches {
    /// The Pod watches.
    pods: BTreeMap<Scope, PodWatch>,
    /// The namespaces in the current list, while one is in progress.
    pub(super) namespaces_seen: Option<HashSet<Arc<str>>>,
    /// The first list of namespaces is complete, or namespaces are not watched.
    pub(super) namespaces_synced: bool,
    /// The policies in the current lists, by UID.
    pub(super) policies_seen: BTreeMap<(PolicyKind, Scope), HashSet<Arc<str>>>,
}

#[derive(Debug, Default)]
struct PodWatch {
    /// The first list is complete.
    listed: bool,
    /// All Pods of the first list have been evaluated.
    synced: bool,
    /// The watch failed and was not resumed or completed a list since.
    disconnected: bool,
    /// The time of the last data while the watch is held; [`Timestamp::MIN`] before the first list.
    held: Option<Timestamp>,
    /// The Pods in the current list, from its beginning until the others are removed.
    seen: Option<HashSet<PodId>>,
    /// The Pods to evaluate when the hold ends.
    waiting: BTreeMap<PodId, Waiting>,
}

/// How to evaluate a Pod when a hold ends.
#[derive(Debug)]
struct Waiting {
    observed: Observed,
    unevaluated: Unevaluated,
}

impl Watches {
    pub(super) fn new(scopes: impl IntoIterator<Item = Scope>, namespaces_watched: bool) -> Self {
        let pods = scopes.into_iter().map(|scope| {
            (
                scope,
                PodWatch {
                    held: Some(Timestamp::MIN),
                    ..PodWatch::default()
                },
            )
        });
        Self {
            pods: pods.collect(),
            namespaces_seen: None,
            namespaces_synced: !namespaces_watched,
            policies_seen: BTreeMap::new(),
        }
    }

    /// The scopes of the Pod watches.
    pub(super) fn scopes(&self) -> impl Iterator<Item = &Scope> {
        self.pods.keys()
    }

    fn watch(&self, namespace: &str) -> Option<&PodWatch> {
        self.pods
            .iter()
            .find(|(scope, _)| covers(scope, namespace))
            .map(|(_, watch)| watch)
    }

    fn watch_mut(&mut self, namespace: &str) -> Option<&mut PodWatch> {
        self.pods
            .iter_mut()
            .find(|(scope, _)| covers(scope, namespace))
            .map(|(_, watch)| watch)
    }

    /// The watch of a scope, unless it is held.
    fn released_mut(&mut self, scope: &Scope) -> Option<&mut PodWatch> {
        self.pods.get_mut(scope).filter(|watch| watch.held.is_none())
    }

    /// The time of the last data about the Pods of a namespace, if their watch is held.
    pub(super) fn held_since(&self, namespace: &str) -> Option<Timestamp> {
        self.watch(namespace).and_then(|watch| watch.held)
    }

    /// The time of the oldest data about the Pods that a policy of `namespace` can select, if a watch is held. The empty
    /// name means all namespaces.
    pub(super) fn data_since(&self, namespace: &str) -> Option<Timestamp> {
        self.watches_of(namespace).filter_map(|watch| watch.held).min()
    }

    /// Whether all Pods that a policy of `namespace` can select have been evaluated once. The empty name means all
    /// namespaces.
    pub(super) fn is_synced(&self, namespace: &str) -> bool {
        self.watches_of(namespace).all(|watch| watch.synced)
    }

    /// Whether all Pods that a policy of `namespace` can select have been evaluated once, and none of them waits.
    pub(super) fn is_released(&self, namespace: &str) -> bool {
        self.watches_of(namespace)
            .all(|watch| watch.synced && watch.held.is_none() && watch.waiting.is_empty())
    }

    fn watches_of(&self, namespace: &str) -> impl Iterator<Item = &PodWatch> {
        let watches = self.pods.iter();
        watches
            .filter(move |(scope, _)| namespace.is_empty() || covers(scope, namespace))
            .map(|(_, watch)| watch)
    }

    /// Whether a list of policies that contains this policy is in progress.
    pub(super) fn is_listing_policies(&self, policy: &PolicyKey) -> bool {
        self.policies_seen
            .keys()
            .any(|(kind, scope)| *kind == policy.kind && covers(scope, &policy.namespace))
    }

    pub(super) fn mark_seen(&mut self, namespace: &str, id: PodId) {
        if let Some(seen) = self.watch_mut(namespace).and_then(|watch| watch.seen.as_mut()) {
            seen.insert(id);
        }
    }

    pub(super) fn remove_pod(&mut self, namespace: &str, id: PodId) {
        if let Some(watch) = self.watch_mut(namespace) {
            watch.waiting.remove(&id);
            if let Some(seen) = &mut watch.seen {
                seen.remove(&id);
            }
        }
    }

    /// All Pods that wait until they are evaluated, with their namespaces' watch.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> impl Iterator<Item = PodId> {
        self.pods.values().flat_map(|watch| watch.waiting.keys().copied())
    }

    /// The Pods of a watch that wait.
    pub(super) fn waiting_of(&self, scope: &Scope) -> Vec<PodId> {
        let watch = self.pods.get(scope);
        watch
            .map(|watch| watch.waiting.keys().copied().collect())
            .unwrap_or_default()
    }

    /// Whether a Pod must not be evaluated now: its watch is held, or it waits for its turn after a hold.
    pub(super) fn is_waiting(&self, namespace: &str, id: PodId) -> bool {
        self.watch(namespace)
            .is_some_and(|watch| watch.held.is_some() || watch.waiting.contains_key(&id))
    }

    /// Adds a Pod to those that are evaluated when the hold ends. If the Pod waits already, the less certain kind of
    /// observation is kept.
    pub(super) fn add_waiting(&mut self, namespace: &str, id: PodId, observed: Observed, new: Unevaluated) {
        if let Some(watch) = self.watch_mut(namespace) {
            let waiting = watch.waiting.entry(id).or_insert(Waiting {
                observed,
                unevaluated: Unevaluated::NONE,
            });
            waiting.observed = waiting.observed.max(observed);
            waiting.unevaluated.add(new);
        }
    }

    /// Treats a waiting Pod as evaluated by all its policies.
    pub(super) fn set_evaluated(&mut self, namespace: &str, id: PodId) {
        let waiting = self
            .watch_mut(namespace)
            .and_then(|watch| watch.waiting.get_mut(&id));
        if let Some(waiting) = waiting {
            waiting.unevaluated = Unevaluated::NONE;
        }
    }
}

pub(super) fn covers(scope: &Scope, namespace: &str) -> bool {
    scope.as_ref().is_none_or(|only| **only == *namespace)
}

impl Index {
    /// Starts a list of Pods and holds the watch. Discards a list that was in progress. `last_synced` is the time of
    /// the last data of the watch.
    pub fn begin_resync(&mut self, scope: &Scope, last_synced: Timestamp) {
        self.hold(scope, last_synced);
        self.work.remove(&Work::Resync(scope.clone()));
        if let Some(watch) = self.watches.pods.get_mut(scope) {
            watch.seen = Some(HashSet::new());
        }
    }

    /// Completes a list of Pods. Queues the removal of the Pods that it does not contain and the evaluation of the
    /// others, and does the first step.
    pub fn finish_resync(&mut self, scope: &Scope, now: Timestamp) -> Effects {
        let now = self.advance_time(now);
        if let Some(watch) = self.watches.pods.get_mut(scope) {
            watch.disconnected = false;
            self.work.push(Work::Resync(scope.clone()));
        }
        self.work(now)
    }

    /// The Pods that the current list of a watch does not contain.
    pub(super) fn unseen_pods(&self, scope: &Scope) -> Vec<PodId> {
        let Some(seen) = self.watches.pods.get(scope).and_then(|watch| watch.seen.as_ref()) else {
            return Vec::new();
        };
        let in_scope = self.namespaces.iter().filter(|(name, _)| covers(scope, name));
        let pods = in_scope.flat_map(|(_, entry)| entry.pods.values().copied());
        let mut unseen: Vec<PodId> = pods.filter(|id| !seen.contains(id)).collect();
        unseen.sort_unstable();
        unseen
    }

    /// Removes a Pod unless it was seen meanwhile. Returns the number of units of work.
    pub(super) fn remove_unseen(
        &mut self,
        id: PodId,
        scope: &Scope,
        now: Timestamp,
        effects: &mut Effects,
    ) -> usize {
        let seen = self.watches.pods.get(scope).and_then(|watch| watch.seen.as_ref());
        let units = 1 + self.pods.get(&id).map_or(0, |pod| pod.matches.len());
        if seen.is_some_and(|seen| !seen.contains(&id)) {
            self.remove_pod(id, now, effects);
        }
        units
    }

    /// Ends a list after its last removal. The hold ends too, unless the watch has failed again.
    pub(super) fn finish_removal(&mut self, scope: &Scope) {
        let Some(watch) = self.watches.pods.get_mut(scope) else {
            return;
        };
        watch.seen = None;
        watch.listed = true;
        self.release_listed(scope);
    }

    /// Ends the hold of a connected watch whose list is complete, unless the first list of exemptions is not.
    pub(super) fn release_listed(&mut self, scope: &Scope) {
        let watch = self.watches.pods.get(scope);
        let is_listed =
            watch.is_some_and(|watch| watch.listed && watch.seen.is_none() && !watch.disconnected);
        if is_listed && !self.exemptions.delays(scope, self.latest) {
            self.release(scope);
        }
    }

    /// Holds a watch that failed: no violation fires or resolves until it works again.
    pub fn hold(&mut self, scope: &Scope, last_synced: Timestamp) {
        if let Some(watch) = self.watches.pods.get_mut(scope) {
            watch.disconnected = true;
            watch.held.get_or_insert(last_synced);
        }
    }

    /// Ends the hold of a watch that continues where it stopped. Does nothing before the first list is complete and while
    /// a list is in progress.
    pub fn resume(&mut self, scope: &Scope, now: Timestamp) -> Effects {
        let now = self.advance_time(now);
        let Some(watch) = self.watches.pods.get_mut(scope) else {
            return Effects::default();
        };
        watch.disconnected = false;
        self.release_listed(scope);
        self.work(now)
    }

    /// Ends a hold, and queues the evaluation of the waiting Pods. A violation whose deadline passed during the hold fires
    /// then, if its fault still exists.
    fn release(&mut self, scope: &Scope) {
        // Pods whose deadlines have passed wait like the others, even if the timer is late.
        let overdue = self.deadlines.iter().take_while(|(at, _)| *at <= self.latest);
        let overdue: Vec<PodId> = overdue.map(|(_, id)| *id).collect();
        for id in overdue {
            let Some(pod) = self
                .pods
                .get_mut(&id)
                .filter(|pod| covers(scope, &pod.observation.namespace))
            else {
                continue;
            };
            let namespace = &pod.observation.namespace;
            self.watches
                .add_waiting(namespace, id, Observed::Live, Unevaluated::NONE);
            pod.edit_findings(|findings| findings.clear_deadlines(Selected::All));
            self.update_deadline(id);
        }
        self.missing.release(scope, self.latest);
        self.image_states.release(scope, self.latest);
        if let Some(watch) = self.watches.pods.get_mut(scope) {
            watch.held = None;
            self.work.push(Work::Release(scope.clone()));
        }
    }

    /// Evaluates a waiting Pod, unless its watch is held again. Returns the number of units of work.
    pub(super) fn release_pod(
        &mut self,
        id: PodId,
        scope: &Scope,
        now: Timestamp,
        effects: &mut Effects,
    ) -> usize {
        let watch = self.watches.released_mut(scope);
        let Some(Waiting {
            observed,
            unevaluated,
        }) = watch.and_then(|watch| watch.waiting.remove(&id))
        else {
            return 1;
        };
        self.uncount(id, Selected::All);
        self.reevaluate(id, Selected::All, (now, observed), unevaluated, effects);
        1 + self.pods.get(&id).map_or(0, |pod| pod.matches.len())
    }

    /// Completes the evaluation of the waiting Pods. After the first time the statuses of the policies can be written.
    pub(super) fn finish_release(&mut self, scope: &Scope, effects: &mut Effects) {
        let Some(watch) = self.watches.released_mut(scope) else {
            return;
        };
        if std::mem::replace(&mut watch.synced, true) {
            return;
        }
        let is_synced = |key: &PolicyKey| key.namespace.is_empty() || covers(scope, &key.namespace);
        let keys = self.policies.values().map(|policy| &policy.key);
        effects.changed.extend(keys.filter(|key| is_synced(key)).cloned());
        let is_covered = |namespace: &str| covers(scope, namespace);
        self.exemptions.report_all(is_covered, effects);
    }
}
