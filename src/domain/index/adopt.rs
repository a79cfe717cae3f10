//! Status takeover: continues the violations that the statuses of the policies list. A restart of the operator then
//! neither delays a pending violation nor sends a second Event for a firing one.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{
    Index,
    entry::{PolicyEntry, PolicyId},
    event_planner::EventPlanner,
    matches::MatchSet,
    pods::{PodEntry, Selected},
    policy_limits::Standing,
    work::Work,
};
use crate::domain::{
    checks::{View, rule},
    history::History,
    observation::Observation,
    policy::{Check, Mode},
    time::later,
    tracker::{Tracked, visible_after},
    violation::{StoredViolation, SubjectKey},
};

/// Moves each stored violation of this Pod under the selected policies to its findings, with its state and onset. A
/// stored violation of an earlier Pod with this name is not moved.
pub(super) fn adopt(
    pod: &mut PodEntry,
    matches: &MatchSet,
    selected: Selected,
    policies: &mut BTreeMap<PolicyId, PolicyEntry>,
    now: Timestamp,
) {
    for matched in selected.among(matches) {
        let id = matched.version.policy;
        let Some(policy) = policies.get_mut(&id).filter(|policy| !policy.stored.is_empty()) else {
            continue;
        };
        let stored: Vec<_> = policy
            .stored
            .extract_if(.., |stored| belongs_to(stored, &pod.observation))
            .collect();
        for stored in stored {
            let Some(container_idx) = container_idx(&stored, &pod.observation) else {
                continue;
            };
            if stored.key.check == Check::OOMKilled {
                History::adopt_oom_kill(&mut pod.history, &pod.observation, container_idx, stored.onset);
            }
            let view = View {
                pod: &pod.observation,
                roles: &matched.roles,
                policy: &matched.version.spec,
                history: pod.history.as_deref(),
                now,
            };
            let Some((position, mut violation)) = to_tracked(&stored, container_idx, &view, pod.tracked(id))
            else {
                continue;
            };
            let findings = pod.findings.get_or_insert_default();
            let mut planner = EventPlanner {
                policy,
                view: &view,
                written: &mut findings.written,
                events: &mut Vec::new(),
            };
            planner.take_over(&mut violation);
            let mut tracked = findings.take(id);
            tracked.insert(position, violation);
            findings.put(id, tracked, None);
        }
    }
}

/// Reports whether a stored violation belongs to this Pod and not to an earlier one with the same name. The UID decides. A
/// status of version 0.1 has no UID: then the violation must not be older than the Pod, although the two times can be
/// those of different clocks.
fn belongs_to(stored: &StoredViolation, pod: &Observation) -> bool {
    let SubjectKey::Container {
        namespace,
        pod: name,
        uid,
        container: _,
    } = &stored.key.subject;
    let is_same_pod = match uid {
        Some(uid) => *uid == pod.uid,
        None => pod.created.get().is_none_or(|created| created <= stored.onset),
    };
    is_same_pod && *namespace == pod.namespace && *name == pod.name
}

fn container_idx(stored: &StoredViolation, pod: &Observation) -> Option<usize> {
    let SubjectKey::Container { container, .. } = &stored.key.subject;
    pod.shape.containers.iter().position(|c| c.name == *container)
}

/// The tracked violation for a stored one, and its position in the list. `None` if it is in the list already, or if the
/// policy does not cover the container.
fn to_tracked(
    stored: &StoredViolation,
    container_idx: usize,
    view: &View<'_>,
    tracked: &[Tracked],
) -> Option<(usize, Tracked)> {
    let StoredViolation { key, firing, onset } = stored;
    let container = u16::try_from(container_idx).ok()?;
    let rule = rule(key.check);
    let position = tracked
        .binary_search_by_key(&(container, key.check), |t| (t.container, t.check))
        .err()?;
    if view.policy.mode_of(key.check) == Mode::Off || !rule.covers(view, container_idx) {
        return None;
    }
    let hold_for = rule.hold_for(view, container_idx);
    let firing_since = firing.then(|| later(*onset, hold_for).min(view.now));
    let violation = Tracked {
        container,
        check: key.check,
        onset: *onset,
        firing_since,
        gone_since: None,
        event: None,
        other_event: None,
        visible: *firing || later(*onset, visible_after(hold_for)) <= view.now,
        counted: *firing,
    };
    Some((position, violation))
}

impl Index {
    /// Drops the stored violations of policies whose Pods have all been evaluated.
    pub(super) fn drop_stored(&mut self) {
        let Self {
            watches,
            work,
            policies,
            ..
        } = self;
        for (id, policy) in policies
            .iter_mut()
            .filter(|(_, policy)| !policy.stored.is_empty() && policy.standing != Standing::Waiting)
        {
            let namespaces = watches.namespaces_synced || !policy.needs_namespaces();
            if namespaces && watches.is_released(&policy.key.namespace) && !work.contains(&Work::Policy(*id))
            {
                policy.stored = Vec::new();
            }
        }
    }
}
