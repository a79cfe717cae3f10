//! Evaluates Pods under policies with the operator's own index, and keeps the violations that fire and their Events.
//!
//! Input: policies, exemptions, and watch events of Pods with their times. Output: [`Reported`] violations, and the index. A
//! deadline between two inputs acts at its own time, so the result does not depend on how often the caller calls.

use std::{
    collections::{BTreeSet, HashMap},
    num::NonZeroUsize,
    sync::Arc,
};

use jiff::Timestamp;

use crate::{
    domain::{
        effects::{Change, Effects, Event},
        exemption::ExemptionUpdate,
        index::Index,
        observation::{NamespaceMetadata, Observation},
        policy::{PolicyLimits, PolicyUpdate, Severity},
        violation::{Violation, ViolationKey},
    },
    kubernetes::{inputs::Input, watch::WatchEvent},
    operator::reconciler::step,
};

/// The names and labels of the namespaces.
pub type Namespaces = Vec<(Arc<str>, Arc<NamespaceMetadata>)>;

/// The label with the name of the namespace. Every namespace has it.
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// A violation that fired.
#[derive(Clone, Debug)]
pub struct Reported {
    /// The violation at the time at which it fired.
    pub violation: Violation,
    /// The time at which it fired.
    pub firing: Timestamp,
    /// The time at which it ended. `None` if it still fires.
    pub resolved: Option<Timestamp>,
    /// The cause, at the time at which it fired.
    pub cause: String,
}

/// What has happened in an index.
#[derive(Debug, Default)]
struct Reports {
    /// The violations that have fired.
    violations: Vec<Reported>,
    /// The Events that the operator would write.
    events: Vec<Event>,
}

/// An index, and what has happened in it.
#[derive(Debug)]
pub struct Evaluation {
    index: Index,
    /// `None` if the caller needs only the present violations, which the index has.
    reports: Option<Reports>,
    /// The positions of the violations that still fire.
    firing: HashMap<ViolationKey, usize>,
    /// The UIDs of the Pods.
    pods: BTreeSet<Arc<str>>,
    /// The namespaces whose labels the index has.
    named: BTreeSet<Arc<str>>,
    /// The Pods that cannot be decoded, with the errors. They are left out.
    pub undecodable: Vec<String>,
}

impl Evaluation {
    /// Creates an index with policies. Without `namespaces` only the names of the namespaces are known, and each has the
    /// label that every namespace has.
    pub fn new(
        policies: impl IntoIterator<Item = PolicyUpdate>,
        namespaces: Option<Namespaces>,
        now: Timestamp,
    ) -> Self {
        // The limits protect an operator from its tenants. Here the user chooses the policies.
        let limits = PolicyLimits {
            per_namespace: NonZeroUsize::MAX,
            severity: Severity::Critical,
        };
        let mut evaluation = Self {
            index: Index::new([None], namespaces.is_some()).with_policy_limits(limits),
            reports: None,
            firing: HashMap::new(),
            pods: BTreeSet::new(),
            named: BTreeSet::new(),
            undecodable: Vec::new(),
        };
        if let Some(namespaces) = namespaces {
            evaluation.index.begin_namespace_resync();
            for (name, labels) in namespaces {
                let effects = evaluation.index.apply_namespace(&name, labels, now);
                evaluation.take(effects);
                evaluation.named.insert(name);
            }
            let effects = evaluation.index.finish_namespace_resync(now);
            evaluation.take(effects);
        }
        for policy in policies {
            let effects = evaluation.index.apply_policy(policy, now);
            evaluation.take(effects);
        }
        evaluation
    }

    /// Hides the violations that exemptions cover, by the rules of the operator.
    #[must_use]
    pub fn with_exemptions(
        mut self,
        exemptions: impl IntoIterator<Item = ExemptionUpdate>,
        now: Timestamp,
    ) -> Self {
        for exemption in exemptions {
            let effects = self.index.apply_exemption(exemption, now);
            self.take(effects);
        }
        self.finish_work(now);
        self
    }

    /// Keeps each violation that fires, also after its end, and the Events.
    #[must_use]
    pub fn keeping_reports(mut self) -> Self {
        self.reports = Some(Reports::default());
        self
    }

    /// Declares that there are no Pods yet. For inputs that do not begin with a list.
    pub fn begin_without_pods(&mut self, now: Timestamp) {
        let last_synced = Timestamp::MIN;
        self.apply(WatchEvent::Restarted { last_synced }, now);
        self.apply(WatchEvent::Complete, now);
    }

    /// Applies an event. Deadlines before it act first.
    pub fn apply(&mut self, event: WatchEvent<Observation>, now: Timestamp) {
        self.pass_time(now);
        if let Some(pod) = Self::pod_of(&event) {
            self.pods.insert(Arc::clone(&pod.uid));
            if self.named.insert(Arc::clone(&pod.namespace)) {
                let labels = [(NAME_LABEL, &*pod.namespace)].into_iter().collect();
                let effects = self.index.apply_namespace(&pod.namespace, Arc::new(labels), now);
                self.take(effects);
            }
        }
        let effects = step(&mut self.index, Input::Pod(None, event), now);
        self.take(effects);
        self.finish_work(now);
    }

    fn finish_work(&mut self, now: Timestamp) {
        while self.index.has_work() {
            let effects = self.index.work(now);
            self.take(effects);
        }
    }

    /// Lets every deadline act at its own time.
    pub fn pass_time(&mut self, until: Timestamp) {
        while let Some(next) = self.index.next_deadline().filter(|next| *next <= until) {
            let effects = self.index.tick(next);
            self.take(effects);
            self.finish_work(next);
        }
    }

    /// Returns the Pod of an event.
    pub fn pod_of(event: &WatchEvent<Observation>) -> Option<&Observation> {
        match event {
            WatchEvent::Listed(pod) | WatchEvent::Applied(pod) | WatchEvent::Deleted(pod) => Some(pod),
            WatchEvent::Restarted { .. }
            | WatchEvent::Complete
            | WatchEvent::Disconnected { .. }
            | WatchEvent::Resumed => None,
        }
    }

    /// Returns the index.
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// Returns the violations that have fired since [`Self::keeping_reports`], in the order of their times.
    pub fn reported(&self) -> &[Reported] {
        self.reports.as_ref().map_or(&[], |reports| &reports.violations)
    }

    /// Returns the Events that the operator would have written since [`Self::keeping_reports`], in the order of their times.
    pub fn events(&self) -> &[Event] {
        self.reports.as_ref().map_or(&[], |reports| &reports.events)
    }

    /// Returns the number of Pods that were seen.
    pub fn pods(&self) -> usize {
        self.pods.len()
    }

    fn take(&mut self, effects: Effects) {
        let Some(Reports {
            violations: all,
            events,
        }) = &mut self.reports
        else {
            return;
        };
        events.retain(|event| !effects.withdrawn.contains(&event.name));
        events.extend(effects.events);
        for transition in effects.transitions {
            let violation = transition.violation;
            match transition.to {
                Change::Pending | Change::Cleared => {}
                Change::Firing => {
                    self.firing.insert(violation.key(), all.len());
                    all.push(Reported {
                        cause: self.index.cause(&violation).unwrap_or_default(),
                        violation,
                        firing: transition.at,
                        resolved: None,
                    });
                }
                Change::Resolved | Change::Ended => {
                    let position = self.firing.remove(&violation.key());
                    if let Some(reported) = position.and_then(|at| all.get_mut(at)) {
                        reported.resolved = Some(transition.at);
                    }
                }
            }
        }
    }
}
