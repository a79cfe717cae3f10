//! VersionDrift: images of which the Pods of a policy run several versions.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::{image_states::ImageKey, images::ImageCounts, subjects::SubjectFacts};
use crate::domain::{
    checks::version_drift,
    policy::{Check, Policy, PolicyKey},
    violation::Subject,
};

/// A repository with Pods.
pub(super) struct Drift<'a> {
    key: &'a ImageKey,
    images: &'a ImageCounts,
    hold_for: SignedDuration,
    /// The Pods that do not run the newest version.
    lagging: u32,
}

impl<'a> Drift<'a> {
    pub(super) fn of(key: &'a ImageKey, images: &'a ImageCounts, spec: &Policy) -> Self {
        Self {
            key,
            images,
            hold_for: spec.checks.version_drift.limits.hold_for,
            lagging: images.lagging_pods(&key.subject.repository),
        }
    }
}

impl SubjectFacts for Drift<'_> {
    fn check(&self) -> Check {
        Check::VersionDrift
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

/// The cause of a violation, for the status of its policy.
pub(super) fn detail(images: &ImageCounts, repository: &Arc<str>) -> String {
    images.drift(repository).detail()
}
