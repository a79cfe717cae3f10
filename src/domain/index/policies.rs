//! Policies coming, changing and going, and which Pods they match.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::{Arc, Weak},
};

use jiff::Timestamp;

use super::{Index, Matched, PodKey, evaluate, tally::Tally, watches::Scope};
use crate::domain::{
    checks::View,
    effects::Effects,
    history::Look,
    observation::{Labels, Observation, Shape, Workload},
    policy::{Check, ListedViolation, Mode, Policy, PolicyKey, PolicyKind, PolicyUpdate, Severity},
    roles::Roles,
    tracker::{self, Tracked},
};

/// The place of a policy in the index.
pub(super) type PolicyId = u32;
/// Namespace, workload, container and reason of a restart series.
pub(super) type RestartSeries = (Arc<str>, Arc<Workload>, Arc<str>, &'static str);

/// A policy and what its Pods do under it.
#[derive(Debug)]
pub(super) struct PolicyEntry {
    pub(super) key: PolicyKey,
    pub(super) uid: Arc<str>,
    pub(super) generation: i64,
    /// Why the present spec cannot be evaluated.
    pub(super) invalid: Option<String>,
    /// The last version that could be; `None` if there was none.
    pub(super) policy: Option<Policy>,
    /// What an operator before us left in the status, until every Pod has been looked at.
    pub(super) adopted: Vec<ListedViolation>,
    pub(super) tally: Tally,
    /// Its violations in the order of its status.
    pub(super) active: BTreeMap<ActiveKey, Active>,
    /// How many violations fired, by check.
    pub(super) fired: [u64; Check::ALL.len()],
    pub(super) restarts: BTreeMap<RestartSeries, u64>,
    roles: RoleCache,
}

/// The order of violations in a status: severity, namespace, workload, Pod, container, check.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ActiveKey {
    pub(super) severity: Reverse<Severity>,
    pub(super) namespace: Arc<str>,
    pub(super) workload: Arc<Workload>,
    pub(super) pod: Arc<str>,
    pub(super) container: Arc<str>,
    pub(super) check: Check,
    pub(super) uid: Arc<str>,
}

/// What the views show of a violation beside its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Active {
    pub(super) at: usize,
    pub(super) firing: bool,
    pub(super) native: bool,
    pub(super) onset: Timestamp,
}

/// The roles that a policy gives, by shape. Holds neither shapes nor roles alive.
#[derive(Debug, Default)]
struct RoleCache {
    roles: HashMap<usize, (Weak<Shape>, Weak<Roles>)>,
    sweep_at: usize,
}

impl RoleCache {
    fn get(&mut self, policy: &Policy, shape: &Arc<Shape>) -> Arc<Roles> {
        let place = Arc::as_ptr(shape) as usize;
        // A weak reference keeps the allocation, so an address in here cannot have been used again.
        if let Some(roles) = self.roles.get(&place).and_then(|(_, roles)| roles.upgrade()) {
            return roles;
        }
        if self.roles.len() >= self.sweep_at {
            self.roles
                .retain(|_, (shape, roles)| shape.strong_count() > 0 && roles.strong_count() > 0);
            self.sweep_at = (2 * self.roles.len()).max(64);
        }
        let roles = Arc::new(Roles::assign(policy, shape));
        self.roles
            .insert(place, (Arc::downgrade(shape), Arc::downgrade(&roles)));
        roles
    }
}

impl PolicyEntry {
    fn new(update: PolicyUpdate) -> Self {
        let PolicyUpdate {
            key,
            uid,
            generation,
            spec,
            listed,
        } = update;
        let (policy, invalid) = match spec {
            Ok(policy) => (Some(policy), None),
            Err(message) => (None, Some(message)),
        };
        Self {
            key,
            uid,
            generation,
            invalid,
            policy,
            adopted: listed,
            tally: Tally::default(),
            active: BTreeMap::new(),
            fired: [0; Check::ALL.len()],
            restarts: BTreeMap::new(),
            roles: RoleCache::default(),
        }
    }

    /// Whether matching needs to know namespaces' labels.
    pub(super) fn needs_namespaces(&self) -> bool {
        self.key.kind == PolicyKind::ClusterSidecarPolicy
            && self
                .policy
                .as_ref()
                .is_some_and(|policy| !policy.namespaces.is_empty())
    }

    /// Whether the policy looks at a Pod: the Pod is where the policy sees, carries the labels, and the policy is on.
    fn matches(&self, pod: &Observation, namespace: Option<&Labels>) -> bool {
        let Some(policy) = self.policy.as_ref().filter(|policy| policy.mode != Mode::Off) else {
            return false;
        };
        let sees = match self.key.kind {
            PolicyKind::SidecarPolicy => self.key.namespace == pod.namespace,
            PolicyKind::ClusterSidecarPolicy => {
                policy.namespaces.is_empty()
                    || namespace.is_some_and(|labels| policy.namespaces.matches(labels))
            }
        };
        sees && policy.pods.matches(&pod.labels)
    }

    /// The roles that the version at work gives in a shape.
    fn roles_in(&mut self, shape: &Arc<Shape>) -> Option<Arc<Roles>> {
        self.policy.as_ref().map(|policy| self.roles.get(policy, shape))
    }

    /// Counts and lists the violations of a Pod.
    pub(super) fn record(&mut self, pod: &Observation, tracked: &[Tracked]) {
        for violation in tracked {
            let Some((key, active)) = self.entry(pod, violation) else {
                continue;
            };
            self.tally.add_violation(violation);
            self.active.insert(key, active);
        }
    }

    /// Undoes [`Self::record`] of the same violations, before they or the policy change.
    pub(super) fn unrecord(&mut self, pod: &Observation, tracked: &[Tracked]) {
        for violation in tracked {
            let Some((key, _)) = self.entry(pod, violation) else {
                continue;
            };
            self.tally.remove_violation(violation);
            self.active.remove(&key);
        }
    }

    /// Records those of a Pod's violations that are not recorded yet.
    pub(super) fn record_missing(&mut self, pod: &Observation, tracked: &[Tracked]) {
        for violation in tracked {
            let is_known = self
                .entry(pod, violation)
                .is_some_and(|(key, _)| self.active.contains_key(&key));
            if !is_known {
                self.record(pod, std::slice::from_ref(violation));
            }
        }
    }

    /// Counts a violation that begins to fire.
    pub(super) fn count_fired(&mut self, check: Check) {
        if let Some(n) = self.fired.get_mut(check as usize) {
            *n += 1;
        }
    }

    fn entry(&self, pod: &Observation, violation: &Tracked) -> Option<(ActiveKey, Active)> {
        let at = usize::from(violation.container);
        let container = pod.shape.containers.get(at)?;
        let key = ActiveKey {
            severity: Reverse(self.policy.as_ref()?.settings(violation.check).severity),
            namespace: pod.namespace.clone(),
            workload: pod.workload.clone(),
            pod: pod.name.clone(),
            container: container.name.clone(),
            check: violation.check,
            uid: pod.uid.clone(),
        };
        let native = container.kind == crate::domain::observation::ContainerKind::Native;
        Some((
            key,
            Active {
                at,
                firing: violation.is_firing(),
                native,
                onset: violation.onset,
            },
        ))
    }
}

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
                    self.change_policy(id, Some(spec), now, &mut effects);
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
        self.change_policy(id, policy, now, effects);
        self.forget_adopted();
    }

    /// Forgets a policy. Its violations end without Events.
    pub fn delete_policy(&mut self, key: &PolicyKey, now: Timestamp) -> Effects {
        let mut effects = self.tick(now);
        let Some(id) = self.ids.remove(key) else {
            return effects;
        };
        let now = self.latest;
        self.change_policy(id, None, now, &mut effects);
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
    fn change_policy(&mut self, id: PolicyId, next: Option<Policy>, now: Timestamp, effects: &mut Effects) {
        let Some(entry) = self.policies.get(&id) else {
            return;
        };
        let namespace = entry.key.namespace.clone();
        let cluster = entry.key.kind == PolicyKind::ClusterSidecarPolicy;
        let in_sight = self
            .namespaces
            .iter()
            .filter(|(name, _)| cluster || **name == namespace);
        let mut pods: Vec<PodKey> = in_sight
            .flat_map(|(name, entry)| entry.pods.keys().map(|uid| (name.clone(), uid.clone())))
            .collect();
        pods.sort_unstable();
        for key in &pods {
            self.detach(id, key);
        }
        if let Some(entry) = self.policies.get_mut(&id) {
            entry.policy = next;
            entry.roles = RoleCache::default();
        }
        for key in &pods {
            self.attach(id, key, now, effects);
            self.settle(key, now, Look::First, effects);
        }
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
            policy.tally.remove(&pod.observation, &matched.roles);
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
            if let Ok(place) = place {
                let mut matched = pod.matched.remove(place);
                let ended = tracker::end_all(&mut matched.tracked);
                evaluate::report(policy, &pod.observation, &ended, now, effects);
                effects.changed.insert(policy.key.clone());
            }
            return;
        }
        let Some(roles) = policy.roles_in(&pod.observation.shape) else {
            return;
        };
        let place = place.unwrap_or_else(|place| {
            let tracked = Vec::new();
            pod.matched.insert(
                place,
                Matched {
                    policy: id,
                    roles: roles.clone(),
                    tracked,
                },
            );
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
        policy.tally.add(&pod.observation, &matched.roles);
        policy.record(&pod.observation, &matched.tracked);
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
            self.settle(&key, now, Look::First, &mut effects);
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
