//! Policies coming, changing and going, and which Pods they match.

use std::collections::{BTreeSet, HashSet};

use jiff::Timestamp;

use super::{
    Index, Matched, PodKey, edit,
    entry::{PolicyEntry, PolicyId},
    evaluate,
    watches::Scope,
};
use crate::domain::{
    checks::View,
    effects::Effects,
    history::Observed,
    policy::{Policy, PolicyKey, PolicyKind, PolicyUpdate},
    tracker,
};

impl Index {
    /// Takes in a policy. One whose spec did not change stops here, so a policy's own status writes cost nothing. An
    /// invalid spec leaves the last good version at work.
    pub fn apply_policy(&mut self, update: PolicyUpdate, now: Timestamp) -> Effects {
        let mut effects = self.tick(now);
        let now = self.latest;
        for ((kind, scope), seen) in &mut self.watches.policies_seen {
            if *kind == update.key.kind && scope.as_ref().is_none_or(|only| *only == update.key.namespace) {
                seen.insert(update.uid.clone());
            }
        }
        let known = self.ids.get(&update.key).copied();
        let Some(id) = known else {
            self.insert_policy(update, now, &mut effects);
            return effects;
        };
        let Some(entry) = self.policies.get_mut(&id) else {
            return effects;
        };
        if entry.uid != update.uid {
            effects.append(self.delete_policy(&update.key, now));
            self.insert_policy(update, now, &mut effects);
            return effects;
        }
        let generation = std::mem::replace(&mut entry.generation, update.generation);
        let changes = match &update.spec {
            Ok(spec) => entry.invalid.is_some() || entry.policy.as_ref() != Some(spec),
            Err(message) => entry.invalid.as_ref() != Some(message),
        };
        if changes || generation != update.generation {
            effects.changed.insert(entry.key.clone());
        }
        match update.spec {
            Err(message) => entry.invalid = Some(message),
            Ok(spec) => {
                entry.invalid = None;
                if entry.policy.as_ref() != Some(&spec) {
                    self.change_policy(id, spec, now, &mut effects);
                }
            }
        }
        effects
    }

    fn insert_policy(&mut self, update: PolicyUpdate, now: Timestamp, effects: &mut Effects) {
        let id = self.next_id;
        self.next_id += 1;
        let mut entry = PolicyEntry::new(update);
        effects.changed.insert(entry.key.clone());
        self.ids.insert(entry.key.clone(), id);
        self.by_namespace
            .entry(entry.key.namespace.clone())
            .or_default()
            .insert(id);
        let policy = entry.policy.take();
        self.policies.insert(id, entry);
        if let Some(policy) = policy {
            self.change_policy(id, policy, now, effects);
        }
        self.forget_adopted();
    }

    /// Forgets a policy. Its violations end without Events.
    pub fn delete_policy(&mut self, key: &PolicyKey, now: Timestamp) -> Effects {
        let mut effects = self.tick(now);
        let Some(id) = self.ids.remove(key) else {
            return effects;
        };
        let now = self.latest;
        for pod in self.pods_in_sight(key) {
            self.detach(id, &pod);
            self.part(id, &pod, now, &mut effects);
            self.reevaluate(&pod, now, Observed::Live, &mut effects);
        }
        self.policies.remove(&id);
        if let Some(places) = self.by_namespace.get_mut(&key.namespace) {
            places.remove(&id);
            if places.is_empty() {
                self.by_namespace.remove(&key.namespace);
            }
        }
        effects.changed.insert(key.clone());
        effects
    }

    /// Puts another version of a policy to work on every Pod that the old or the new one can see. What both cover keeps
    /// its onset.
    fn change_policy(&mut self, id: PolicyId, version: Policy, now: Timestamp, effects: &mut Effects) {
        let Some(entry) = self.policies.get(&id) else {
            return;
        };
        let pods = self.pods_in_sight(&entry.key.clone());
        for key in &pods {
            self.detach(id, key);
        }
        if let Some(entry) = self.policies.get_mut(&id) {
            entry.replace(version);
        }
        for key in &pods {
            if let Some(pod) = self.pod_mut(key) {
                let of_policy = |matched: &&mut Matched| matched.policy == id;
                pod.matched
                    .iter_mut()
                    .filter(of_policy)
                    .for_each(|matched| matched.looked = false);
            }
            self.attach(id, key, now, effects);
            self.reevaluate(key, now, Observed::Live, effects);
        }
    }

    /// The Pods that a policy can see whatever its selectors say, in an order that does not change.
    fn pods_in_sight(&self, policy: &PolicyKey) -> Vec<PodKey> {
        let in_sight = self.namespaces.iter().filter(|(name, _)| {
            policy.kind == PolicyKind::ClusterSidecarPolicy || **name == policy.namespace
        });
        let mut pods: Vec<PodKey> = in_sight
            .flat_map(|(name, entry)| entry.pods.keys().map(|uid| (name.clone(), uid.clone())))
            .collect();
        pods.sort_unstable();
        pods
    }

    /// Takes a Pod out of a policy's counts and lists, but keeps what it tracks.
    fn detach(&mut self, id: PolicyId, (namespace, uid): &PodKey) {
        let pod = self
            .namespaces
            .get(namespace)
            .and_then(|entry| entry.pods.get(uid));
        let (Some(pod), Some(policy)) = (pod, self.policies.get_mut(&id)) else {
            return;
        };
        for matched in pod.matched.iter().filter(|matched| matched.policy == id) {
            policy.counts.remove(&pod.observation, &matched.roles);
            policy.unrecord(&pod.observation, &matched.tracked);
        }
    }

    /// Puts a detached Pod under a policy, if it matches; otherwise what was tracked ends without Events.
    pub(super) fn attach(
        &mut self,
        id: PolicyId,
        (namespace, uid): &PodKey,
        now: Timestamp,
        effects: &mut Effects,
    ) {
        let Some(entry) = self.namespaces.get_mut(namespace) else {
            return;
        };
        let (Some(pod), Some(policy)) = (entry.pods.get_mut(uid), self.policies.get_mut(&id)) else {
            return;
        };
        let place = pod.matched.binary_search_by_key(&id, |matched| matched.policy);
        if !policy.matches(&pod.observation, entry.labels.as_deref()) {
            self.part(id, &(namespace.clone(), uid.clone()), now, effects);
            return;
        }
        let Some(roles) = policy.roles_in(&pod.observation.shape) else {
            return;
        };
        let place = place.unwrap_or_else(|place| {
            let matched = Matched {
                policy: id,
                roles: roles.clone(),
                looked: false,
                tracked: Vec::new(),
            };
            edit(&mut pod.matched, |list| list.insert(place, matched));
            place
        });
        let Some(matched) = pod.matched.get_mut(place) else {
            return;
        };
        matched.roles = roles;
        let Some(version) = &policy.policy else { return };
        let view = View {
            pod: &pod.observation,
            roles: &matched.roles,
            policy: version,
            history: pod.history.as_deref(),
            now,
        };
        let ended = tracker::end_uncovered(&mut matched.tracked, &view);
        evaluate::report(policy, &pod.observation, &ended, now, effects);
        policy.counts.add(&pod.observation, &matched.roles);
        policy.record(&pod.observation, &matched.tracked);
        effects.changed.insert(policy.key.clone());
    }

    /// Takes a policy off a detached Pod: what was tracked ends without Events.
    fn part(&mut self, id: PolicyId, key: &PodKey, now: Timestamp, effects: &mut Effects) {
        let pod = self
            .namespaces
            .get_mut(&key.0)
            .and_then(|entry| entry.pods.get_mut(&key.1));
        let (Some(pod), Some(policy)) = (pod, self.policies.get(&id)) else {
            return;
        };
        let Ok(place) = pod.matched.binary_search_by_key(&id, |matched| matched.policy) else {
            return;
        };
        let ended = tracker::end_all(&mut edit(&mut pod.matched, |list| list.remove(place)).tracked);
        evaluate::report(policy, &pod.observation, &ended, now, effects);
        effects.changed.insert(policy.key.clone());
    }

    /// The policies that may match a Pod of a namespace.
    pub(super) fn candidates(&self, namespace: &str) -> Vec<PolicyId> {
        let places = |name: &str| self.by_namespace.get(name).into_iter().flatten().copied();
        places("").chain(places(namespace)).collect()
    }

    /// Matches a Pod anew, after what selectors or roles read has changed.
    pub(super) fn rematch(&mut self, key: &PodKey, now: Timestamp, effects: &mut Effects) {
        for id in self.candidates(&key.0) {
            self.detach(id, key);
            self.attach(id, key, now, effects);
        }
    }

    /// Matches every Pod of a namespace anew, after its labels changed.
    pub(super) fn rematch_namespace(&mut self, name: &str, now: Timestamp) -> Effects {
        let mut effects = self.tick(now);
        let now = self.latest;
        let Some((name, entry)) = self.namespaces.get_key_value(name) else {
            return effects;
        };
        let mut pods: Vec<PodKey> = entry.pods.keys().map(|uid| (name.clone(), uid.clone())).collect();
        pods.sort_unstable();
        for key in pods {
            self.rematch(&key, now, &mut effects);
            self.reevaluate(&key, now, Observed::Live, &mut effects);
        }
        effects
    }

    /// A list of policies begins.
    pub fn begin_policy_resync(&mut self, kind: PolicyKind, scope: &Scope) {
        self.watches
            .policies_seen
            .insert((kind, scope.clone()), HashSet::new());
    }

    /// The list of policies is complete: those that it did not bring are gone.
    pub fn finish_policy_resync(&mut self, kind: PolicyKind, scope: &Scope, now: Timestamp) -> Effects {
        let mut effects = Effects::default();
        let Some(seen) = self.watches.policies_seen.remove(&(kind, scope.clone())) else {
            return effects;
        };
        let in_scope =
            |key: &PolicyKey| key.kind == kind && scope.as_ref().is_none_or(|only| *only == key.namespace);
        let gone: BTreeSet<PolicyKey> = self
            .policies
            .values()
            .filter(|entry| in_scope(&entry.key) && !seen.contains(&entry.uid))
            .map(|entry| entry.key.clone())
            .collect();
        for key in gone {
            effects.append(self.delete_policy(&key, now));
        }
        effects
    }
}
