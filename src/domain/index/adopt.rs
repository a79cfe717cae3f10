//! Taking over what an operator before us left in the policies' statuses, so that a restart loses no time on a
//! pending violation and sends no second Event for a firing one.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{
    Index, PodEntry,
    entry::{PolicyEntry, PolicyId},
    event_planner::EventPlanner,
};
use crate::domain::{
    checks::{View, rule},
    history::History,
    policy::{Check, Mode},
    time::later,
    tracker::Tracked,
};

/// Takes over, as it stands, each violation that a matching policy's status lists for this Pod, when the Pod is not
/// younger than the violation. Each is taken over once.
pub(super) fn adopt(pod: &mut PodEntry, policies: &mut BTreeMap<PolicyId, PolicyEntry>, now: Timestamp) {
    let PodEntry {
        observation,
        history,
        matched,
        written,
        deadline: _,
    } = pod;
    for matched in matched {
        let Some(policy) = policies
            .get_mut(&matched.policy)
            .filter(|policy| !policy.adopted.is_empty())
        else {
            continue;
        };
        let is_this_pod = |listed: &crate::domain::policy::ListedViolation| {
            listed.namespace == observation.namespace
                && listed.pod == observation.name
                && observation
                    .created
                    .get()
                    .is_none_or(|created| created <= listed.since)
        };
        let listed: Vec<_> = policy
            .adopted
            .extract_if(.., |listed| is_this_pod(listed))
            .collect();
        for listed in listed {
            let place = observation
                .shape
                .containers
                .iter()
                .position(|c| c.name == listed.container);
            let Some((at, container)) = place.and_then(|at| Some((at, u16::try_from(at).ok()?))) else {
                continue;
            };
            if listed.check == Check::OOMKilled {
                History::adopt_oom_kill(history, observation, at, listed.since);
            }
            let Some(version) = &policy.policy else { continue };
            let view = View {
                pod: observation,
                roles: &matched.roles,
                policy: version,
                history: history.as_deref(),
                now,
            };
            let rule = rule(listed.check);
            let known = matched
                .tracked
                .binary_search_by_key(&(container, listed.check), |t| (t.container, t.check));
            let Err(place) = known else { continue };
            if version.mode_of(listed.check) == Mode::Off || !rule.covers(&view, at) {
                continue;
            }
            let firing_since = listed
                .firing
                .then(|| later(listed.since, rule.hold_for(&view, at)).min(now));
            let mut violation = Tracked {
                container,
                check: listed.check,
                onset: listed.since,
                firing_since,
                gone_since: None,
                announced: None,
                counted: listed.firing,
            };
            let mut announcer = EventPlanner {
                policy,
                view: &view,
                written: &mut *written,
                events: &mut Vec::new(),
            };
            announcer.take_over(&mut violation);
            matched.tracked.insert(place, violation);
        }
        policy.record_missing(observation, &matched.tracked);
    }
}

impl Index {
    /// Drops what is left to take over from the statuses of policies whose Pods have all been looked at.
    pub(super) fn forget_adopted(&mut self) {
        let watches = &self.watches;
        for policy in self
            .policies
            .values_mut()
            .filter(|policy| !policy.adopted.is_empty())
        {
            let namespaces = watches.namespaces_synced || !policy.needs_namespaces();
            if namespaces && watches.is_released(&policy.key.namespace) {
                policy.adopted = Vec::new();
            }
        }
    }
}
