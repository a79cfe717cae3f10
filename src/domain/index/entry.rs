//! A policy in the index: the version in use, its role cache, and the counts and violations of its Pods.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Weak},
};

use super::{Matched, counts::Counts, series::WorkloadCounts};
use crate::domain::{
    checks::Common,
    observation::{ContainerKind, Labels, Observation, Shape, Workload},
    policy::{Check, InvalidSpec, Mode, Policy, PolicyKey, PolicyKind, PolicyUpdate},
    roles::Roles,
    tracker::Tracked,
    violation::{ContainerSubject, StoredViolation, Subject, Violation},
};

/// The number of a policy in the index. A number is never reused.
pub(super) type PolicyId = u32;
/// Namespace, workload, container and reason of a restart series.
pub(super) type RestartSeries = (Arc<str>, Arc<Workload>, Arc<str>, &'static str);

/// A policy with the counts and violations of its Pods.
#[derive(Debug)]
pub(super) struct PolicyEntry {
    pub(super) key: PolicyKey,
    pub(super) uid: Arc<str>,
    pub(super) generation: i64,
    /// The error in the current spec, if it is invalid.
    pub(super) invalid: Option<InvalidSpec>,
    /// The last valid version; `None` if there was none.
    pub(super) policy: Option<Policy>,
    /// The violations from the status that an earlier operator process wrote, until every Pod has been evaluated.
    pub(super) stored: Vec<StoredViolation>,
    pub(super) counts: Counts,
    /// The violations, in the order of the status.
    pub(super) violations: BTreeSet<Violation>,
    /// The Pods in violation, by workload.
    pub(super) workloads: WorkloadCounts,
    /// The number of violations that have fired, by check.
    pub(super) fired: [u64; Check::ALL.len()],
    pub(super) restarts: BTreeMap<RestartSeries, u64>,
    roles: RoleCache,
}

/// The roles that a policy assigns, by shape. Holds weak references only.
#[derive(Debug, Default)]
struct RoleCache {
    /// By the address of the shape.
    roles: HashMap<usize, (Weak<Shape>, Weak<Roles>)>,
    sweep_at: usize,
}

impl RoleCache {
    fn get(&mut self, policy: &Policy, shape: &Arc<Shape>) -> Arc<Roles> {
        let address = Arc::as_ptr(shape) as usize;
        // The weak reference keeps the allocation, so no other shape can have this address.
        if let Some(roles) = self.roles.get(&address).and_then(|(_, roles)| roles.upgrade()) {
            return roles;
        }
        if self.roles.len() >= self.sweep_at {
            self.roles
                .retain(|_, (shape, roles)| shape.strong_count() > 0 && roles.strong_count() > 0);
            self.sweep_at = (2 * self.roles.len()).max(64);
        }
        let roles = Arc::new(Roles::assign(policy, shape));
        self.roles
            .insert(address, (Arc::downgrade(shape), Arc::downgrade(&roles)));
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
            stored,
        } = update;
        let (policy, invalid) = match spec {
            Ok(policy) => (Some(policy), None),
            Err(error) => (None, Some(error)),
        };
        Self {
            key,
            uid,
            generation,
            invalid,
            policy,
            stored,
            counts: Counts::default(),
            violations: BTreeSet::new(),
            workloads: WorkloadCounts::default(),
            fired: [0; Check::ALL.len()],
            restarts: BTreeMap::new(),
            roles: RoleCache::default(),
        }
    }

    /// Whether matching needs the labels of namespaces.
    pub(super) fn needs_namespaces(&self) -> bool {
        self.key.kind == PolicyKind::ClusterSidecarPolicy
            && self
                .policy
                .as_ref()
                .is_some_and(|policy| !policy.namespaces.is_empty())
    }

    /// Whether the policy is on and selects the Pod. `namespace` has the labels of the Pod's namespace.
    pub(super) fn matches(&self, pod: &Observation, namespace: Option<&Labels>) -> bool {
        let Some(policy) = self.policy.as_ref().filter(|policy| policy.mode != Mode::Off) else {
            return false;
        };
        let namespace_matches = match self.key.kind {
            PolicyKind::SidecarPolicy => self.key.namespace == pod.namespace,
            PolicyKind::ClusterSidecarPolicy => {
                policy.namespaces.is_empty()
                    || namespace.is_some_and(|labels| policy.namespaces.matches(labels))
            }
        };
        namespace_matches && policy.pods.matches(&pod.labels)
    }

    /// The roles that the version in use assigns to the containers of a shape.
    pub(super) fn roles_in(&mut self, shape: &Arc<Shape>) -> Option<Arc<Roles>> {
        self.policy.as_ref().map(|policy| self.roles.get(policy, shape))
    }

    /// Replaces the version in use. The Pods must have been removed from the counts.
    pub(super) fn replace(&mut self, version: Policy) {
        self.policy = Some(version);
        self.roles = RoleCache::default();
    }

    /// Adds a Pod to the counts and its violations to the list, unless they contain it already.
    pub(super) fn add_pod(&mut self, pod: &Observation, matched: &mut Matched) {
        if std::mem::replace(&mut matched.in_counts, true) {
            return;
        }
        self.counts.add(pod, &matched.roles);
        for tracked in &matched.tracked {
            if let Some(violation) = self.violation(pod, tracked) {
                if violation.visible {
                    self.counts.add_violation(tracked);
                    self.workloads
                        .add(pod, usize::from(tracked.container), &violation);
                }
                self.violations.insert(violation);
            }
        }
    }

    /// Undoes [`Self::add_pod`]. Must be called before the Pod, its violations or the policy change.
    pub(super) fn remove_pod(&mut self, pod: &Observation, matched: &mut Matched) {
        if !std::mem::replace(&mut matched.in_counts, false) {
            return;
        }
        self.counts.remove(pod, &matched.roles);
        for tracked in &matched.tracked {
            if let Some(violation) = self.violation(pod, tracked) {
                if violation.visible {
                    self.counts.remove_violation(tracked);
                    self.workloads
                        .remove(pod, usize::from(tracked.container), &violation);
                }
                self.violations.remove(&violation);
            }
        }
    }

    /// Counts a violation that begins to fire.
    pub(super) fn count_fired(&mut self, check: Check) {
        if let Some(n) = self.fired.get_mut(check as usize) {
            *n += 1;
        }
    }

    /// A violation as the status, the metrics and the log show it.
    pub(super) fn violation(&self, pod: &Observation, tracked: &Tracked) -> Option<Violation> {
        let container = pod.shape.containers.get(usize::from(tracked.container))?;
        let policy = self.policy.as_ref()?;
        let Common { severity, .. } = policy.checks.common(tracked.check);
        Some(Violation {
            policy: self.key.clone(),
            check: tracked.check,
            severity,
            mode: policy.mode_of(tracked.check),
            subject: Subject::Container(ContainerSubject {
                namespace: pod.namespace.clone(),
                workload: pod.workload.clone(),
                pod: pod.name.clone(),
                container: container.name.clone(),
                uid: pod.uid.clone(),
                native: container.kind == ContainerKind::Native,
            }),
            firing: tracked.is_firing(),
            visible: tracked.visible,
            onset: tracked.onset,
        })
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
    fn the_role_cache_keeps_roles_in_use_and_little_else() {
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
            "swept again at twice the size, so that sweeping costs little"
        );
        assert!(cache.roles.len() <= 200, "{}", cache.roles.len());
        for (roles, shape) in &used {
            assert!(Arc::ptr_eq(roles, &cache.get(&policy, shape)), "assigned again");
        }
    }
}
