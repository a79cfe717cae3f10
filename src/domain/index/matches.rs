//! The policies that select a Pod, shared between all Pods for which they are the same.

use std::{
    collections::{HashMap, HashSet},
    hash::{Hash, Hasher},
    sync::{Arc, Weak},
};

use jiff::SignedDuration;
use parking_lot::Mutex;

use super::entry::PolicyId;
use crate::domain::{expected::Expectation, observation::Shape, policy::Policy, roles::Roles};

/// A version of a policy.
#[derive(Debug)]
pub(super) struct Version {
    /// The number of the policy.
    pub(super) policy: PolicyId,
    /// The valid spec.
    pub(super) spec: Policy,
    /// The roles that the spec assigns. Versions and policies with the same rules share them.
    pub(super) roles: Arc<Mutex<RoleCache>>,
}

impl Version {
    /// Whether two specs assign the same roles to every shape.
    pub(super) fn assigns_as(&self, spec: &Policy) -> bool {
        self.spec.sidecars == spec.sidecars && self.spec.mains == spec.mains
    }

    /// The roles that this version assigns to the containers of a shape.
    pub(super) fn roles_in(&self, shape: &Arc<Shape>) -> Arc<Roles> {
        self.roles.lock().get(&self.spec, shape)
    }
}

/// The roles of the latest shapes. The Pods of a workload have the same shape and usually follow each other.
#[derive(Debug, Default)]
pub(super) struct RoleCache(HashMap<usize, (Weak<Shape>, Arc<Roles>)>);

impl RoleCache {
    const CAPACITY: usize = 1_024;

    fn get(&mut self, policy: &Policy, shape: &Arc<Shape>) -> Arc<Roles> {
        let address = Arc::as_ptr(shape) as usize;
        // The weak reference keeps the allocation, so no other shape can have this address.
        if let Some((_, roles)) = self.0.get(&address) {
            return Arc::clone(roles);
        }
        if self.0.len() >= Self::CAPACITY {
            self.0.clear();
        }
        let roles = Arc::new(Roles::assign(policy, shape));
        self.0
            .insert(address, (Arc::downgrade(shape), Arc::clone(&roles)));
        roles
    }
}

/// A version of a policy that selects a Pod, and the roles that it assigns.
#[derive(Clone, Debug)]
pub(super) struct Match {
    pub(super) version: Arc<Version>,
    pub(super) roles: Arc<Roles>,
    /// The expected sidecars of the Pod.
    pub(super) expectation: Expectation,
    /// How long after their creation exemptions of the Pod's namespace hide violations. `None`: not at all.
    pub(super) exempt_for: Option<SignedDuration>,
}

impl PartialEq for Match {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.version, &other.version)
            && self.roles == other.roles
            && self.expectation == other.expectation
            && self.exempt_for == other.exempt_for
    }
}

impl Eq for Match {}

impl Hash for Match {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.version).hash(state);
        self.roles.hash(state);
        self.expectation.hash(state);
        self.exempt_for.hash(state);
    }
}

/// The policies that select a Pod, in the order of their numbers.
#[derive(Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct MatchSet(Box<[Match]>);

impl MatchSet {
    pub(super) fn iter(&self) -> impl Iterator<Item = &Match> {
        self.0.iter()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the Pod must have a sidecar.
    pub(super) fn expects(&self) -> bool {
        self.0.iter().any(|matched| matched.expectation.required != 0)
    }

    /// The version of a policy that the Pod is under.
    pub(super) fn get(&self, policy: PolicyId) -> Option<&Match> {
        let position = self.0.binary_search_by_key(&policy, |m| m.version.policy).ok()?;
        self.0.get(position)
    }

    /// The same set with another match of one policy, or without one.
    fn with(&self, policy: PolicyId, replacement: Option<Match>) -> Vec<Match> {
        let before = self.0.partition_point(|m| m.version.policy < policy);
        let after = self.0.partition_point(|m| m.version.policy <= policy);
        let (before, after) = (self.0.iter().take(before), self.0.iter().skip(after));
        before.cloned().chain(replacement).chain(after.cloned()).collect()
    }
}

/// All sets in use, each of them once.
#[derive(Debug, Default)]
pub(super) struct MatchSets {
    sets: HashSet<Arc<MatchSet>>,
    /// The number of sets at which unused ones are removed.
    sweep_at: usize,
    /// The latest results of [`Self::with`], by the address of the set and the new match.
    replaced: HashMap<(usize, PolicyId, Option<Match>), Replaced>,
}

/// A set and its replacement. While both are kept, no other set can have their addresses.
#[derive(Debug)]
struct Replaced {
    _old: Arc<MatchSet>,
    new: Arc<MatchSet>,
}

impl MatchSets {
    const REPLACED_CAPACITY: usize = 256;

    /// The shared set with these matches, which are in the order of the policies.
    pub(super) fn share(&mut self, matches: Vec<Match>) -> Arc<MatchSet> {
        let set = MatchSet(matches.into_boxed_slice());
        if let Some(known) = self.sets.get(&set) {
            return Arc::clone(known);
        }
        if self.sets.len() >= self.sweep_at {
            self.sweep();
        }
        let set = Arc::new(set);
        self.sets.insert(Arc::clone(&set));
        set
    }

    /// The shared set with another match of one policy, or without one. Takes constant time for a set that was changed
    /// in the same way before.
    pub(super) fn with(
        &mut self,
        old: &Arc<MatchSet>,
        policy: PolicyId,
        replacement: Option<Match>,
    ) -> Arc<MatchSet> {
        if old.get(policy) == replacement.as_ref() {
            return Arc::clone(old);
        }
        let change = (Arc::as_ptr(old) as usize, policy, replacement.clone());
        if let Some(replaced) = self.replaced.get(&change) {
            return Arc::clone(&replaced.new);
        }
        let new = self.share(old.with(policy, replacement));
        if self.replaced.len() >= Self::REPLACED_CAPACITY {
            self.replaced.clear();
        }
        let replaced = Replaced {
            _old: Arc::clone(old),
            new: Arc::clone(&new),
        };
        self.replaced.insert(change, replaced);
        new
    }

    /// Removes the sets that no Pod uses.
    pub(super) fn sweep(&mut self) {
        self.replaced.clear();
        self.sets.retain(|set| Arc::strong_count(set) > 1);
        self.sweep_at = (2 * self.sets.len()).max(64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::testing::{Pod, policy};

    fn shape(name: &str) -> Arc<Shape> {
        Pod::named("web-1").regular(name).0.shape
    }

    fn version(policy_id: PolicyId) -> Arc<Version> {
        Arc::new(Version {
            policy: policy_id,
            spec: policy(),
            roles: Arc::default(),
        })
    }

    fn matched(version: &Arc<Version>, shape: &Arc<Shape>) -> Match {
        Match {
            version: Arc::clone(version),
            roles: version.roles_in(shape),
            expectation: Expectation::default(),
            exempt_for: Some(SignedDuration::MAX),
        }
    }

    #[test]
    fn the_role_cache_is_bounded_and_assigns_the_roles_of_a_shape_once() {
        let mut cache = RoleCache::default();
        let policy = policy();
        let shapes: Vec<_> = (0..RoleCache::CAPACITY + 100)
            .map(|n| shape(&format!("app-{n}")))
            .collect();
        for shape in &shapes {
            let roles = cache.get(&policy, shape);
            assert!(Arc::ptr_eq(&roles, &cache.get(&policy, shape)), "assigned again");
            assert_eq!(*roles, Roles::assign(&policy, shape));
            assert!(cache.0.len() <= RoleCache::CAPACITY, "{}", cache.0.len());
        }
    }

    #[test]
    fn equal_matches_of_different_shapes_are_one_set() {
        let mut sets = MatchSets::default();
        let versions = [version(1), version(2)];
        let set_of = |sets: &mut MatchSets, name| {
            let shape = shape(name);
            sets.share(versions.iter().map(|version| matched(version, &shape)).collect())
        };
        let (app, api) = (set_of(&mut sets, "app"), set_of(&mut sets, "api"));
        assert!(Arc::ptr_eq(&app, &api));
        let proxy = set_of(&mut sets, "istio-proxy");
        assert_eq!(
            sets.sets.len(),
            1,
            "it has the same roles: the only container is a main container"
        );
        drop((app, api, proxy));
        sets.sweep();
        assert_eq!(sets.sets.len(), 0, "an unused set is removed");
    }

    #[test]
    fn a_match_is_replaced_added_and_removed() {
        let mut sets = MatchSets::default();
        let shape = shape("app");
        let (old, other, new) = (version(2), version(5), version(2));
        let set = sets.share(vec![matched(&old, &shape), matched(&other, &shape)]);
        let ids = |set: &MatchSet| set.iter().map(|m| m.version.policy).collect::<Vec<_>>();
        let replaced = sets.with(&set, 2, Some(matched(&new, &shape)));
        assert_eq!(ids(&replaced), [2, 5]);
        assert!(replaced.get(2).is_some_and(|m| Arc::ptr_eq(&m.version, &new)));
        assert!(Arc::ptr_eq(
            &replaced,
            &sets.with(&set, 2, Some(matched(&new, &shape)))
        ));
        let added = sets.with(&set, 3, Some(matched(&version(3), &shape)));
        assert_eq!(ids(&added), [2, 3, 5]);
        assert_eq!(ids(&sets.with(&added, 2, None)), [3, 5]);
        assert!(Arc::ptr_eq(&set, &sets.with(&set, 4, None)), "nothing to remove");
    }
}
