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

use super::{Index, PodKey};
use crate::domain::{effects::Effects, history::Observed, observation::Labels, policy::PolicyKind};

/// The scope of a watch: one namespace, or all of them for `None`.
pub type Scope = Option<Arc<str>>;

/// The state of every watch.
#[derive(Debug)]
pub(super) struct Watches {
    /// The Pod watches.
    pods: BTreeMap<Scope, PodWatch>,
    /// The namespaces in the current list, while one is in progress.
    namespaces_seen: Option<HashSet<Arc<str>>>,
    /// The first list of namespaces is complete, or namespaces are not watched.
    pub(super) namespaces_synced: bool,
    /// The policies in the current lists, by UID.
    pub(super) policies_seen: BTreeMap<(PolicyKind, Scope), HashSet<Arc<str>>>,
}

#[derive(Debug, Default)]
struct PodWatch {
    /// The first list is complete.
    synced: bool,
    /// The time of the last data while the watch is held; [`Timestamp::MIN`] before the first list.
    held: Option<Timestamp>,
    /// The Pods in the current list, while one is in progress.
    seen: Option<HashSet<Arc<str>>>,
    /// The Pods to evaluate when the hold ends, with the kind of observation to use.
    waiting: BTreeMap<PodKey, Observed>,
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

    /// The time of the last data about the Pods of a namespace, if their watch is held.
    pub(super) fn held_since(&self, namespace: &str) -> Option<Timestamp> {
        self.watch(namespace).and_then(|watch| watch.held)
    }

    /// Whether all Pods that a policy of `namespace` can select have been listed once. The empty name means all
    /// namespaces.
    pub(super) fn is_synced(&self, namespace: &str) -> bool {
        let mut watches = self
            .pods
            .iter()
            .filter(|(scope, _)| namespace.is_empty() || covers(scope, namespace));
        watches.all(|(_, watch)| watch.synced)
    }

    /// Whether all Pods that a policy of `namespace` can select have been listed once and none of their watches is
    /// held.
    pub(super) fn is_released(&self, namespace: &str) -> bool {
        let mut watches = self
            .pods
            .iter()
            .filter(|(scope, _)| namespace.is_empty() || covers(scope, namespace));
        watches.all(|(_, watch)| watch.synced && watch.held.is_none())
    }

    pub(super) fn mark_seen(&mut self, (namespace, uid): &PodKey) {
        if let Some(seen) = self.watch_mut(namespace).and_then(|watch| watch.seen.as_mut()) {
            seen.insert(uid.clone());
        }
    }

    pub(super) fn remove_waiting(&mut self, key: &PodKey) {
        if let Some(watch) = self.watch_mut(&key.0) {
            watch.waiting.remove(key);
        }
    }

    /// All Pods that wait until a hold ends.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> impl Iterator<Item = &PodKey> {
        self.pods.values().flat_map(|watch| watch.waiting.keys())
    }

    /// Adds a Pod to those that are evaluated when the hold ends. If the Pod waits already, the less certain kind of
    /// observation is kept.
    pub(super) fn add_waiting(&mut self, key: &PodKey, observed: Observed) {
        if let Some(watch) = self.watch_mut(&key.0) {
            let waiting = watch.waiting.entry(key.clone()).or_insert(observed);
            *waiting = (*waiting).max(observed);
        }
    }
}

fn covers(scope: &Scope, namespace: &str) -> bool {
    scope.as_ref().is_none_or(|only| **only == *namespace)
}

impl Index {
    /// Starts a list of Pods and holds the watch. Discards a list that was in progress. `last_synced` is the time of
    /// the last data of the watch.
    pub fn begin_resync(&mut self, scope: &Scope, last_synced: Timestamp) {
        self.hold(scope, last_synced);
        if let Some(watch) = self.watches.pods.get_mut(scope) {
            watch.seen = Some(HashSet::new());
        }
    }

    /// Completes a list of Pods. Removes the Pods that it does not contain and evaluates the others.
    pub fn finish_resync(&mut self, scope: &Scope, now: Timestamp) -> Effects {
        let Some(seen) = self
            .watches
            .pods
            .get_mut(scope)
            .and_then(|watch| watch.seen.take())
        else {
            return self.release(scope, now);
        };
        let in_scope = self
            .namespaces
            .iter()
            .filter(|(namespace, _)| covers(scope, namespace));
        let gone: Vec<PodKey> = in_scope
            .flat_map(|(namespace, entry)| entry.pods.keys().map(move |uid| (namespace, uid)))
            .filter(|(_, uid)| !seen.contains(*uid))
            .map(|(namespace, uid)| (namespace.clone(), uid.clone()))
            .collect();
        let mut effects = Effects::default();
        for (namespace, uid) in gone {
            effects.append(self.delete(&namespace, &uid, now));
        }
        effects.append(self.release(scope, now));
        effects
    }

    /// Holds a watch that failed: no violation fires or resolves until it works again.
    pub fn hold(&mut self, scope: &Scope, last_synced: Timestamp) {
        if let Some(watch) = self.watches.pods.get_mut(scope) {
            watch.held.get_or_insert(last_synced);
        }
    }

    /// Ends the hold of a watch that continues where it stopped. Does nothing before the first list is complete and while
    /// a list is in progress.
    pub fn resume(&mut self, scope: &Scope, now: Timestamp) -> Effects {
        match self.watches.pods.get(scope) {
            Some(watch) if watch.synced && watch.seen.is_none() => self.release(scope, now),
            _ => Effects::default(),
        }
    }

    /// Ends a hold and evaluates the waiting Pods. A violation whose deadline passed during the hold fires now, if its
    /// fault still exists.
    fn release(&mut self, scope: &Scope, now: Timestamp) -> Effects {
        // Must run before the hold ends. Pods whose deadlines have passed then wait like the others, even if the timer
        // is late.
        let mut effects = self.tick(now);
        let now = self.latest;
        let Some(watch) = self.watches.pods.get_mut(scope) else {
            return effects;
        };
        let first_time = !std::mem::replace(&mut watch.synced, true);
        watch.held = None;
        let waiting = std::mem::take(&mut watch.waiting);
        for (key, observed) in waiting {
            self.reevaluate(&key, now, observed, &mut effects);
        }
        let synced = |key: &str| covers(scope, key) || key.is_empty();
        for policy in self
            .policies
            .values()
            .filter(|policy| first_time && synced(&policy.key.namespace))
        {
            effects.changed.insert(policy.key.clone());
        }
        self.drop_stored();
        effects
    }

    /// Applies the labels of a namespace.
    pub fn apply_namespace(&mut self, name: &Arc<str>, labels: Arc<Labels>, now: Timestamp) -> Effects {
        if let Some(seen) = &mut self.watches.namespaces_seen {
            seen.insert(name.clone());
        }
        let entry = self.namespaces.entry(name.clone()).or_default();
        if entry.labels.as_ref() == Some(&labels) {
            return Effects::default();
        }
        entry.labels = Some(labels);
        self.rematch_namespace(name, now)
    }

    /// Removes the labels of a namespace. Then only an empty selector matches the namespace.
    pub fn delete_namespace(&mut self, name: &str, now: Timestamp) -> Effects {
        let Some(entry) = self.namespaces.get_mut(name) else {
            return Effects::default();
        };
        entry.labels = None;
        if entry.pods.is_empty() {
            self.namespaces.remove(name);
            return Effects::default();
        }
        self.rematch_namespace(name, now)
    }

    /// Starts a list of namespaces.
    pub fn begin_namespace_resync(&mut self) {
        self.watches.namespaces_seen = Some(HashSet::new());
    }

    /// Completes a list of namespaces. After the first one, `ClusterSidecarPolicy` objects with a namespace selector begin
    /// to match.
    pub fn finish_namespace_resync(&mut self, now: Timestamp) -> Effects {
        let mut effects = Effects::default();
        let seen = self.watches.namespaces_seen.take().unwrap_or_default();
        let known = self.namespaces.iter().filter(|(_, entry)| entry.labels.is_some());
        let gone: Vec<Arc<str>> = known
            .filter(|(name, _)| !seen.contains(*name))
            .map(|(name, _)| name.clone())
            .collect();
        for name in gone {
            effects.append(self.delete_namespace(&name, now));
        }
        if !std::mem::replace(&mut self.watches.namespaces_synced, true) {
            let names: Vec<Arc<str>> = self.namespaces.keys().cloned().collect();
            for name in names {
                effects.append(self.rematch_namespace(&name, now));
            }
            let cluster = self
                .policies
                .values()
                .filter(|p| p.key.kind == PolicyKind::ClusterSidecarPolicy);
            effects.changed.extend(cluster.map(|policy| policy.key.clone()));
            self.drop_stored();
        }
        effects
    }
}
