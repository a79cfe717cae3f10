//! The status of a policy, without Kubernetes types. Conditions have no times: the writer of the status adds them,
//! because it knows the previous status.

use std::sync::Arc;

use super::{policy::Check, violation::Violation};

/// The largest number of violations in a status.
pub const LISTED_VIOLATIONS: usize = 20;
/// The largest number of image repositories in a status.
pub const LISTED_IMAGES: usize = 10;
/// The largest number of versions of a repository in a status.
pub const LISTED_VERSIONS: usize = 5;

/// The status of one policy.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The `metadata.generation` that the status describes.
    pub generation: i64,
    /// `Ready`, `SidecarsHealthy`, `TargetsFound`, in this order.
    pub conditions: [ReportCondition; 3],
    /// The counts.
    pub summary: Summary,
    /// The counts of each check that has a violation, in the order of the API.
    pub checks: Vec<CheckCounts>,
    /// The first [`LISTED_VIOLATIONS`] violations, in the order of [`Violation`].
    pub violations: Vec<ReportedViolation>,
    /// The number of violations that are not in the list.
    pub omitted: u32,
    /// The versions of the sidecar images.
    pub images: Images,
}

/// The image repositories of the sidecars, with the number of Pods by version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Images {
    /// At most [`LISTED_IMAGES`] repositories, those with the most Pods first.
    pub repositories: Vec<RepositoryImages>,
    /// The number of other repositories. Those of all versions beyond the limit of the index count as one.
    pub omitted: u32,
    /// The sum of the Pods of their versions.
    pub omitted_pods: u32,
}

/// The versions of one image repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepositoryImages {
    /// The repository with its registry.
    pub repository: Arc<str>,
    /// At most [`LISTED_VERSIONS`] versions, those with the most Pods first.
    pub versions: Vec<VersionPods>,
    /// The number of other versions.
    pub omitted: u32,
    /// The sum of the Pods of the other versions.
    pub omitted_pods: u32,
}

impl RepositoryImages {
    /// The sum of the Pods of all versions.
    pub fn pods(&self) -> u32 {
        let listed: u32 = self.versions.iter().map(|version| version.pods).sum();
        listed + self.omitted_pods
    }
}

/// The Pods with one version of a sidecar image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionPods {
    /// The version, as [`ImageVersion`](super::image_version::ImageVersion) displays it.
    pub version: Arc<str>,
    /// The number of Pods.
    pub pods: u32,
}

/// A violation and its cause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportedViolation {
    /// The violation.
    pub violation: Violation,
    /// The cause, from the status of the Pod, and the rollout after which it began. Does not change while the Pod does not
    /// change.
    pub detail: String,
}

/// A condition without its transition time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportCondition {
    /// The type.
    pub kind: &'static str,
    /// `True`, `False`, or `Unknown` for `None`.
    pub status: Option<bool>,
    /// The reason, in CamelCase.
    pub reason: &'static str,
    /// The human-readable message.
    pub message: String,
}

/// The number of Pods, containers and violations of a policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Evaluated Pods that the selectors match, with or without sidecars.
    pub pods: u32,
    /// Sidecars in these Pods.
    pub sidecars: u32,
    /// Main containers in these Pods.
    pub mains: u32,
    /// Violations that fire.
    pub firing: u32,
    /// Violations that are pending.
    pub pending: u32,
    /// Sidecars without a readiness probe. They are ready whenever they run.
    pub without_readiness_probe: u32,
}

/// The number of violations of one check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckCounts {
    /// The check.
    pub check: Check,
    /// Violations that fire.
    pub firing: u32,
    /// Violations that are pending.
    pub pending: u32,
}
