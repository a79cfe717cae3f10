//! Leaves out entries of a checkpoint that is too large.

use std::{cmp::Reverse, collections::BTreeMap};

use jiff::Timestamp;

use crate::domain::{
    checkpoint::{Checkpoint, PodKey},
    policy::Severity,
};

/// The importance of a Pod in a checkpoint. Less important Pods are left out first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Importance {
    /// Events only. The API shows them for an hour.
    Events,
    /// Pending violations. They begin again with the onset that the API shows.
    Pending,
    /// A history without a violation.
    History,
    /// Firing violations: the highest severity, and the oldest onset with it.
    Firing(Severity, Reverse<Timestamp>),
}

/// Leaves out the least important Pods of a checkpoint whose encoding has `size` bytes, so that about `limit` bytes
/// remain. Returns the number of entries that were left out.
pub(super) fn shrink(checkpoint: &mut Checkpoint, size: usize, limit: usize) -> u32 {
    let before = checkpoint.entries() + checkpoint.waiting.len();
    // The size of the common tables does not change, so a tenth more than the share is left out.
    let share = |count: usize| (count.saturating_mul(limit) / size.max(1)).saturating_mul(9) / 10;
    if checkpoint.is_empty() {
        // Policies without violations date new faults only.
        checkpoint.policies.clear();
    } else if checkpoint.pods.is_empty() {
        let keep = share(checkpoint.waiting.len());
        checkpoint.waiting = std::mem::take(&mut checkpoint.waiting)
            .into_iter()
            .take(keep)
            .collect();
    } else {
        let mut pods = by_importance(checkpoint);
        pods.truncate(share(pods.len()));
        keep(checkpoint, &pods);
    }
    let left_out = before - checkpoint.entries() - checkpoint.waiting.len();
    u32::try_from(left_out).unwrap_or(u32::MAX)
}

/// Returns the Pods, the most important first.
fn by_importance(checkpoint: &Checkpoint) -> Vec<PodKey> {
    let importance = checkpoint.pods.iter().map(|(key, pod)| {
        let importance = if pod.containers.is_empty() {
            Importance::Events
        } else {
            Importance::History
        };
        (key, importance)
    });
    let mut importance: BTreeMap<&PodKey, Importance> = importance.collect();
    for (id, state) in checkpoint.policies.values().flat_map(|policy| &policy.violations) {
        let of_violation = match state.firing_since {
            Some(_) => Importance::Firing(state.severity, Reverse(state.onset)),
            None => Importance::Pending,
        };
        if let Some(most) = importance.get_mut(&id.pod) {
            *most = of_violation.max(*most);
        }
    }
    let mut pods: Vec<_> = importance.into_iter().collect();
    pods.sort_by_key(|(key, importance)| (Reverse(*importance), *key));
    pods.into_iter().map(|(key, _)| key.clone()).collect()
}

/// Leaves out all Pods but these.
fn keep(checkpoint: &mut Checkpoint, pods: &[PodKey]) {
    let mut before = std::mem::take(&mut checkpoint.pods);
    checkpoint.pods = pods.iter().filter_map(|key| before.remove_entry(key)).collect();
    let kept = &checkpoint.pods;
    for policy in checkpoint.policies.values_mut() {
        let violations = policy.violations.len();
        policy.violations.retain(|id, _| kept.contains_key(&id.pod));
        policy.complete &= policy.violations.len() == violations;
    }
}
