//! A policy as the evaluation reads it: parsed and validated, with all defaults. `kubernetes::decode::policy` creates
//! it from a `SidecarPolicy` or a `ClusterSidecarPolicy`.

use std::{collections::BTreeSet, num::NonZeroUsize, sync::Arc};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

pub use super::checks::Check;
use super::{
    checks::Checks,
    expected::Expected,
    pattern::{Glob, InvalidPattern, Pattern},
    selector::Selector,
    violation::StoredViolation,
};

/// The kind of a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum PolicyKind {
    /// `SidecarPolicy`: selects Pods in its own namespace.
    SidecarPolicy,
    /// `ClusterSidecarPolicy`: selects Pods in the namespaces that its selector matches.
    ClusterSidecarPolicy,
}

impl PolicyKind {
    /// The kind as the API spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SidecarPolicy => "SidecarPolicy",
            Self::ClusterSidecarPolicy => "ClusterSidecarPolicy",
        }
    }

    /// The kind with this name.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::SidecarPolicy, Self::ClusterSidecarPolicy]
            .into_iter()
            .find(|kind| kind.as_str() == name)
    }
}

/// The identity of a policy across its versions. Displays as `SidecarPolicy pay/mesh`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PolicyKey {
    /// The kind.
    pub kind: PolicyKind,
    /// The namespace; empty for a `ClusterSidecarPolicy`.
    pub namespace: Arc<str>,
    /// The name.
    pub name: Arc<str>,
}

impl std::fmt::Display for PolicyKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.kind {
            PolicyKind::SidecarPolicy => write!(f, "{} {}/{}", self.kind.as_str(), self.namespace, self.name),
            PolicyKind::ClusterSidecarPolicy => write!(f, "{} {}", self.kind.as_str(), self.name),
        }
    }
}

/// One version of a policy object from a watch.
#[derive(Clone, Debug)]
pub struct PolicyUpdate {
    /// The policy.
    pub key: PolicyKey,
    /// `metadata.uid`.
    pub uid: Arc<str>,
    /// `metadata.creationTimestamp`.
    pub created: Timestamp,
    /// `metadata.generation`.
    pub generation: i64,
    /// The spec, or the error in it.
    pub spec: Result<Policy, InvalidSpec>,
    /// The violations in the status of the object. Read only when the policy is first seen.
    pub stored: Vec<StoredViolation>,
}

/// Limits on `SidecarPolicy` objects. `ClusterSidecarPolicy` objects have no limits, because only administrators of the
/// cluster write them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PolicyLimits {
    /// The number of policies of a namespace that are evaluated: the oldest.
    pub per_namespace: NonZeroUsize,
    /// The highest severity of their violations.
    pub severity: Severity,
}

impl Default for PolicyLimits {
    fn default() -> Self {
        Self {
            per_namespace: NonZeroUsize::MIN.saturating_add(49),
            severity: Severity::Critical,
        }
    }
}

/// An error in a spec.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSpec {
    /// A field has an invalid value.
    #[error("{field}: {problem}")]
    Field {
        /// The path of the field, such as `spec.checks.flapping.window`.
        field: String,
        /// The error in its value.
        problem: InvalidField,
    },
    /// The object does not match the types of the API.
    #[error("the object cannot be decoded: {0}; correct it, or install the CRDs of this version")]
    Undecodable(String),
}

/// An error in the value of a field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidField {
    /// The value is outside its bounds, which are both included.
    #[error("{value} is not between {min} and {max}")]
    OutOfRange {
        /// The value as written.
        value: String,
        /// The lower bound.
        min: &'static str,
        /// The upper bound.
        max: &'static str,
    },
    /// The value is not a duration.
    #[error("{0}")]
    Duration(String),
    /// The value is not a regular expression, or is too costly.
    #[error("{value:?} is not a valid regular expression, such as helper-.*: {error}")]
    Pattern {
        /// The value as written.
        value: String,
        /// The error of the parser.
        error: InvalidPattern,
    },
    /// The operator In or NotIn has no values.
    #[error("operator {0} needs at least one value")]
    NoValues(&'static str),
    /// The value is not a time.
    #[error("{0:?} is not a time with a time zone, such as 2026-03-01T18:00:00Z")]
    Time(String),
    /// A field of an exemption is invalid.
    #[error("{0}")]
    Exemption(&'static str),
    /// An entry of `spec.expected` is invalid.
    #[error("{0}")]
    Expected(&'static str),
    /// The operator Exists or DoesNotExist has values.
    #[error("operator {0} takes no values: remove them, or use In or NotIn")]
    Values(&'static str),
}

/// A valid spec.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// The mode of the policy. The stricter of this and the mode of a check applies.
    pub mode: Mode,
    /// Selects namespaces. A `SidecarPolicy` always selects its own namespace only.
    pub namespaces: Selector,
    /// The exemptions that hide violations of a `ClusterSidecarPolicy`. `None`: none. For a `SidecarPolicy` this is always
    /// `None`, and the exemptions of its namespace hide its violations.
    pub exemptions: Option<AllowedExemptions>,
    /// Selects Pods in these namespaces.
    pub pods: Selector,
    /// The rules that find the sidecars among the containers.
    pub sidecars: SidecarRules,
    /// The names of the main containers; empty means all regular containers that are not sidecars.
    pub mains: BTreeSet<Box<str>>,
    /// The sidecars that Pods must have, for the check SidecarMissing. At most [`MAX_EXPECTED`](super::expected::MAX_EXPECTED).
    pub expected: Vec<Expected>,
    /// The settings of the checks.
    pub checks: Checks,
    /// The period in which the Event of a firing violation is repeated.
    pub repeat_period: SignedDuration,
    /// Whether a recovery has an Event.
    pub recovery_events: bool,
    /// The URL of the runbook; may be empty.
    pub runbook_url: Box<str>,
}

impl Policy {
    /// The mode of one check: the stricter of the policy's mode and its own.
    pub fn mode_of(&self, check: Check) -> Mode {
        self.mode.max(self.checks.common(check).mode)
    }

    /// The patterns of names.
    pub fn patterns_mut(&mut self) -> impl Iterator<Item = &mut Pattern> {
        let SidecarRules {
            name_pattern,
            exclude_pattern,
            ..
        } = &mut self.sidecars;
        let expected = self.expected.iter_mut().filter_map(Expected::pattern_mut);
        name_pattern.iter_mut().chain(exclude_pattern).chain(expected)
    }

    /// The expected sidecar with this name, unless the check SidecarMissing is off.
    pub fn expected_sidecar(&self, name: &str) -> Option<&Expected> {
        let mut expected = self.expected.iter();
        let entry = expected.find(|entry| *entry.name == *name)?;
        (self.mode_of(Check::SidecarMissing) != Mode::Off).then_some(entry)
    }
}

/// The exemptions that hide violations of a `ClusterSidecarPolicy`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowedExemptions {
    /// Selects the namespaces of these exemptions.
    pub namespaces: Selector,
    /// How long after its creation an exemption hides violations.
    pub max_duration: SignedDuration,
}

/// The mode of a policy or a check. Later variants are stricter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Mode {
    /// Events, status and metrics.
    #[default]
    Alert,
    /// Status and metrics.
    Observe,
    /// Nothing is evaluated.
    Off,
}

/// The severity of a violation. Later variants are more severe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Severity {
    /// Informational.
    Info,
    /// To be examined during working hours.
    Warning,
    /// To be examined immediately.
    Critical,
}

/// The rules that find the sidecars among the containers of a Pod.
#[derive(Clone, Debug, PartialEq)]
pub struct SidecarRules {
    /// Native sidecars are sidecars.
    pub native: bool,
    /// Regular containers in the built-in catalogue are sidecars.
    pub well_known: bool,
    /// Regular containers with these names are sidecars.
    pub names: BTreeSet<Box<str>>,
    /// Regular containers whose name matches are sidecars.
    pub name_pattern: Option<Pattern>,
    /// Regular containers whose image repository matches are sidecars.
    pub images: Vec<Glob>,
    /// Containers with these names are not sidecars, native ones included.
    pub exclude_names: BTreeSet<Box<str>>,
    /// Containers whose name matches are not sidecars, native ones included.
    pub exclude_pattern: Option<Pattern>,
}
