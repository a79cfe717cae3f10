//! The firing violations that each exemption hides, its Events and its report.

use jiff::{Timestamp, Unit};

use super::{Entry, Exemptions};
use crate::domain::{
    effects::{Delivery, Effects, Event, Regarding},
    exemption::{
        EXEMPTION_ACTIVE, EXEMPTION_ENDED, ExemptionId, ExemptionKey, ExemptionReport, ExemptionState,
        HiddenViolation, LISTED_HIDDEN,
    },
    hash::stable_hash,
    index::{
        Index,
        entry::{PolicyEntry, PolicyId},
        event_planner::{NOTE_LIMIT, event_name},
        matches::Match,
        pods::{PodEntry, PodId},
        work::Work,
    },
    policy::{Check, PolicyKey, Severity},
    tracker::Tracked,
};

/// A firing violation that an exemption hides. The oldest is the first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Hidden {
    since: Timestamp,
    pod: PodId,
    container: u16,
    check: Check,
    policy: PolicyId,
}

impl Hidden {
    fn new(pod: PodId, policy: PolicyId, violation: &Tracked) -> Self {
        Self {
            since: violation.onset,
            pod,
            container: violation.container,
            check: violation.check,
            policy,
        }
    }
}

/// The firing violations that are exempt, with their exemptions.
fn exempt(tracked: &[Tracked]) -> impl Iterator<Item = (ExemptionId, &Tracked)> {
    let firing = tracked.iter().filter(|violation| violation.is_firing());
    firing.filter_map(|violation| Some((violation.exempt?, violation)))
}

impl Exemptions {
    /// Adds the violations of a Pod under a policy. The first one of an exemption has an Event.
    pub(in crate::domain::index) fn add(
        &mut self,
        (id, pod): (PodId, &PodEntry),
        (matched, policy): (&Match, &PolicyEntry),
        now: Timestamp,
        effects: &mut Effects,
    ) {
        let number = matched.version.policy;
        for (exemption, violation) in exempt(pod.tracked(number)) {
            let Some(entry) = self.entries.get_mut(&exemption) else {
                continue;
            };
            entry.hidden.insert(Hidden::new(id, number, violation));
            self.touched.insert(exemption);
            if entry.began.is_none() {
                entry.began = Some(policy.key.clone());
                let containers = &pod.observation.shape.containers;
                let container = containers.get(usize::from(violation.container));
                let container = container.map_or("", |container| &*container.name);
                let allowed = entry.spec.as_ref().zip(matched.exempt_for);
                let until = allowed.map(|(spec, exempt_for)| entry.end(spec, exempt_for));
                let note = format!(
                    "It hides firing violations of {}{}; the first is {} of container '{container}' in Pod {}, since {}.",
                    policy.key,
                    until_text(until),
                    violation.check.as_str(),
                    pod.observation.name,
                    seconds(violation.onset),
                );
                let event = entry.event(EXEMPTION_ACTIVE, note, (&policy.key, &policy.uid), now);
                effects.events.push(event);
            }
        }
    }

    /// Undoes [`Self::add`]. Must be called before the violations change.
    pub(in crate::domain::index) fn subtract(&mut self, id: PodId, policy: PolicyId, tracked: &[Tracked]) {
        for (exemption, violation) in exempt(tracked) {
            if let Some(entry) = self.entries.get_mut(&exemption) {
                entry.hidden.remove(&Hidden::new(id, policy, violation));
                self.touched.insert(exemption);
            }
        }
    }

    /// Reports the exemptions whose hidden violations may have changed.
    pub(in crate::domain::index) fn report_changes(&mut self, effects: &mut Effects) {
        while let Some(id) = self.touched.pop_first() {
            let entry = self.entries.get(&id);
            effects.exemptions.extend(entry.map(|entry| entry.key.clone()));
        }
    }

    /// Reports all exemptions of the namespaces for which `concerns` is true.
    pub(in crate::domain::index) fn report_all(
        &self,
        concerns: impl Fn(&str) -> bool,
        effects: &mut Effects,
    ) {
        let keys = self.ids.keys().filter(|key| concerns(&key.namespace));
        effects.exemptions.extend(keys.cloned());
    }

    /// Compares the hidden violations with those of all Pods.
    #[cfg(test)]
    pub(in crate::domain::index) fn assert_hidden<'a>(
        &self,
        pods: impl Iterator<Item = (PodId, &'a PodEntry)>,
    ) {
        use std::collections::{BTreeMap, BTreeSet};

        let mut expected: BTreeMap<ExemptionId, BTreeSet<Hidden>> = BTreeMap::new();
        for (id, pod) in pods {
            for (policy, tracked) in pod.all_tracked() {
                for (exemption, violation) in exempt(tracked) {
                    let hidden = Hidden::new(id, policy, violation);
                    expected.entry(exemption).or_default().insert(hidden);
                }
            }
        }
        assert_eq!(self.entries.len(), self.ids.len());
        assert_eq!(
            self.entries.len(),
            self.by_namespace
                .values()
                .map(std::collections::BTreeMap::len)
                .sum::<usize>()
        );
        for (id, entry) in &self.entries {
            assert_eq!(
                entry.hidden,
                expected.remove(id).unwrap_or_default(),
                "{}",
                entry.key
            );
            let until = entry.spec.as_ref().map(|spec| spec.until);
            let end = self.ends.iter().find(|(_, of)| of == id).map(|(at, _)| *at);
            assert_eq!(end, until.filter(|_| !entry.ended), "{}", entry.key);
        }
    }
}

impl Entry {
    /// An Event about the exemption. Its name depends on the object and its end only, so that every process writes the same.
    fn event(
        &self,
        reason: &'static str,
        mut note: String,
        (policy, policy_uid): (&PolicyKey, &std::sync::Arc<str>),
        at: Timestamp,
    ) -> Event {
        if let Some(spec) = &self.spec {
            note.push_str(" Reason: ");
            note.push_str(&spec.reason);
        }
        note.truncate(note.floor_char_boundary(NOTE_LIMIT));
        let until = until_text(self.spec.as_ref().map(|spec| spec.until));
        let hash = stable_hash([&*self.uid, reason, &*until].map(str::as_bytes));
        Event {
            name: event_name(&self.key.name, hash),
            policy: policy.clone(),
            policy_uid: policy_uid.clone(),
            namespace: self.key.namespace.clone(),
            regarding: Regarding {
                kind: "SidecarExemption".into(),
                name: self.key.name.clone(),
                uid: self.uid.clone(),
                field_path: String::new(),
            },
            reason,
            warning: false,
            severity: Severity::Info,
            recovers: Vec::new(),
            note,
            at,
            delivery: Delivery::Create,
        }
    }
}

impl Index {
    /// Ends the exemptions whose time is over by `now`. Their violations are announced by the deadlines of their Pods.
    pub(in crate::domain::index) fn end_exemptions(&mut self, now: Timestamp, effects: &mut Effects) {
        while let Some((at, id)) = self.exemptions.ends.first().copied().filter(|(at, _)| *at <= now) {
            self.exemptions.ends.remove(&(at, id));
            self.end_exemption(id, at, effects);
        }
    }

    /// Ends an exemption. It has an Event if it has hidden a firing violation.
    pub(super) fn end_exemption(&mut self, id: ExemptionId, at: Timestamp, effects: &mut Effects) {
        let Some(entry) = self.exemptions.entries.get_mut(&id) else {
            return;
        };
        entry.ended = true;
        effects.exemptions.insert(entry.key.clone());
        if let Some(policy) = &entry.began {
            let number = self.ids.get(policy);
            let policy_entry = number.and_then(|number| self.policies.get(number));
            let uid = policy_entry.map(|policy| policy.uid.clone()).unwrap_or_default();
            let until = entry
                .spec
                .as_ref()
                .map(|spec| seconds(spec.until))
                .unwrap_or_default();
            let note = format!(
                "Its time is over since {until}. The violations that it has hidden and that still fire are announced."
            );
            effects
                .events
                .push(entry.event(EXEMPTION_ENDED, note, (policy, &uid), at));
        }
    }

    /// The status of an exemption. `None` for an unknown one, and until all Pods have been evaluated with it.
    pub fn exemption_report(&self, key: &ExemptionKey) -> Option<ExemptionReport> {
        let id = *self.exemptions.ids.get(key)?;
        let entry = self.exemptions.entries.get(&id)?;
        let is_worked_on = self.work.contains(&Work::Exemptions(key.namespace.clone()));
        if is_worked_on
            || !self.has_listed_exemptions(&key.namespace)
            || !self.watches.is_synced(&key.namespace)
        {
            return None;
        }
        let state = match (&entry.spec, &entry.invalid) {
            _ if !self.exemptions.is_honoured(id, &key.namespace) => ExemptionState::OverLimit,
            (_, Some(error)) => ExemptionState::Invalid(error.clone()),
            (Some(spec), None) if entry.ended => ExemptionState::Ended(spec.until),
            (Some(spec), None) => ExemptionState::Active(spec.until),
            // The list is read again.
            (None, None) => return None,
        };
        let listed = entry.hidden.iter().take(LISTED_HIDDEN);
        Some(ExemptionReport {
            generation: entry.generation,
            shown: entry.shown.clone(),
            state,
            hides: u32::try_from(entry.hidden.len()).unwrap_or(u32::MAX),
            hidden: listed
                .filter_map(|hidden| self.hidden_violation(hidden))
                .collect(),
            policy: entry.began.clone(),
        })
    }

    fn hidden_violation(&self, hidden: &Hidden) -> Option<HiddenViolation> {
        let pod = &self.pods.get(&hidden.pod)?.observation;
        let container = pod.shape.containers.get(usize::from(hidden.container))?;
        Some(HiddenViolation {
            pod: pod.name.clone(),
            container: container.name.clone(),
            check: hidden.check,
            policy: self.policies.get(&hidden.policy)?.key.clone(),
            since: hidden.since,
        })
    }
}

/// ` until 2026-11-20T10:42:07Z`
fn until_text(until: Option<Timestamp>) -> String {
    let until = until.map(|until| format!(" until {}", seconds(until)));
    until.unwrap_or_default()
}

/// A time in whole seconds.
fn seconds(at: Timestamp) -> Timestamp {
    at.round(Unit::Second).unwrap_or(at)
}
