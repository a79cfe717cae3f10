//! What the Pod watches tell about themselves: whether what they last said can be believed.
//!
//! A watch is held from an error, or from the start of a relist, until its list is complete or the resumed watch is
//! answered. While it is held its Pods are taken in but nothing is judged; the Pods that changed meanwhile, or whose
//! deadlines passed, wait here and are judged when the hold ends.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use jiff::Timestamp;

use super::{Index, PodKey};
use crate::domain::{effects::Effects, history::Observed, observation::Labels, policy::PolicyKind};

/// What one watch sees: all namespaces, or one.
pub type Scope = Option<Arc<str>>;

/// The state of every watch.
#[derive(Debug)]
pub(super) struct Watches {
    /// The Pod watches.
    pods: BTreeMap<Scope, PodWatch>,
    /// The namespaces seen by the list under way, while there is one.
    namespaces_seen: Option<HashSet<Arc<str>>>,
    /// The first list of namespaces is complete, or none is needed.
    pub(super) namespaces_synced: bool,
    /// The policies seen by the lists under way.
    pub(super) policies_seen: BTreeMap<(PolicyKind, Scope), HashSet<Arc<str>>>,
}

#[derive(Debug, Default)]
struct PodWatch {
    /// The first list is complete.
    synced: bool,
    /// Since when its word is not believed: our last look. Before the first list there was none.
    held: Option<Timestamp>,
    /// The Pods seen by the list under way, while there is one.
    seen: Option<HashSet<Arc<str>>>,
    /// The Pods to evaluate when the hold ends, and how we look at them then.
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

    fn of(&self, namespace: &str) -> Option<&PodWatch> {
        self.pods
            .iter()
            .find(|(scope, _)| covers(scope, namespace))
            .map(|(_, watch)| watch)
    }

    fn of_mut(&mut self, namespace: &str) -> Option<&mut PodWatch> {
        self.pods
            .iter_mut()
            .find(|(scope, _)| covers(scope, namespace))
            .map(|(_, watch)| watch)
    }

    /// Our last look at the Pods of a namespace, when their watch is held.
    pub(super) fn held_since(&self, namespace: &str) -> Option<Timestamp> {
        self.of(namespace).and_then(|watch| watch.held)
    }

    /// Whether every Pod that a policy of `namespace` can see (all, for the empty name) has been listed once.
    pub(super) fn is_synced(&self, namespace: &str) -> bool {
        let mut watches = self
            .pods
            .iter()
            .filter(|(scope, _)| namespace.is_empty() || covers(scope, namespace));
        watches.all(|(_, watch)| watch.synced)
    }

    /// Whether, beyond that, none of these watches is held.
    pub(super) fn is_released(&self, namespace: &str) -> bool {
        let mut watches = self
            .pods
            .iter()
            .filter(|(scope, _)| namespace.is_empty() || covers(scope, namespace));
        watches.all(|(_, watch)| watch.synced && watch.held.is_none())
    }

    pub(super) fn mark_seen(&mut self, (namespace, uid): &PodKey) {
        if let Some(seen) = self.of_mut(namespace).and_then(|watch| watch.seen.as_mut()) {
            seen.insert(uid.clone());
        }
    }

    pub(super) fn forget(&mut self, key: &PodKey) {
        if let Some(watch) = self.of_mut(&key.0) {
            watch.waiting.remove(key);
        }
    }

    /// Every Pod that waits for the end of a hold.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> impl Iterator<Item = &PodKey> {
        self.pods.values().flat_map(|watch| watch.waiting.keys())
    }

    /// Notes a Pod to be judged when the hold ends. The look that knows least wins.
    pub(super) fn wait(&mut self, key: &PodKey, look: Observed) {
        if let Some(watch) = self.of_mut(&key.0) {
            let waiting = watch.waiting.entry(key.clone()).or_insert(look);
            *waiting = (*waiting).max(look);
        }
    }
}

fn covers(scope: &Scope, namespace: &str) -> bool {
    scope.as_ref().is_none_or(|only| **only == *namespace)
}

impl Index {
    /// A list of Pods begins, perhaps for the second time: holds the scope and starts a new set of what is seen.
    /// `last_synced` is when the watch last told us something.
    pub fn begin_resync(&mut self, scope: &Scope, last_synced: Timestamp) {
        self.hold(scope, last_synced);
        if let Some(watch) = self.watches.pods.get_mut(scope) {
            watch.seen = Some(HashSet::new());
        }
    }

    /// The list is complete: what it did not bring is gone, what it brought is judged.
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

    /// The watch failed: nothing fires and nothing resolves until it works again.
    pub fn hold(&mut self, scope: &Scope, last_synced: Timestamp) {
        if let Some(watch) = self.watches.pods.get_mut(scope) {
            watch.held.get_or_insert(last_synced);
        }
    }

    /// The watch goes on where it was. Has no say while a list is under way or has not begun.
    pub fn resume(&mut self, scope: &Scope, now: Timestamp) -> Effects {
        match self.watches.pods.get(scope) {
            Some(watch) if watch.synced && watch.seen.is_none() => self.release(scope, now),
            _ => Effects::default(),
        }
    }

    /// Ends a hold and judges what waited for it. Deadlines that passed meanwhile act now, if the fault is still there.
    fn release(&mut self, scope: &Scope, now: Timestamp) -> Effects {
        // While still held: what came due meanwhile waits with the others, whether the timer came in time or not.
        let mut effects = self.tick(now);
        let now = self.latest;
        let Some(watch) = self.watches.pods.get_mut(scope) else {
            return effects;
        };
        let first_time = !std::mem::replace(&mut watch.synced, true);
        watch.held = None;
        let waiting = std::mem::take(&mut watch.waiting);
        for (key, look) in waiting {
            self.reevaluate(&key, now, look, &mut effects);
        }
        let synced = |key: &str| covers(scope, key) || key.is_empty();
        for policy in self
            .policies
            .values()
            .filter(|policy| first_time && synced(&policy.key.namespace))
        {
            effects.changed.insert(policy.key.clone());
        }
        self.forget_adopted();
        effects
    }

    /// Takes in a namespace's labels.
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

    /// Forgets a namespace's labels: no selector matches it any more but an empty one.
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

    /// A list of namespaces begins.
    pub fn begin_namespace_resync(&mut self) {
        self.watches.namespaces_seen = Some(HashSet::new());
    }

    /// The list of namespaces is complete. With the first one, policies of the cluster kind begin to match.
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
            self.forget_adopted();
        }
        effects
    }
}
