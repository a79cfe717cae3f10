//! What a policy's status says, as a value without Kubernetes types. Conditions carry no times: those belong to
//! whoever writes them, who knows what stood there before.

use std::sync::Arc;

use jiff::Timestamp;

use super::policy::{Check, Severity};

/// How many violations a status lists.
pub const LISTED_VIOLATIONS: usize = 20;

/// The status of one policy.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The `metadata.generation` that this speaks of.
    pub generation: i64,
    /// `Ready`, `SidecarsHealthy`, `TargetsFound`, in this order.
    pub conditions: [ReportCondition; 3],
    /// The counts.
    pub summary: Summary,
    /// The counts per check that has any violation, in the order of the API.
    pub checks: Vec<CheckCounts>,
    /// The first violations in the order severity, namespace, workload, Pod, container, check.
    pub violations: Vec<Violation>,
    /// How many more there are.
    pub omitted: u32,
}

/// A condition without its transition time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportCondition {
    /// The type.
    pub kind: &'static str,
    /// `True`, `False`, or `Unknown` for `None`.
    pub status: Option<bool>,
    /// The reason, CamelCase.
    pub reason: &'static str,
    /// A sentence that a person can act on.
    pub message: String,
}

/// What a policy covers, and how much of it fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Evaluated Pods that the selectors match, with sidecars or without.
    pub pods: u32,
    /// Sidecars in them.
    pub sidecars: u32,
    /// Main containers in them.
    pub mains: u32,
    /// Violations that fire.
    pub firing: u32,
    /// Violations that are pending.
    pub pending: u32,
    /// Sidecars that are ready whenever they run.
    pub without_readiness_probe: u32,
}

/// The violations of one check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckCounts {
    /// The check.
    pub check: Check,
    /// How many fire.
    pub firing: u32,
    /// How many are pending.
    pub pending: u32,
}

/// One violation as the status and the metrics show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The failing check.
    pub check: Check,
    /// Whether it fires, or is pending.
    pub firing: bool,
    /// How bad it is.
    pub severity: Severity,
    /// The Pod's namespace.
    pub namespace: Arc<str>,
    /// The Pod's workload, `Deployment/web`.
    pub workload: String,
    /// The Pod's name.
    pub pod: Arc<str>,
    /// The container's name.
    pub container: Arc<str>,
    /// Whether that is a native sidecar.
    pub native: bool,
    /// Since when the fault is there.
    pub since: Timestamp,
    /// What the Pod's status tells about it, without times that move.
    pub detail: String,
}
