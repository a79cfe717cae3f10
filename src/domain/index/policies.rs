//! Applies updates of policies, and matches policies with Pods.

use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
};

use jiff::Timestamp;

use super::{
    Index,
    entry::{PolicyEntry, PolicyId},
    matches::{MatchSet, Version},
    pods::{PodId, Selected},
    watches::Scope,
    work::Work,
};
use crate::domain::{
    effects::Effects,
    history::Observed,
    policy::{Check, InvalidSpec, Policy, PolicyKey, PolicyKind, PolicyUpdate},
};

impl Index {
    /// Applies a version of a policy. Returns early if the spec has not changed, for example after a write of the
    /// status. If the spec is invalid, the last valid version stays in use. If it cannot be decoded, none is: the violations
    /// end without Events.
    pub fn apply_policy(&mut self, mut update: PolicyUpdate, now: Timestamp) -> Effects {
        let mut effects = Effects::default();
        let now = self.advance_time(now);
        for ((kind, scope), seen) in &mut self.watches.policies_seen {
            if *kind == update.key.kind && scope.as_ref().is_none_or(|only| *only == update.key.namespace) {
                seen.insert(update.uid.clone());
            }
        }
        let capped = self.ranked.limits.cap(&mut update);
        let known = self.ids.get(&update.key).copied();
        let Some(id) = known else {
            self.insert_policy(update, capped, now, &mut effects);
            return effects;
        };
        let Some(entry) = self.policies.get_mut(&id) else {
            return effects;
        };
        if entry.uid != update.uid {
            self.remove_policy(&update.key, &mut effects);
            self.insert_policy(update, capped, now, &mut effects);
            return effects;
        }
        let generation = std::mem::replace(&mut entry.generation, update.generation);
        let is_changed = match &update.spec {
            Ok(spec) => entry.invalid.is_some() || entry.spec() != Some(spec),
            Err(error) => entry.invalid.as_ref() != Some(error),
        };
        if is_changed || generation != update.generation {
            effects.changed.insert(entry.key.clone());
        }
        match update.spec {
            Err(error) => {
                let is_unknown = matches!(error, InvalidSpec::Undecodable(_));
                entry.invalid = Some(error);
                if is_unknown && entry.latest.take().is_some() {
                    entry.covered_until = None;
                    self.work.push_for(&entry.key.namespace, Work::Policy(id));
                    effects.append(self.work(now));
                }
            }
            Ok(spec) => {
                entry.invalid = None;
                entry.capped = capped;
                if entry.spec() != Some(&spec) {
                    self.change_policy(id, spec);
                    effects.append(self.work(now));
                }
            }
        }
        effects
    }

    fn insert_policy(
        &mut self,
        update: PolicyUpdate,
        capped: Vec<Check>,
        now: Timestamp,
        effects: &mut Effects,
    ) {
        let PolicyUpdate {
            key,
            uid,
            created,
            generation,
            spec,
            stored,
        } = update;
        let id = self.next_id;
        self.next_id += 1;
        effects.changed.insert(key.clone());
        self.ids.insert(key.clone(), id);
        self.by_namespace
            .entry(key.namespace.clone())
            .or_default()
            .insert(id);
        let mut entry = PolicyEntry::new(key, uid, created, generation, stored);
        entry.capped = capped;
        self.rank_policy(id, &mut entry, effects);
        self.claim_restored(&mut entry);
        let spec = spec.map_err(|error| entry.invalid = Some(error));
        self.policies.insert(id, Box::new(entry));
        if let Ok(spec) = spec {
            self.change_policy(id, spec);
        }
        effects.append(self.work(now));
        self.drop_stored();
    }

    /// Removes a policy. Its violations end without Events.
    pub fn delete_policy(&mut self, key: &PolicyKey, now: Timestamp) -> Effects {
        let mut effects = Effects::default();
        if self.remove_policy(key, &mut effects) {
            effects.append(self.work(now));
        }
        effects
    }

    /// Marks a policy as deleted, and queues the work to remove its Pods from it. Returns whether it existed.
    fn remove_policy(&mut self, key: &PolicyKey, effects: &mut Effects) -> bool {
        let Some(id) = self.ids.remove(key) else {
            return false;
        };
        if let Some(entry) = self.policies.get_mut(&id) {
            entry.deleted = true;
            entry.latest = None;
            self.ranked.remove(entry, id);
        }
        if let Some(ids) = self.by_namespace.get_mut(&key.namespace) {
            ids.remove(&id);
            if ids.is_empty() {
                self.by_namespace.remove(&key.namespace);
            }
        }
        effects.changed.insert(key.clone());
        self.work.push_for(&key.namespace, Work::Policy(id));
        self.apply_limit(key, effects);
        true
    }

    /// Sets the latest version of a policy. If the policy is active, queues the work to move all its Pods to this version.
    fn change_policy(&mut self, id: PolicyId, mut spec: Policy) {
        let is_active = self.policies.get(&id).is_some_and(|entry| entry.is_active());
        if is_active {
            for pattern in spec.patterns_mut() {
                self.patterns.share(pattern);
            }
        }
        let versions = self.policies.values().filter_map(|entry| entry.latest.as_ref());
        let roles = versions
            .into_iter()
            .find(|version| version.assigns_as(&spec))
            .map(|version| Arc::clone(&version.roles))
            .unwrap_or_default();
        if let Some(entry) = self.policies.get_mut(&id) {
            let version = Version {
                policy: id,
                spec,
                roles,
            };
            if entry.latest.replace(Arc::new(version)).is_some() {
                // The new version can find faults that the checkpoint does not list.
                entry.covered_until = None;
            }
            if is_active {
                self.work.push_for(&entry.key.namespace, Work::Policy(id));
            }
        }
    }

    /// Gives back the compiled patterns of a policy that is no longer active. One that has become active shares equal patterns.
    pub(super) fn renew_patterns(&mut self, id: PolicyId) {
        let Some(entry) = self.policies.get_mut(&id) else {
            return;
        };
        let is_active = entry.is_active();
        if let Some(latest) = &mut entry.latest {
            let mut spec = latest.spec.clone();
            for pattern in spec.patterns_mut() {
                if is_active {
                    self.patterns.share(pattern);
                } else {
                    *pattern = pattern.uncompiled();
                }
            }
            *latest = Arc::new(Version {
                policy: id,
                spec,
                roles: Arc::clone(&latest.roles),
            });
        }
    }

    /// The Pods that a policy can select, whatever its selectors are, in the order of their arrival.
    pub(super) fn visible_pods(&self, policy: &PolicyKey) -> Vec<PodId> {
        match policy.kind {
            PolicyKind::SidecarPolicy => self.pods_of_namespace(&policy.namespace),
            PolicyKind::ClusterSidecarPolicy => self.pods.keys().copied().collect(),
        }
    }

    /// Moves a Pod to the latest version of a policy. A violation that both versions cover keeps its onset. Returns the
    /// number of units of work.
    pub(super) fn move_to_latest(
        &mut self,
        id: PodId,
        policy: PolicyId,
        now: Timestamp,
        effects: &mut Effects,
    ) -> usize {
        let (Some(pod), Some(entry)) = (self.pods.get(&id), self.policies.get(&policy)) else {
            return 1;
        };
        let namespace = self.namespaces.get(&pod.observation.namespace);
        let metadata = namespace.and_then(|namespace| namespace.metadata.as_deref());
        let latest = entry.latest_match(&pod.observation, metadata);
        let matches = self.match_sets.with(&pod.matches, policy, latest);
        if Arc::ptr_eq(&matches, &pod.matches) {
            return 1;
        }
        self.change_matches(id, Selected::Only(policy), &matches, now, effects);
        2
    }

    /// Matches a Pod with all policies again. Returns the number of units of work.
    pub(super) fn rematch(&mut self, id: PodId, now: Timestamp, effects: &mut Effects) -> usize {
        let matches = self.latest_matches(id);
        let units = 1 + matches.len();
        if self.pods.get(&id).is_some_and(|pod| pod.matches != matches) {
            self.change_matches(id, Selected::All, &matches, now, effects);
        }
        units
    }

    fn change_matches(
        &mut self,
        id: PodId,
        selected: Selected,
        matches: &Arc<MatchSet>,
        now: Timestamp,
        effects: &mut Effects,
    ) {
        self.uncount(id, selected);
        let unevaluated = self.switch(id, selected, matches, now, effects);
        self.reevaluate(id, selected, (now, Observed::Live), unevaluated, effects);
    }

    /// The policies whose latest version selects a Pod.
    pub(super) fn latest_matches(&mut self, id: PodId) -> Arc<MatchSet> {
        let Some(pod) = self.pods.get(&id) else {
            return Arc::default();
        };
        let namespace = &pod.observation.namespace;
        let metadata = self
            .namespaces
            .get(namespace)
            .and_then(|namespace| namespace.metadata.as_deref());
        let ids = |name: &str| self.by_namespace.get(name).into_iter().flatten();
        let candidates: BTreeSet<PolicyId> = ids("").chain(ids(namespace)).copied().collect();
        let matches = candidates.into_iter().filter_map(|id| {
            let policy = self.policies.get(&id)?;
            policy.latest_match(&pod.observation, metadata)
        });
        let matches = matches.collect();
        self.match_sets.share(matches)
    }

    /// Completes the move of the Pods of a policy to its latest version.
    pub(super) fn finish_policy(&mut self, id: PolicyId, effects: &mut Effects) {
        self.match_sets.sweep();
        self.image_states.mark_policy(id);
        if let Some(entry) = self.policies.get(&id) {
            effects.changed.insert(entry.key.clone());
            if entry.deleted {
                self.policies.remove(&id);
            }
        }
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
            .filter(|entry| !entry.deleted && in_scope(&entry.key) && !seen.contains(&entry.uid))
            .map(|entry| entry.key.clone())
            .collect();
        for key in &gone {
            self.remove_policy(key, &mut effects);
        }
        self.restored.policies.retain(|_, policy| !in_scope(&policy.key));
        if kind == PolicyKind::SidecarPolicy {
            self.apply_limit_to_all(&mut effects);
        }
        effects.append(self.work(now));
        effects
    }
}
