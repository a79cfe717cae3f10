//! Applies updates of policies, and matches policies with Pods.

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
    /// Applies a version of a policy. Returns early if the spec has not changed, for example after a write of the
    /// status. If the spec is invalid, the last valid version stays in use.
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
        let is_changed = match &update.spec {
            Ok(spec) => entry.invalid.is_some() || entry.policy.as_ref() != Some(spec),
            Err(error) => entry.invalid.as_ref() != Some(error),
        };
        if is_changed || generation != update.generation {
            effects.changed.insert(entry.key.clone());
        }
        match update.spec {
            Err(error) => entry.invalid = Some(error),
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
        self.drop_stored();
    }

    /// Removes a policy. Its violations end without Events.
    pub fn delete_policy(&mut self, key: &PolicyKey, now: Timestamp) -> Effects {
        let mut effects = self.tick(now);
        let Some(id) = self.ids.remove(key) else {
            return effects;
        };
        let now = self.latest;
        for pod in self.visible_pods(key) {
            self.detach(id, &pod, now, &mut effects);
            self.reevaluate(&pod, now, Observed::Live, &mut effects);
        }
        self.policies.remove(&id);
        if let Some(ids) = self.by_namespace.get_mut(&key.namespace) {
            ids.remove(&id);
            if ids.is_empty() {
                self.by_namespace.remove(&key.namespace);
            }
        }
        effects.changed.insert(key.clone());
        effects
    }

    /// Replaces the version of a policy for all Pods that the old or the new version can select. A violation that both
    /// versions cover keeps its onset.
    fn change_policy(&mut self, id: PolicyId, version: Policy, now: Timestamp, effects: &mut Effects) {
        let Some(entry) = self.policies.get(&id) else {
            return;
        };
        let pods = self.visible_pods(&entry.key.clone());
        for key in &pods {
            self.remove_from_counts(id, key);
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
                    .for_each(|matched| matched.evaluated = false);
            }
            self.attach(id, key, now, effects);
            self.reevaluate(key, now, Observed::Live, effects);
        }
    }

    /// The Pods that a policy can select, whatever its selectors are, in a fixed order.
    fn visible_pods(&self, policy: &PolicyKey) -> Vec<PodKey> {
        let namespaces = self.namespaces.iter().filter(|(name, _)| {
            policy.kind == PolicyKind::ClusterSidecarPolicy || **name == policy.namespace
        });
        let mut pods: Vec<PodKey> = namespaces
            .flat_map(|(name, entry)| entry.pods.keys().map(|uid| (name.clone(), uid.clone())))
            .collect();
        pods.sort_unstable();
        pods
    }

    /// Removes a Pod from the counts and the list of a policy.
    fn remove_from_counts(&mut self, id: PolicyId, (namespace, uid): &PodKey) {
        let pod = self
            .namespaces
            .get_mut(namespace)
            .and_then(|entry| entry.pods.get_mut(uid));
        let (Some(pod), Some(policy)) = (pod, self.policies.get_mut(&id)) else {
            return;
        };
        for matched in pod.matched.iter_mut().filter(|matched| matched.policy == id) {
            policy.remove_pod(&pod.observation, matched);
        }
    }

    /// Attaches a policy to a Pod that it selects, with the roles of the version in use. Detaches it from a Pod that it
    /// does not select. The caller must then call [`Self::reevaluate`], which adds the Pod to the counts.
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
        if !policy.matches(&pod.observation, entry.labels.as_deref()) {
            self.detach(id, &(namespace.clone(), uid.clone()), now, effects);
            return;
        }
        let Some(roles) = policy.roles_in(&pod.observation.shape) else {
            return;
        };
        let position = pod.matched.binary_search_by_key(&id, |matched| matched.policy);
        let position = position.unwrap_or_else(|position| {
            let matched = Matched {
                policy: id,
                roles: roles.clone(),
                evaluated: false,
                in_counts: false,
                tracked: Vec::new(),
            };
            edit(&mut pod.matched, |list| list.insert(position, matched));
            position
        });
        let Some(matched) = pod.matched.get_mut(position) else {
            return;
        };
        policy.remove_pod(&pod.observation, matched);
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
        effects.changed.insert(policy.key.clone());
    }

    /// Detaches a policy from a Pod. Its violations end without Events.
    fn detach(&mut self, id: PolicyId, key: &PodKey, now: Timestamp, effects: &mut Effects) {
        let pod = self
            .namespaces
            .get_mut(&key.0)
            .and_then(|entry| entry.pods.get_mut(&key.1));
        let (Some(pod), Some(policy)) = (pod, self.policies.get_mut(&id)) else {
            return;
        };
        let Ok(position) = pod.matched.binary_search_by_key(&id, |matched| matched.policy) else {
            return;
        };
        let mut matched = edit(&mut pod.matched, |list| list.remove(position));
        evaluate::end(policy, &pod.observation, &mut matched, now, effects);
        effects.changed.insert(policy.key.clone());
    }

    /// The policies that can select a Pod of a namespace.
    pub(super) fn candidates(&self, namespace: &str) -> Vec<PolicyId> {
        let ids = |name: &str| self.by_namespace.get(name).into_iter().flatten().copied();
        ids("").chain(ids(namespace)).collect()
    }

    /// Matches a Pod with all policies again, after its labels, its containers or the labels of its namespace changed.
    pub(super) fn rematch(&mut self, key: &PodKey, now: Timestamp, effects: &mut Effects) {
        for id in self.candidates(&key.0) {
            self.attach(id, key, now, effects);
        }
    }

    /// Matches all Pods of a namespace with all policies again, after the labels of the namespace changed.
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

    /// Starts a list of policies.
    pub fn begin_policy_resync(&mut self, kind: PolicyKind, scope: &Scope) {
        self.watches
            .policies_seen
            .insert((kind, scope.clone()), HashSet::new());
    }

    /// Completes a list of policies. Policies that it does not contain have been deleted.
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
