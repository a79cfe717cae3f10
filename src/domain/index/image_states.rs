//! The violations of VersionDrift, the check on images.
//!
//! [`ImageCounts`](super::images::ImageCounts) keeps the workloads of each version for the policies with the check, with each
//! Pod that comes, changes and goes. A repository whose facts change is queued. [`Index::work`] evaluates it after the work on the
//! cluster and on its policy, so that all Pods of an edit or a list are known. While a watch of its Pods is held, it waits.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;

use super::{
    Index,
    checkpoint::Export,
    drift::Drift,
    entry::PolicyId,
    subjects::{Queue, Step, SubjectFacts, SubjectState},
    watches::{Scope, covers},
    work::Work,
};
use crate::domain::{
    effects::Effects,
    history::Observed,
    policy::{Check, Mode, Policy},
    violation::{ImageSubject, Subject},
};

/// A repository under a policy.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ImageKey {
    pub(super) policy: PolicyId,
    pub(super) subject: ImageSubject,
}

impl ImageKey {
    pub(super) fn new(policy: PolicyId, namespace: &Arc<str>, repository: &Arc<str>) -> Self {
        Self {
            policy,
            subject: ImageSubject {
                namespace: Arc::clone(namespace),
                repository: Arc::clone(repository),
            },
        }
    }
}

/// The violations of all policies.
#[derive(Debug, Default)]
pub(super) struct ImageStates {
    /// Those with a violation or Events.
    pub(super) states: BTreeMap<ImageKey, SubjectState>,
    /// The repositories to evaluate.
    pub(super) queue: Queue<ImageKey>,
}

impl ImageStates {
    /// Queues a repository whose facts have changed.
    pub(super) fn mark(&mut self, key: ImageKey) {
        self.queue.mark(key, Observed::Live);
    }

    /// Queues the violations of a policy.
    pub(super) fn mark_policy(&mut self, policy: PolicyId) {
        let known = self.states.range(first_of(policy)..);
        let known = known.take_while(|(key, _)| key.policy == policy);
        let keys: Vec<_> = known.map(|(key, _)| key.clone()).collect();
        for key in keys {
            self.queue.mark(key, Observed::Live);
        }
    }

    /// Whether a repository has to be evaluated under a policy.
    pub(super) fn has_work_for(&self, policy: PolicyId) -> bool {
        let next = self.queue.changed_from(&first_of(policy));
        next.is_some_and(|key| key.policy == policy)
    }

    /// Queues what waited for the end of the hold of a watch.
    pub(super) fn release(&mut self, scope: &Scope, now: Timestamp) {
        self.queue.release(now, |key| {
            let namespace = &key.subject.namespace;
            namespace.is_empty() || covers(scope, namespace)
        });
    }
}

/// A key before all keys of a policy.
fn first_of(policy: PolicyId) -> ImageKey {
    ImageKey::new(policy, &Arc::default(), &Arc::default())
}

/// Whether a policy has the check.
pub(super) fn is_watched(spec: &Policy) -> bool {
    spec.mode_of(Check::VersionDrift) != Mode::Off
}

impl Index {
    /// Evaluates at most `units` repositories, except those whose policy has work.
    pub(super) fn evaluate_images(&mut self, mut units: usize, now: Timestamp, effects: &mut Effects) {
        let had_work = self.image_states.queue.has_work();
        let mut from = first_of(PolicyId::MIN);
        while units > 0
            && let Some((key, observed)) = self.image_states.queue.next_changed(&mut from, |key| {
                let waits = self.work.contains(&Work::Policy(key.policy));
                waits.then(|| first_of(key.policy + 1))
            })
        {
            units -= 1;
            if self.watches.is_released(&key.subject.namespace) {
                self.evaluate_image(&key, now, effects);
            } else {
                self.image_states.queue.hold(key, observed);
            }
        }
        if had_work && !self.image_states.queue.has_work() {
            self.drop_stored();
        }
    }

    /// Evaluates the repository whose deadline is `at`.
    pub(super) fn reach_image_deadline(&mut self, key: ImageKey, at: Timestamp, effects: &mut Effects) {
        let is_worked_on = self.work.contains(&Work::Policy(key.policy));
        if is_worked_on || !self.watches.is_released(&key.subject.namespace) {
            self.image_states.queue.mark(key, Observed::Live);
        } else {
            self.evaluate_image(&key, at, effects);
        }
    }

    fn evaluate_image(&mut self, key: &ImageKey, now: Timestamp, effects: &mut Effects) {
        let Self {
            image_states,
            policies,
            durations,
            restored,
            ..
        } = self;
        image_states.queue.set_deadline(key, None);
        let mut state = image_states.states.remove(key).unwrap_or_default();
        let mut policy = policies.get_mut(&key.policy).map(|policy| &mut **policy);
        let version = policy.as_ref().and_then(|policy| policy.latest.clone());
        // Taken out, to read the images beside other parts of the policy.
        let images = policy.as_mut().map(|policy| std::mem::take(&mut policy.images));
        let images = images.unwrap_or_default();
        let spec = version
            .as_ref()
            .map(|version| &version.spec)
            .filter(|spec| is_watched(spec) && images.is_used(&key.subject.repository));
        let drift = spec.map(|spec| (spec, Drift::of(key, &images, spec)));
        let covered = drift
            .as_ref()
            .map(|(spec, drift)| (*spec, drift as &dyn SubjectFacts));
        if let (Some(policy), Some(covered)) = (policy.as_deref_mut(), covered) {
            state.take_stored((policy, restored), covered, now);
        }
        let step = Step {
            now,
            observed: Observed::Live,
            durations,
            effects,
        };
        let deadline = state.evaluate(policy.as_deref_mut(), covered, step);
        let is_covered = covered.is_some();
        if let Some(policy) = policy {
            policy.images = images;
        }
        if is_covered && (state.tracked.is_some() || !state.written.is_empty()) {
            image_states.states.insert(key.clone(), state);
            image_states.queue.set_deadline(key, deadline);
        }
    }

    /// Adds the repositories with a violation or Events to a checkpoint.
    pub(super) fn export_images(&self, export: &mut Export) {
        for (key, state) in &self.image_states.states {
            let subject = Subject::Image(key.subject.clone());
            state.export((key.policy, Check::VersionDrift), &subject, export);
        }
    }

    /// Joins a checkpoint to the repositories that are known.
    pub(super) fn join_images(&mut self, now: Timestamp) {
        for (key, state) in &mut self.image_states.states {
            let subject = Subject::Image(key.subject.clone());
            state.join(
                (key.policy, Check::VersionDrift),
                &subject,
                &self.policies,
                (&self.restored, now),
            );
        }
    }
}
