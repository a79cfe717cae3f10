//! Continues the violations of subjects that an earlier process stored, in a checkpoint or in the status of the policy, and
//! exports them to a checkpoint.
//!
//! In a checkpoint, a subject has the key of a Pod without UID: its namespace, and the name `Kind/name` for a workload or
//! `Image//repository` for an image, which no Pod has.

use std::sync::Arc;

use jiff::Timestamp;

use super::{SubjectEvents, SubjectFacts, SubjectState};
use crate::domain::{
    checkpoint::{Checkpoint, PodKey, PodState, PodViolation, SmallMap, ViolationId},
    index::{
        checkpoint::Export,
        entry::{Policies, PolicyEntry, PolicyId},
        pods::Findings,
    },
    policy::{Check, Policy},
    tracker::Tracked,
    violation::Subject,
};

/// The identity of the violation of a subject in a checkpoint.
fn stored_id(subject: &Subject, check: Check) -> ViolationId {
    let name = match subject {
        Subject::Image(image) => format!("Image//{}", image.repository),
        Subject::Container(_) | Subject::Workload(_) => subject.workload().to_string(),
    };
    ViolationId {
        pod: PodKey {
            namespace: Arc::clone(subject.namespace()),
            name: name.into(),
            uid: Arc::default(),
        },
        container: Arc::clone(subject.container()),
        check,
    }
}

impl SubjectState {
    /// Adds the stored violation and the Events of a covered subject, the first time that it is evaluated.
    pub(in crate::domain::index) fn take_stored(
        &mut self,
        (policy, restored): (&mut PolicyEntry, &Checkpoint),
        (spec, facts): (&Policy, &dyn SubjectFacts),
        now: Timestamp,
    ) {
        let subject = facts.subject();
        let check = facts.check();
        if policy.stored.is_empty() && restored.pods.is_empty() {
            return;
        }
        let id = stored_id(&subject, check);
        if let Some(stored) = restored.pods.get(&id.pod).filter(|_| self.written.is_empty()) {
            // Several violations share the entry.
            self.written = Findings::with_written(stored.written.clone()).written;
        }
        if policy.stored.is_empty() {
            return;
        }
        let stored = policy.stored.take_subject(&id);
        let key = subject.key();
        let status = &mut policy.stored.status;
        let position = status
            .iter()
            .position(|stored| stored.key.check == check && stored.key.subject == key);
        let of_status = position.map(|position| status.remove(position));
        if self.tracked.is_some() {
            return;
        }
        if let Some(stored) = stored {
            self.tracked = Some(Tracked::continued(check, &stored, now));
        } else if let Some(stored) = of_status {
            let state = (stored.firing, stored.onset.min(now));
            let mut tracked = Tracked::of_status(check, state, facts.hold_for(), now);
            let mut planner = SubjectEvents {
                policy,
                spec,
                facts,
                written: &mut self.written,
                now,
                events: &mut Vec::new(),
            };
            planner.adopt(&mut tracked);
            self.tracked = Some(tracked);
        }
    }

    /// Adds the violation and the Events to a checkpoint.
    pub(in crate::domain::index) fn export(
        &self,
        (id, check): (PolicyId, Check),
        subject: &Subject,
        export: &mut Export,
    ) {
        if self.tracked.is_none() && self.written.is_empty() {
            return;
        }
        let ViolationId {
            pod,
            container,
            check,
        } = stored_id(subject, check);
        let written = self.written.iter().map(|event| (event.hash, event.times));
        let state = PodState {
            written: written.collect(),
            ..PodState::default()
        };
        let policy = export.number_of(id);
        let violation = self.tracked.as_ref().zip(self.shown.as_ref()).zip(policy);
        let violation = violation.map(|((tracked, shown), policy)| PodViolation {
            policy,
            container,
            check,
            state: tracked.exported(shown.violation.severity),
        });
        export.add_other(pod, state, violation);
    }

    /// Joins a checkpoint to the violation of a known subject.
    pub(in crate::domain::index) fn join(
        &mut self,
        (id, check): (PolicyId, Check),
        subject: &Subject,
        policies: &Policies,
        (restored, now): (&Checkpoint, Timestamp),
    ) {
        let violation = stored_id(subject, check);
        let Some(stored) = restored.pods.get(&violation.pod) else {
            return;
        };
        self.join_written(&stored.written);
        let Some(policy) = policies.get(&id) else {
            return;
        };
        let state = restored.policies.get(&policy.uid);
        let state = state.filter(|state| state.generation == policy.generation);
        let stored = state.and_then(|state| Some((state.as_of, state.violations.get(&violation)?)));
        if let (Some(tracked), Some((as_of, stored))) = (&mut self.tracked, stored) {
            tracked.join(stored, (now, as_of), None);
        }
    }

    fn join_written(&mut self, others: &SmallMap<u64, u32>) {
        let mut findings = Findings::default();
        std::mem::swap(&mut findings.written, &mut self.written);
        findings.merge_written(others);
        self.written = findings.written;
        let present = self.tracked.as_ref().and_then(|tracked| tracked.event);
        for event in &mut self.written {
            // The watch does not deliver the causes of present Events again.
            event.joined &= present.is_none_or(|present| present.hash != event.hash);
        }
    }
}
