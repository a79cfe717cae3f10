//! The status of a policy, without Kubernetes types. Conditions have no times: the writer of the status adds them,
//! because it knows the previous status.

use super::{policy::Check, violation::Violation};

/// The largest number of violations in a status.
pub const LISTED_VIOLATIONS: usize = 20;

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
