//! Plans the Events of a subject that fails: one when the violation begins to fire, one when it resolves, and a repetition
//! every `repeatPeriod` while it fires.

use std::sync::Arc;

use jiff::Timestamp;

use super::SubjectFacts;
use crate::domain::{
    checks::rule,
    effects::{Change, Delivery, Event, RECOVERED, Regarding},
    hash::stable_hash,
    index::{
        entry::PolicyEntry,
        event_planner::{
            NOTE_LIMIT, RESOLVED, add_runbook, adopt, due_event, event_name, keep_next_repetition,
            next_delivery,
        },
        pods::WrittenEvent,
    },
    policy::{Mode, Policy, PolicyKey, PolicyKind},
    tracker::Tracked,
    violation::Subject,
};

/// The Events of one subject under one policy.
pub(super) struct SubjectEvents<'a> {
    pub(super) policy: &'a PolicyEntry,
    pub(super) spec: &'a Policy,
    pub(super) facts: &'a dyn SubjectFacts,
    /// The Events of the subject.
    pub(super) written: &'a mut Box<[WrittenEvent]>,
    pub(super) now: Timestamp,
    pub(super) events: &'a mut Vec<Event>,
}

impl SubjectEvents<'_> {
    /// Adds the Events of a violation, and lowers `next` to the time of the next repetition.
    pub(super) fn plan(
        &mut self,
        tracked: &mut Tracked,
        change: Option<Change>,
        next: &mut Option<Timestamp>,
    ) {
        if !self.alerts() || !tracked.is_firing() {
            return;
        }
        if change == Some(Change::Resolved) {
            self.recovery(tracked);
            return;
        }
        let period = self.spec.repeat_period;
        let hash = self.firing_hash();
        let due = due_event(tracked, (period, self.now), self.written, || hash);
        if let Some((event, delivery)) = due {
            tracked.event = Some(event);
            self.push_firing(event.hash, delivery);
        }
        keep_next_repetition(tracked, period, self.now, next);
    }

    /// Records that an earlier process has written the Event of a firing violation.
    pub(super) fn adopt(&mut self, tracked: &mut Tracked) {
        if tracked.is_firing() && self.alerts() {
            let hash = self.firing_hash();
            adopt(tracked, hash, self.spec.repeat_period, self.now, self.written);
        }
    }

    fn alerts(&self) -> bool {
        self.spec.mode_of(self.facts.check()) == Mode::Alert
    }

    fn recovery(&mut self, tracked: &Tracked) {
        let Some(event) = tracked.event.filter(|_| self.spec.recovery_events) else {
            return;
        };
        let hash = self.hash(RESOLVED, &event.hash.to_string());
        let (delivery, _) = next_delivery(self.written, hash);
        let duration = self.now.duration_since(tracked.onset);
        let note = self.facts.recovered(&self.policy.key, duration);
        let (_, regarding) = self.object();
        let recovers = vec![event_name(&regarding.name, event.hash)];
        self.push((hash, delivery), (RECOVERED, false), note, recovers);
    }

    fn push_firing(&mut self, hash: u64, delivery: Delivery) {
        let mut note = self.facts.note(&self.policy.key);
        add_runbook(&mut note, self.spec);
        let reason = rule(self.facts.check()).reason();
        self.push((hash, delivery), (reason, true), note, Vec::new());
    }

    fn push(
        &mut self,
        (hash, delivery): (u64, Delivery),
        (reason, warning): (&'static str, bool),
        mut note: String,
        recovers: Vec<String>,
    ) {
        note.truncate(note.floor_char_boundary(NOTE_LIMIT));
        let (namespace, regarding) = self.object();
        self.events.push(Event {
            name: event_name(&regarding.name, hash),
            policy: self.policy.key.clone(),
            policy_uid: Arc::clone(&self.policy.uid),
            namespace,
            regarding,
            reason,
            warning,
            severity: self.spec.checks.common(self.facts.check()).severity,
            recovers,
            note,
            at: self.now,
            delivery,
        });
    }

    /// The namespace of the Event and the object that it is about: the workload, or for an image the policy. The API server
    /// accepts an Event about a cluster-scoped object only in the namespace `default`.
    fn object(&self) -> (Arc<str>, Regarding) {
        if let Subject::Workload(subject) = self.facts.subject() {
            let regarding = Regarding {
                kind: Arc::clone(&subject.workload.kind),
                name: Arc::clone(&subject.workload.name),
                uid: self.facts.uid(),
                field_path: String::new(),
            };
            return (subject.namespace, regarding);
        }
        let PolicyKey {
            kind,
            namespace,
            name,
        } = &self.policy.key;
        let namespace = match kind {
            PolicyKind::SidecarPolicy => Arc::clone(namespace),
            PolicyKind::ClusterSidecarPolicy => "default".into(),
        };
        let regarding = Regarding {
            kind: kind.as_str().into(),
            name: Arc::clone(name),
            uid: Arc::clone(&self.policy.uid),
            field_path: String::new(),
        };
        (namespace, regarding)
    }

    /// The hash in the name of the Event of a violation that begins to fire. It is computed from the objects only. Two episodes
    /// need different names.
    fn firing_hash(&self) -> u64 {
        self.hash("firing", self.facts.episode())
    }

    fn hash(&self, kind: &str, episode: &str) -> u64 {
        let subject = self.facts.subject();
        let workload = subject.workload().to_string();
        let parts = [
            &*self.policy.uid,
            &**subject.namespace(),
            &*workload,
            &**subject.container_or_image(),
            self.facts.check().as_str(),
            kind,
            episode,
        ];
        stable_hash(parts.map(str::as_bytes))
    }
}
