//! Pods with every kind of fault, under a policy that is edited and one that is not.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, LazyLock},
};

use jiff::Timestamp;
use serde_json::{Value, json};
use sidewatch::{
    domain::{
        effects::{Change, Effects, Event, Transition},
        index::Index,
        observation::Observation,
        policy::{Check, InvalidSpec, Mode, PolicyKey, PolicyKind, Severity},
        summary::Report,
    },
    kubernetes::decode::{intern::Interner, pod::observe},
};

use testkit::{kubelet::at, policies::policy};

use crate::script::{exemption, script};

/// The times of edits: some violations are pending, some fire, and none is in its `keepFiringFor`, which no API shows.
pub(crate) const EDIT_TIMES: [i64; 3] = [450, 1000, 1950];
/// The end of a simulation.
pub(crate) const END: i64 = 10_000;

/// The changes of the Pods, decoded once.
static SCRIPT: LazyLock<Vec<(i64, Observation)>> = LazyLock::new(|| {
    let mut interner = Interner::default();
    let decoded = script().into_iter().map(|(second, pod)| {
        let lean = serde_json::from_value(pod.object()).unwrap();
        (second, observe(lean, &mut interner).unwrap())
    });
    decoded.collect()
});

/// An index with a virtual clock.
pub(crate) struct Simulation {
    index: Index,
    /// The number of changes so far.
    played: usize,
    now: i64,
    kind: PolicyKind,
    key: PolicyKey,
    generation: i64,
    /// Whether an edit stops after its first step.
    stops_after_step: bool,
    transitions: Vec<Transition>,
    events: Vec<Event>,
}

/// The violations and the report of a policy at one moment.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Observed {
    pub(crate) violations: BTreeMap<(String, String, Check), Violation>,
    report: Report,
}

/// Whether a violation fires, its severity, its mode, its onset.
pub(crate) type Violation = (bool, Severity, Mode, Timestamp);

/// All effects of a policy.
#[derive(Debug, PartialEq)]
pub(crate) struct Outcome {
    transitions: Vec<Transition>,
    events: Vec<Event>,
    end: Observed,
}

impl Outcome {
    /// Whether a check fired.
    pub(crate) fn fired(&self, check: Check) -> bool {
        self.transitions
            .iter()
            .any(|t| t.violation.check == check && t.to == Change::Firing)
    }
}

impl Simulation {
    /// Runs up to this second, with this spec from the start.
    pub(crate) fn at(kind: PolicyKind, spec: &Value, moment: i64) -> Self {
        let mut simulation = Self {
            index: Index::new([None], true),
            played: 0,
            now: 0,
            kind,
            key: policy(kind, "edited", 1, &json!({})).key,
            generation: 0,
            stops_after_step: false,
            transitions: Vec::new(),
            events: Vec::new(),
        };
        simulation.index.begin_namespace_resync();
        simulation.index.begin_resync(&None, Timestamp::MIN);
        for namespace in ["pay", "shop"] {
            let labels = Arc::new([("team", namespace)].into_iter().collect());
            let effects = simulation.index.apply_namespace(&namespace.into(), labels, at(0));
            simulation.record(effects);
        }
        let effects = simulation.index.finish_namespace_resync(at(0));
        simulation.record(effects);
        let effects = simulation.index.finish_resync(&None, at(0));
        simulation.record(effects);
        for kind in [PolicyKind::SidecarPolicy, PolicyKind::ClusterSidecarPolicy] {
            let update = policy(kind, "unedited", 1, &json!({}));
            let effects = simulation.index.apply_policy(update, at(0));
            simulation.record(effects);
        }
        let effects = simulation.index.apply_exemption(exemption(), at(0));
        simulation.record(effects);
        simulation.edit(spec);
        simulation.pass(moment);
        simulation
    }

    /// Runs to the end with this spec.
    pub(crate) fn outcome(kind: PolicyKind, spec: &Value) -> Outcome {
        let simulation = Self::at(kind, spec, END);
        Outcome {
            end: simulation.observed(),
            transitions: simulation.policy_transitions(),
            events: simulation.events_of_policy().cloned().collect(),
        }
    }

    /// Runs up to this second.
    pub(crate) fn pass(&mut self, until: i64) {
        while let Some((second, pod)) = SCRIPT.get(self.played).filter(|(second, _)| *second <= until) {
            self.played += 1;
            self.tick(*second);
            let effects = self.index.apply(pod.clone(), at(*second));
            self.record(effects);
            self.work(at(*second));
        }
        self.tick(until);
        self.now = until;
    }

    fn tick(&mut self, until: i64) {
        while let Some(due) = self.index.next_deadline().filter(|due| *due <= at(until)) {
            let effects = self.index.tick(due);
            self.record(effects);
            self.work(due);
        }
    }

    fn work(&mut self, now: Timestamp) {
        while self.index.has_work() {
            let effects = self.index.work(now);
            self.record(effects);
        }
    }

    /// Applies a new version of the policy.
    pub(crate) fn edit(&mut self, spec: &Value) {
        self.generation += 1;
        let update = policy(self.kind, "edited", self.generation, spec);
        let effects = self.index.apply_policy(update, at(self.now));
        self.record(effects);
        if !self.stops_after_step {
            self.work(at(self.now));
        }
    }

    /// Applies a new version of the policy to some Pods only. The next edit starts over.
    pub(crate) fn begin_edit(&mut self, spec: &Value) {
        self.index.set_units_per_step(5);
        self.stops_after_step = true;
        self.edit(spec);
        self.stops_after_step = false;
    }

    fn record(&mut self, effects: Effects) {
        self.transitions.extend(effects.transitions);
        self.events.extend(effects.events);
    }

    /// Whether the latest version is valid.
    pub(crate) fn is_ready(&self) -> bool {
        let [ready, ..] = self.index.report(&self.key).unwrap().conditions;
        ready.status == Some(true)
    }

    /// Whether a spec does not match the types of the API.
    pub(crate) fn is_undecodable(&self, spec: &Value) -> bool {
        let update = policy(self.kind, "edited", 1, spec);
        matches!(update.spec, Err(InvalidSpec::Undecodable(_)))
    }

    /// The state of the edited policy.
    pub(crate) fn observed(&self) -> Observed {
        self.observed_of(&self.key)
    }

    fn observed_of(&self, key: &PolicyKey) -> Observed {
        let mut report = self.index.report(key).unwrap();
        report.generation = 0;
        let violations = self.index.violations().filter(|v| v.policy == *key);
        let violations = violations.map(|v| {
            let key = (
                v.subject.pod().to_owned(),
                v.subject.container().to_string(),
                v.check,
            );
            (key, (v.firing, v.severity, v.mode, v.onset))
        });
        Observed {
            violations: violations.collect(),
            report,
        }
    }

    /// The transitions of the edited policy.
    pub(crate) fn policy_transitions(&self) -> Vec<Transition> {
        let of_policy = self.transitions.iter().filter(|t| t.violation.policy == self.key);
        of_policy.cloned().collect()
    }

    fn events_of_policy(&self) -> impl Iterator<Item = &Event> {
        self.events.iter().filter(|event| event.policy == self.key)
    }

    /// The states of the other policies, their transitions and their Events.
    pub(crate) fn others(&self) -> (Vec<Observed>, Vec<Transition>, Vec<Event>) {
        let others = self.index.policies().filter(|policy| policy.key != self.key);
        let transitions = self.transitions.iter().filter(|t| t.violation.policy != self.key);
        let events = self.events.iter().filter(|event| event.policy != self.key);
        (
            others.map(|policy| self.observed_of(&policy.key)).collect(),
            transitions.cloned().collect(),
            events.cloned().collect(),
        )
    }

    /// Asserts that an edit and its reversal left the same Events. Events of violations that fired because of the edit may
    /// be added.
    pub(crate) fn assert_same_events(&self, edited: &Self, what: &str) {
        let expected: BTreeSet<&str> = self.events_of_policy().map(|event| &*event.name).collect();
        let found: BTreeSet<&str> = edited.events_of_policy().map(|event| &*event.name).collect();
        let missing: Vec<_> = expected.difference(&found).collect();
        assert!(missing.is_empty(), "{what}: Events are missing: {missing:?}");
        let by_edit = |event: &&Event| EDIT_TIMES.iter().any(|moment| at(*moment) == event.at);
        let fired: Vec<&Event> = edited.events_of_policy().filter(by_edit).collect();
        for event in edited
            .events_of_policy()
            .filter(|event| !expected.contains(&*event.name))
        {
            let of_edit = |fired: &&Event| fired.regarding == event.regarding;
            assert!(fired.iter().any(of_edit), "{what}: a new Event {event:?}");
        }
    }
}

impl Observed {
    /// Asserts that the policy shows the same after an edit and its reversal. Violations that fired because of the edit stay
    /// for their `keepFiringFor`. The onset of flapping may differ, because no API shows it.
    pub(crate) fn assert_same(&self, other: &Self, what: &str) {
        let mut observed = other.violations.clone();
        for (key, expected) in &self.violations {
            let found = observed
                .remove(key)
                .unwrap_or_else(|| panic!("{what}: {key:?} is missing"));
            let is_flapping = key.2 == Check::Flapping;
            let same = (found.0, found.1, found.2) == (expected.0, expected.1, expected.2);
            assert!(
                same && (is_flapping || found.3 == expected.3),
                "{what}: {key:?} is {found:?}, was {expected:?}"
            );
        }
        for (key, violation) in &observed {
            let counts = matches!(key.2, Check::FrequentRestarts | Check::Flapping);
            assert!(
                counts && violation.0,
                "{what}: {key:?} is unexpected: {violation:?}"
            );
        }
        if observed.is_empty() && !self.violations.keys().any(|key| key.2 == Check::Flapping) {
            assert_eq!(self.report, other.report, "{what}");
        }
    }

    /// Asserts that an invalid version changes nothing except the condition `Ready`.
    pub(crate) fn assert_same_but_ready(&self, other: &Self, what: &str) {
        assert_eq!(self.violations, other.violations, "{what}");
        let without = |report: &Report| {
            let mut report = report.clone();
            report.conditions[0] = report.conditions[1].clone();
            report
        };
        assert_eq!(without(&self.report), without(&other.report), "{what}");
        let [ready, ..] = &other.report.conditions;
        assert_eq!((ready.status, ready.reason), (Some(false), "Invalid"), "{what}");
        assert!(
            ready.message.contains("The last valid version stays in use"),
            "{what}: {}",
            ready.message
        );
    }
}
