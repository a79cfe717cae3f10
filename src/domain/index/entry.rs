//! A policy in the index: the version at work, the roles it gives, the counts and lists of what its Pods do under it.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
    sync::{Arc, Weak},
};

use jiff::Timestamp;

use super::counts::Counts;
use crate::domain::{
    observation::{ContainerKind, Labels, Observation, Shape, Workload},
    policy::{Check, ListedViolation, Mode, Policy, PolicyKey, PolicyKind, PolicyUpdate, Severity},
    roles::Roles,
    tracker::Tracked,
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
    pub(super) counts: Counts,
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
    pub(super) fn new(update: PolicyUpdate) -> Self {
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
            counts: Counts::default(),
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
    pub(super) fn matches(&self, pod: &Observation, namespace: Option<&Labels>) -> bool {
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
    pub(super) fn roles_in(&mut self, shape: &Arc<Shape>) -> Option<Arc<Roles>> {
        self.policy.as_ref().map(|policy| self.roles.get(policy, shape))
    }

    /// Puts another version to work. The Pods must be detached from the old one.
    pub(super) fn replace(&mut self, version: Policy) {
        self.policy = Some(version);
        self.roles = RoleCache::default();
    }

    /// Counts and lists the violations of a Pod.
    pub(super) fn record(&mut self, pod: &Observation, tracked: &[Tracked]) {
        for violation in tracked {
            let Some((key, active)) = self.entry(pod, violation) else {
                continue;
            };
            self.counts.add_violation(violation);
            self.active.insert(key, active);
        }
    }

    /// Undoes [`Self::record`] of the same violations, before they or the policy change.
    pub(super) fn unrecord(&mut self, pod: &Observation, tracked: &[Tracked]) {
        for violation in tracked {
            let Some((key, _)) = self.entry(pod, violation) else {
                continue;
            };
            self.counts.remove_violation(violation);
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

    pub(super) fn entry(&self, pod: &Observation, violation: &Tracked) -> Option<(ActiveKey, Active)> {
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
        let native = container.kind == ContainerKind::Native;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::testing::{Pod, policy};

    fn shape(name: &str) -> Arc<Shape> {
        Pod::named("web-1").regular(name).0.shape
    }

    #[test]
    fn the_cache_of_roles_keeps_what_is_used_and_little_else() {
        let mut cache = RoleCache::default();
        let policy = policy();
        let used: Vec<_> = (0..100)
            .map(|n| shape(&format!("used-{n}")))
            .map(|shape| (cache.get(&policy, &shape), shape))
            .collect();
        let mut only_shapes = Vec::new();
        let mut only_roles = Vec::new();
        for n in 0..1000 {
            let (one, other) = (shape(&format!("one-{n}")), shape(&format!("other-{n}")));
            cache.get(&policy, &one);
            only_shapes.push(one);
            only_roles.push(cache.get(&policy, &other));
        }
        assert_eq!(
            cache.sweep_at, 200,
            "when it has grown to twice what was left of it, so that sweeping costs little"
        );
        assert!(cache.roles.len() <= 200, "{}", cache.roles.len());
        for (roles, shape) in &used {
            assert!(Arc::ptr_eq(roles, &cache.get(&policy, shape)), "assigned again");
        }
    }
}
