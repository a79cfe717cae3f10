//! The violations of the checks on images: VersionDrift and CommonCause.
//!
//! [`ImageCounts`](super::images::ImageCounts) keeps the workloads of each version for the policies with such a check, with each
//! Pod that comes, changes and goes. [`FailingImages`](super::causes::FailingImages) keeps those that fail. A repository whose
//! facts change is queued. [`Index::work`] evaluates it after all other work, so that all Pods of an edit or a list are known.
//! While a watch of its Pods is held, it waits.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;

use super::{
    Index,
    causes::Cause,
    checkpoint::Export,
    drift::{self, Drift},
    entry::{PolicyEntry, PolicyId},
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

/// The checks on images.
pub(super) const CHECKS: [Check; 2] = [Check::VersionDrift, Check::CommonCause];

/// A repository under a check of a policy.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ImageKey {
    pub(super) policy: PolicyId,
    pub(super) check: Check,
    pub(super) subject: ImageSubject,
}

impl ImageKey {
    pub(super) fn new(
        (policy, check): (PolicyId, Check),
        namespace: &Arc<str>,
        repository: &Arc<str>,
    ) -> Self {
        Self {
            policy,
            check,
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
        let next = self.queue.changed_from(first_of(policy));
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
    ImageKey::new((policy, Check::ALL[0]), &Arc::default(), &Arc::default())
}

/// The cause of a violation, for the status of its policy.
pub(super) fn detail(policy: &PolicyEntry, check: Check, subject: &ImageSubject) -> String {
    let repository = &subject.repository;
    if check == Check::VersionDrift {
        return drift::detail(&policy.images, repository);
    }
    let limits = policy
        .spec()
        .map(|spec| (policy.key.kind, &spec.checks.common_cause.limits));
    let cause = limits.and_then(|limits| policy.failing_images.cause(limits, repository, &policy.images));
    cause.map_or_else(String::new, |cause| cause.detail())
}

/// Whether a policy has a check on images.
pub(super) fn is_watched(spec: &Policy) -> bool {
    CHECKS.iter().any(|check| spec.mode_of(*check) != Mode::Off)
}

impl Index {
    /// Evaluates at most `units` repositories.
    pub(super) fn evaluate_images(&mut self, mut units: usize, now: Timestamp, effects: &mut Effects) {
        let had_work = self.image_states.queue.has_work();
        while units > 0
            && let Some((key, observed)) = self.image_states.queue.next_changed()
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
        let mut policy = policies.get_mut(&key.policy).map(|policy| &mut **policy);
        if key.check == Check::CommonCause
            && let Some(policy) = &mut policy
        {
            let (repository, generation) = (&key.subject.repository, policy.generation);
            let failing = &mut policy.failing_images;
            if let Some(at) = failing.evaluated_again(repository, generation, now) {
                image_states.queue.set_deadline(key, Some(at));
                return;
            }
            failing.set_evaluated(repository, generation, now);
        }
        let mut state = image_states.states.remove(key).unwrap_or_default();
        let version = policy.as_ref().and_then(|policy| policy.latest.clone());
        let (images, failing) = policy
            .as_mut()
            .map(|policy| policy.take_images())
            .unwrap_or_default();
        let spec = version
            .as_ref()
            .map(|version| &version.spec)
            .filter(|spec| spec.mode_of(key.check) != Mode::Off && images.is_used(&key.subject.repository));
        let kind = policy.as_ref().map(|policy| policy.key.kind);
        let covered: Option<(&Policy, Box<dyn SubjectFacts + '_>)> = spec.zip(kind).map(|(spec, kind)| {
            let facts: Box<dyn SubjectFacts> = if key.check == Check::CommonCause {
                Box::new(Cause::of(key, (kind, spec), &failing, &images))
            } else {
                Box::new(Drift::of(key, &images, spec))
            };
            (spec, facts)
        });
        let facts = covered.as_ref().map(|(spec, facts)| (*spec, &**facts));
        if let (Some(policy), Some(facts)) = (policy.as_deref_mut(), facts) {
            state.take_stored((policy, restored), facts, now);
        }
        // The onset of a common cause is that of the first workload.
        let observed = if key.check == Check::CommonCause {
            Observed::Initial
        } else {
            Observed::Live
        };
        let step = Step {
            now,
            observed,
            durations,
            effects,
        };
        let deadline = state.evaluate(policy.as_deref_mut(), facts, step);
        let is_covered = facts.is_some();
        drop(covered);
        if let Some(policy) = policy {
            policy.images = images;
            policy.failing_images = failing;
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
            state.export((key.policy, key.check), &subject, export);
        }
    }

    /// Joins a checkpoint to the repositories that are known.
    pub(super) fn join_images(&mut self, now: Timestamp) {
        for (key, state) in &mut self.image_states.states {
            let subject = Subject::Image(key.subject.clone());
            state.join(
                (key.policy, key.check),
                &subject,
                &self.policies,
                (&self.restored, now),
            );
        }
    }
}
