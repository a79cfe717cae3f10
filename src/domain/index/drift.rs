//! The images of which the Pods of a policy run several versions (VersionDrift), and their violations.
//!
//! [`ImageCounts`] keeps the workloads of each version for the policies with the check, with each Pod that comes, changes and
//! goes. A repository whose Pods change is queued. [`Index::work`] evaluates it after all other work, so that all Pods of an
//! edit or a list are known; while a watch of its Pods is held, it waits.

use std::{collections::BTreeMap, sync::Arc};

use jiff::{SignedDuration, Timestamp};

use super::{
    Index,
    entry::{PolicyEntry, PolicyId},
    images::ImageCounts,
    subjects::{Queue, Step, SubjectFacts, SubjectState},
    watches::{Scope, covers},
    work::Work,
};
use crate::domain::{
    checkpoint::Checkpoint,
    checks::version_drift,
    effects::Effects,
    history::Observed,
    policy::{Check, Mode, Policy, PolicyKey},
    violation::{ImageSubject, Subject},
};

const CHECK: Check = Check::VersionDrift;

/// A repository under a policy.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ImageKey {
    pub(super) policy: PolicyId,
    pub(super) subject: ImageSubject,
}

/// The violations of all policies.
#[derive(Debug, Default)]
pub(super) struct Drifts {
    /// Those with a violation or Events.
    pub(super) states: BTreeMap<ImageKey, SubjectState>,
    /// The repositories to evaluate.
    pub(super) queue: Queue<ImageKey>,
}

/// A repository with Pods.
struct Covered<'a> {
    key: &'a ImageKey,
    images: &'a ImageCounts,
    hold_for: SignedDuration,
    /// The Pods that do not run the newest version.
    lagging: u32,
}

impl SubjectFacts for Covered<'_> {
    fn check(&self) -> Check {
        CHECK
    }

    fn subject(&self) -> Subject {
        Subject::Image(self.key.subject.clone())
    }

    fn hold_for(&self) -> SignedDuration {
        self.hold_for
    }

    fn failing(&self) -> u32 {
        self.lagging
    }

    /// Not known: Pods do not tell when the Pods of the other version came.
    fn since(&self) -> Option<Timestamp> {
        None
    }

    /// Two episodes of an image have one Event, whose count rises.
    fn episode(&self) -> &'static str {
        ""
    }

    fn note(&self, policy: &PolicyKey) -> String {
        let facts = self.images.drift(&self.key.subject.repository);
        facts.note(policy, self.hold_for)
    }

    fn recovered(&self, policy: &PolicyKey, duration: SignedDuration) -> String {
        version_drift::recovered(&self.key.subject.repository, policy, duration)
    }
}

/// Whether the index keeps the workloads of the versions under a policy.
pub(super) fn is_watched(spec: &Policy) -> bool {
    spec.mode_of(CHECK) != Mode::Off
}

impl Drifts {
    /// Queues a repository whose Pods have changed.
    pub(super) fn mark(&mut self, policy: PolicyId, namespace: &Arc<str>, repository: &Arc<str>) {
        let subject = ImageSubject {
            namespace: Arc::clone(namespace),
            repository: Arc::clone(repository),
        };
        self.queue.mark(ImageKey { policy, subject }, Observed::Live);
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
    let subject = ImageSubject {
        namespace: Arc::default(),
        repository: Arc::default(),
    };
    ImageKey { policy, subject }
}

/// The cause of a violation, for the status of its policy.
pub(super) fn detail(policy: &PolicyEntry, subject: &ImageSubject) -> String {
    policy.images.drift(&subject.repository).detail()
}

impl Index {
    /// Evaluates at most `units` repositories.
    pub(super) fn evaluate_images(&mut self, mut units: usize, now: Timestamp, effects: &mut Effects) {
        let had_work = self.drifts.queue.has_work();
        while units > 0
            && let Some((key, observed)) = self.drifts.queue.next_changed()
        {
            units -= 1;
            if self.watches.is_released(&key.subject.namespace) {
                self.evaluate_image(&key, now, effects);
            } else {
                self.drifts.queue.hold(key, observed);
            }
        }
        if had_work && !self.drifts.queue.has_work() {
            self.drop_stored();
        }
    }

    /// Evaluates the repository whose deadline is `at`.
    pub(super) fn reach_image_deadline(&mut self, key: ImageKey, at: Timestamp, effects: &mut Effects) {
        let is_worked_on = self.work.contains(&Work::Policy(key.policy));
        if is_worked_on || !self.watches.is_released(&key.subject.namespace) {
            self.drifts.queue.mark(key, Observed::Live);
        } else {
            self.evaluate_image(&key, at, effects);
        }
    }

    fn evaluate_image(&mut self, key: &ImageKey, now: Timestamp, effects: &mut Effects) {
        let Self {
            drifts,
            policies,
            durations,
            restored,
            ..
        } = self;
        drifts.queue.set_deadline(key, None);
        let mut state = drifts.states.remove(key).unwrap_or_default();
        let mut policy = policies.get_mut(&key.policy).map(|policy| &mut **policy);
        let version = policy.as_ref().and_then(|policy| policy.latest.clone());
        let images = policy.as_mut().map(|policy| std::mem::take(&mut policy.images));
        let images = images.unwrap_or_default();
        let spec = version
            .as_ref()
            .map(|version| &version.spec)
            .filter(|spec| is_watched(spec) && images.is_used(&key.subject.repository));
        let covered = spec.map(|spec| {
            let covered = Covered {
                key,
                images: &images,
                hold_for: spec.checks.version_drift.limits.hold_for,
                lagging: images.lagging_pods(&key.subject.repository),
            };
            (spec, covered)
        });
        let facts = covered
            .as_ref()
            .map(|(spec, covered)| (*spec, covered as &dyn SubjectFacts));
        if let (Some(policy), Some(facts)) = (policy.as_deref_mut(), facts) {
            state.take_stored((policy, restored), facts, now);
        }
        let step = Step {
            now,
            observed: Observed::Live,
            durations,
            effects,
        };
        let deadline = state.evaluate(policy.as_deref_mut(), facts, step);
        let is_covered = facts.is_some();
        if let Some(policy) = policy {
            policy.images = images;
        }
        if is_covered && (state.tracked.is_some() || !state.written.is_empty()) {
            drifts.states.insert(key.clone(), state);
            drifts.queue.set_deadline(key, deadline);
        }
    }

    /// Adds the repositories with a violation or Events to a checkpoint.
    pub(super) fn export_images(&self, checkpoint: &mut Checkpoint) {
        for (key, state) in &self.drifts.states {
            let subject = Subject::Image(key.subject.clone());
            state.export((key.policy, CHECK), &subject, &self.policies, checkpoint);
        }
    }

    /// Joins a checkpoint to the repositories that are known.
    pub(super) fn join_images(&mut self) {
        for (key, state) in &mut self.drifts.states {
            let subject = Subject::Image(key.subject.clone());
            state.join((key.policy, CHECK), &subject, &self.policies, &self.restored);
        }
    }
}
