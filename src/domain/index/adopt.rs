//! Continues the violations that an earlier process stored, in a checkpoint or in the statuses of the policies. A restart
//! of the operator then neither delays a pending violation nor sends a second Event for a firing one. A checkpoint has more
//! details than a status and comes first.

use jiff::Timestamp;

use super::{
    Index,
    entry::Policies,
    event_planner::EventPlanner,
    matches::{Match, MatchSet},
    pods::{PodEntry, Selected},
    policy_limits::Standing,
    stored::{FromCheckpoint, Stored},
    work::Work,
};
use crate::domain::{
    checks::{Fault, View, rule},
    history::History,
    observation::Observation,
    policy::{Check, Mode},
    time::later,
    tracker::Tracked,
    violation::{StoredViolation, SubjectKey},
};

/// Moves each stored violation of this Pod under the selected policies to its findings, with its state and onset. A
/// stored violation of an earlier Pod with this name is not moved.
pub(super) fn adopt(
    pod: &mut PodEntry,
    matches: &MatchSet,
    selected: Selected,
    policies: &mut Policies,
    now: Timestamp,
) {
    for matched in selected.among(matches) {
        let id = matched.version.policy;
        let Some(policy) = policies.get_mut(&id).filter(|policy| !policy.stored.is_empty()) else {
            continue;
        };
        for stored in policy.stored.take_checkpoint(&pod.observation.uid) {
            continue_violation(stored, pod, matched, now);
        }
        let stored: Vec<_> = policy
            .stored
            .status
            .extract_if(.., |stored| belongs_to(stored, &pod.observation))
            .collect();
        for stored in stored {
            let SubjectKey::Container { container, .. } = &stored.key.subject else {
                continue;
            };
            let Some(container_idx) = pod.observation.shape.position(container) else {
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
            planner.adopt(&mut violation);
            let mut tracked = findings.take(id);
            tracked.insert(position, violation);
            findings.put(id, tracked, None);
        }
    }
}

/// Adds a violation from a checkpoint to the findings of its Pod.
pub(super) fn continue_violation(
    stored: FromCheckpoint,
    pod: &mut PodEntry,
    matched: &Match,
    now: Timestamp,
) {
    let FromCheckpoint { id, state, as_of } = stored;
    let Some(container_idx) = pod.observation.shape.position(&id.container) else {
        return;
    };
    let Ok(container) = u16::try_from(container_idx) else {
        return;
    };
    let view = pod.view(matched, now);
    let rule = rule(id.check);
    if view.policy.mode_of(id.check) == Mode::Off || !rule.covers(&view, container_idx) {
        return;
    }
    let shown = shown_onset(&view, id.check, container_idx);
    let began_later = shown.filter(|since| {
        // A firing violation has not resolved if its fault was gone for less than `keepFiringFor`.
        let gone = state.gone_since.unwrap_or(as_of);
        let keep = state.firing_since.map(|_| rule.keep_firing_for(&view));
        *since > as_of && keep.is_none_or(|keep| later(gone, keep) <= *since)
    });
    if began_later.is_some() {
        // The stored fault has ended; the present one is evaluated as a new one.
        return;
    }
    let violation = Tracked {
        container,
        ..Tracked::continued(id.check, &state, now)
    };
    pod.edit_findings(|findings| {
        let policy = matched.version.policy;
        let (mut tracked, deadline) = findings.take_with_deadline(policy);
        match tracked.binary_search_by_key(&(container, id.check), |t| (t.container, t.check)) {
            Ok(position) => {
                if let Some(known) = tracked.get_mut(position) {
                    known.join(&state, (now, as_of), shown);
                }
            }
            Err(position) => tracked.insert(position, violation),
        }
        findings.put(policy, tracked, deadline);
    });
}

/// The earliest onset of a present fault that the API shows, if it does not change while the fault lasts.
pub(super) fn shown_onset(view: &View<'_>, check: Check, container_idx: usize) -> Option<Timestamp> {
    let fault = find_fault(view, check, container_idx);
    fault.filter(|fault| fault.until.is_none())?.earliest
}

/// The present fault of a container.
pub(super) fn find_fault(view: &View<'_>, check: Check, container_idx: usize) -> Option<Fault> {
    let mut faults = Vec::new();
    rule(check).find(view, &mut faults);
    let mut faults = faults.into_iter();
    faults.find(|fault| fault.container_idx == container_idx)
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
    } = &stored.key.subject
    else {
        return false;
    };
    let is_same_pod = match uid {
        Some(uid) => *uid == pod.uid,
        None => pod.created.get().is_none_or(|created| created <= stored.onset),
    };
    is_same_pod && *namespace == pod.namespace && *name == pod.name
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
    let violation = Tracked {
        container,
        ..Tracked::of_status(key.check, (*firing, *onset), hold_for, view.now)
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
            restored,
            missing,
            image_states,
            ..
        } = self;
        for (id, policy) in policies
            .iter_mut()
            .filter(|(_, policy)| !policy.adoption_ended && policy.standing != Standing::Waiting)
        {
            let namespaces = watches.namespaces_synced || !policy.needs_namespaces();
            if namespaces
                && watches.is_released(&policy.key.namespace)
                && !work.contains(&Work::Policy(*id))
                && !missing.has_work_for(*id)
                && !image_states.has_work_for(*id)
            {
                policy.stored = Stored::default();
                policy.covered_until = None;
                policy.adoption_ended = true;
            }
        }
        if watches.is_released("")
            && watches.namespaces_synced
            && !work.contains(&Work::Restore)
            && !missing.queue.has_work()
            && !image_states.queue.has_work()
        {
            restored.pods.clear();
        }
    }
}
