//! The undisturbed run: an index that sees every change at once and handles every deadline on time, and the Events that
//! result from it.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use jiff::Timestamp;
use sidewatch::{
    domain::{
        effects::{Delivery, Effects, Event, Transition},
        index::Index,
        observation::Observation,
        policy::Check,
        violation::Violation,
    },
    kubernetes::decode::{intern::Interner, pod::observe},
    kubernetes::inputs::Input,
    kubernetes::watch::WatchEvent,
    operator::reconciler::step,
};

use testkit::kubelet::{Pod, at};

use crate::{
    compare::{Observed, StoredEvent},
    history::Change,
    policies::StoredPolicy,
};

/// The undisturbed run.
pub(crate) struct Reference {
    index: Index,
    interner: Interner,
    now: i64,
    transitions: Vec<Transition>,
    pub(crate) events: BTreeMap<String, StoredEvent>,
    policies: BTreeMap<&'static str, StoredPolicy>,
}

/// Decodes a Pod.
pub(crate) fn observed(pod: &Pod, interner: &mut Interner) -> Observation {
    observe(serde_json::from_value(pod.object()).unwrap(), interner).unwrap()
}

/// The list of namespaces.
pub(crate) fn namespaces() -> Vec<Input> {
    let mut list = vec![WatchEvent::Restarted {
        last_synced: Timestamp::MIN,
    }];
    for name in ["pay", "shop"] {
        let labels = Arc::new([("team", name)].into_iter().collect());
        list.push(WatchEvent::Listed((name.into(), labels)));
    }
    list.push(WatchEvent::Complete);
    list.into_iter().map(Input::Namespace).collect()
}

impl Reference {
    pub(crate) fn new() -> Self {
        let mut reference = Self {
            index: Index::new([None], true),
            interner: Interner::default(),
            now: 0,
            transitions: Vec::new(),
            events: BTreeMap::new(),
            policies: BTreeMap::new(),
        };
        let last_synced = Timestamp::MIN;
        for input in namespaces() {
            reference.take(input);
        }
        for event in [WatchEvent::Restarted { last_synced }, WatchEvent::Complete] {
            reference.take(Input::Pod(None, event));
        }
        reference
    }

    /// Passes time up to this second.
    pub(crate) fn pass(&mut self, until: i64) {
        while let Some(due) = self.index.next_deadline().filter(|due| *due <= at(until)) {
            let effects = self.index.tick(due);
            self.record(effects);
        }
        self.now = until;
    }

    /// Applies a change.
    pub(crate) fn change(&mut self, second: i64, change: &Change) {
        self.pass(second);
        match change {
            Change::Pod(pod) => {
                let observation = observed(pod, &mut self.interner);
                self.take(Input::Pod(None, WatchEvent::Applied(observation)));
            }
            Change::PodDeleted(pod) => {
                let observation = observed(pod, &mut self.interner);
                self.take(Input::Pod(None, WatchEvent::Deleted(observation)));
            }
            Change::Policy(policy) => {
                self.policies.insert(policy.name, policy.clone());
                self.take(policy.input(WatchEvent::Applied));
            }
            Change::PolicyRecreated(old, policy) => {
                self.policies.insert(policy.name, policy.clone());
                self.take(old.input(WatchEvent::Deleted));
                self.take(policy.input(WatchEvent::Applied));
            }
        }
    }

    fn take(&mut self, input: Input) {
        let effects = step(&mut self.index, input, at(self.now));
        self.record(effects);
    }

    fn record(&mut self, effects: Effects) {
        for event in &effects.events {
            self.write(event);
        }
        self.transitions.extend(effects.transitions);
    }

    fn write(&mut self, event: &Event) {
        let known = self.events.get_mut(&event.name);
        match (event.delivery, known) {
            (Delivery::Create, Some(_)) => {}
            (Delivery::CreateOrRaise(count) | Delivery::Repeat(count), Some(event)) => event.count = count,
            (Delivery::Create | Delivery::CreateOrRaise(_), None) => {
                self.events.insert(event.name.clone(), StoredEvent::new(event, 1));
            }
            (Delivery::Repeat(count), None) => {
                self.events
                    .insert(event.name.clone(), StoredEvent::new(event, count));
            }
        }
    }

    /// The state of the index.
    pub(crate) fn observed(&self) -> Observed {
        Observed::of(&self.index, self.policies.values())
    }

    /// The number of Events of a Pod.
    pub(crate) fn events_of(&self, uid: &str) -> usize {
        self.events
            .values()
            .filter(|event| event.object_uid == uid)
            .count()
    }

    /// The Pods with a violation of one of these checks.
    pub(crate) fn pods_with(&self, checks: &[Check]) -> impl Iterator<Item = String> {
        let violations = self.index.violations().filter(|v| checks.contains(&v.check));
        violations.map(|v| pod_of(v).to_owned())
    }

    fn changes(&self, from: i64, to: i64) -> impl Iterator<Item = &Transition> {
        let within = move |t: &&Transition| (at(from)..=at(to)).contains(&t.at);
        self.transitions
            .iter()
            .rev()
            .take_while(move |t| t.at >= at(from))
            .filter(within)
    }

    /// The Pods of which a violation changed within this period.
    pub(crate) fn pods_that_changed(&self, from: i64, to: i64) -> HashSet<String> {
        self.changes(from, to)
            .map(|t| pod_of(&t.violation).to_owned())
            .collect()
    }

    /// Whether a violation of this Pod changed within this period.
    pub(crate) fn changed(&self, pod: &str, from: i64, to: i64) -> bool {
        self.changes(from, to).any(|t| pod_of(&t.violation) == pod)
    }
}

fn pod_of(violation: &Violation) -> &str {
    violation.subject.pod()
}
