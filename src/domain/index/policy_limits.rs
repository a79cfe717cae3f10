//! The limits on `SidecarPolicy` objects, which the editors of a namespace create.
//!
//! The oldest policies of each namespace are active, up to a limit. Every policy counts, also an invalid one or one with
//! the mode Off, so an edit never activates or deactivates a policy. Which policies are active follows from the existing
//! policies alone, whatever the order of their creation and deletion. A creation or deletion changes at most one other
//! policy.
//!
//! While a list of policies is in progress, its new policies wait: a list is ordered by name, and a later policy in the
//! list may be older.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use jiff::Timestamp;

use super::{
    Index,
    entry::{PolicyEntry, PolicyId},
    work::Work,
};
use crate::domain::{
    checks::Checks,
    effects::Effects,
    policy::{Check, PolicyKey, PolicyKind, PolicyLimits, PolicyUpdate, Severity},
};

/// Whether a policy is evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// The policy is evaluated.
    Active,
    /// The policy is not evaluated: its namespace has too many older policies.
    Excess,
    /// The policy is not evaluated before the list that contains it is complete.
    Waiting,
}

/// The creation time and name of a policy, which order the policies of a namespace, and its number.
type Rank = (Timestamp, Arc<str>, PolicyId);

/// The limits, and the `SidecarPolicy` objects in the order of their age.
#[derive(Debug, Default)]
pub(super) struct RankedPolicies {
    pub(super) limits: PolicyLimits,
    by_namespace: HashMap<Arc<str>, BTreeSet<Rank>>,
}

impl RankedPolicies {
    fn insert(&mut self, entry: &PolicyEntry, id: PolicyId) {
        self.by_namespace
            .entry(entry.key.namespace.clone())
            .or_default()
            .insert(rank(entry, id));
    }

    pub(super) fn remove(&mut self, entry: &PolicyEntry, id: PolicyId) {
        if let Some(ranks) = self.by_namespace.get_mut(&entry.key.namespace) {
            ranks.remove(&rank(entry, id));
            if ranks.is_empty() {
                self.by_namespace.remove(&entry.key.namespace);
            }
        }
    }

    /// The policy at a position in the order of a namespace.
    fn at(&self, namespace: &str, position: usize) -> Option<&Rank> {
        self.by_namespace.get(namespace)?.iter().nth(position)
    }

    /// The youngest policy that is active, if the namespace has at least as many policies as the limit.
    fn last_active(&self, namespace: &str) -> Option<&Rank> {
        self.at(namespace, self.limits.per_namespace.get() - 1)
    }

    /// The oldest policy above the limit.
    fn first_excess(&self, namespace: &str) -> Option<&Rank> {
        self.at(namespace, self.limits.per_namespace.get())
    }
}

fn rank(entry: &PolicyEntry, id: PolicyId) -> Rank {
    (entry.created, entry.key.name.clone(), id)
}

impl PolicyLimits {
    /// Lowers severities of a `SidecarPolicy` to the limit. Returns the checks whose severity was higher.
    pub(super) fn cap(&self, update: &mut PolicyUpdate) -> Vec<Check> {
        let Self { severity: limit, .. } = *self;
        match (&mut update.spec, update.key.kind) {
            (Ok(policy), PolicyKind::SidecarPolicy) => cap(&mut policy.checks, limit),
            (Ok(_), PolicyKind::ClusterSidecarPolicy) | (Err(_), _) => Vec::new(),
        }
    }
}

fn cap(checks: &mut Checks, limit: Severity) -> Vec<Check> {
    let too_severe = |check: &Check| checks.common(*check).severity > limit;
    let capped: Vec<Check> = Check::ALL.into_iter().filter(too_severe).collect();
    for check in &capped {
        checks.common_mut(*check).severity = limit;
    }
    capped
}

impl Index {
    /// Sets the limits on `SidecarPolicy` objects. The index must be empty.
    #[must_use]
    pub fn with_policy_limits(mut self, limits: PolicyLimits) -> Self {
        self.ranked.limits = limits;
        self
    }

    /// Adds a new policy to the order of its namespace. Sets whether it is active, and deactivates the policy that it
    /// replaces.
    pub(super) fn rank_policy(&mut self, id: PolicyId, entry: &mut PolicyEntry, effects: &mut Effects) {
        if entry.key.kind == PolicyKind::ClusterSidecarPolicy {
            return;
        }
        self.ranked.insert(entry, id);
        let last = self.ranked.last_active(&entry.key.namespace);
        entry.standing = if self.watches.is_listing_policies(&entry.key) {
            Standing::Waiting
        } else if last.is_none_or(|last| rank(entry, id) <= *last) {
            Standing::Active
        } else {
            Standing::Excess
        };
        self.apply_limit(&entry.key, effects);
    }

    /// Activates or deactivates the policy next to the limit, after one policy of its namespace was created or deleted.
    pub(super) fn apply_limit(&mut self, changed: &PolicyKey, effects: &mut Effects) {
        let namespace = &changed.namespace;
        if changed.kind == PolicyKind::ClusterSidecarPolicy || self.watches.is_listing_policies(changed) {
            return;
        }
        let last = self.ranked.last_active(namespace).map(|(_, _, id)| *id);
        let excess = self.ranked.first_excess(namespace).map(|(_, _, id)| *id);
        for (id, standing) in [(excess, Standing::Excess), (last, Standing::Active)] {
            if let Some(id) = id {
                self.set_standing(id, standing, effects);
            }
        }
    }

    /// Activates and deactivates policies after a list of policies is complete.
    pub(super) fn apply_limit_to_all(&mut self, effects: &mut Effects) {
        let limit = self.ranked.limits.per_namespace.get();
        let mut standings = Vec::new();
        for ranks in self.ranked.by_namespace.values() {
            let ids = ranks.iter().map(|(_, _, id)| *id).enumerate();
            standings.extend(ids.map(|(position, id)| {
                let standing = if position < limit {
                    Standing::Active
                } else {
                    Standing::Excess
                };
                (id, standing)
            }));
        }
        standings.retain(|(id, _)| {
            let entry = self.policies.get(id);
            entry.is_some_and(|entry| !self.watches.is_listing_policies(&entry.key))
        });
        standings.sort_unstable_by_key(|(id, standing)| (*standing == Standing::Active, *id));
        for (id, standing) in standings {
            self.set_standing(id, standing, effects);
        }
    }

    /// Sets whether a policy is active, and queues the work on its Pods. The violations of a policy that is deactivated
    /// end without Events.
    fn set_standing(&mut self, id: PolicyId, standing: Standing, effects: &mut Effects) {
        let Some(entry) = self.policies.get_mut(&id) else {
            return;
        };
        let was_active = entry.is_active();
        if std::mem::replace(&mut entry.standing, standing) != standing {
            effects.changed.insert(entry.key.clone());
            if was_active != entry.is_active() {
                let namespace = Arc::clone(&entry.key.namespace);
                self.renew_patterns(id);
                self.work.push_for(&namespace, Work::Policy(id));
            }
        }
    }

    /// The number of policies above the limit, in all namespaces.
    pub(super) fn excess_policies(&self) -> usize {
        let limit = self.ranked.limits.per_namespace.get();
        let ranks = self.ranked.by_namespace.values();
        ranks.map(|ranks| ranks.len().saturating_sub(limit)).sum()
    }
}
