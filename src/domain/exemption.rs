//! An exemption: the violations of some Pods of a namespace that are not announced until a time.
//!
//! An exempted violation is evaluated as always. It has no Event, and no status, series or count of its policy shows it.

use std::{fmt, num::NonZeroU32, sync::Arc};

use jiff::Timestamp;

use super::{
    observation::{Observation, Workload},
    policy::{Check, InvalidSpec, PolicyKey},
    selector::Selector,
};

/// The number of exemptions of a namespace that have an effect: the oldest.
pub const MAX_EXEMPTIONS_PER_NAMESPACE: usize = 100;
/// The number of exemptions of a namespace that are known: the oldest. Those above [`MAX_EXEMPTIONS_PER_NAMESPACE`] are kept
/// without their spec.
pub const MAX_KNOWN_PER_NAMESPACE: usize = 1_000;
/// The number of hidden violations in a report.
pub const LISTED_HIDDEN: usize = 10;

/// The reason of the Event about the first firing violation that an exemption hides.
pub const EXEMPTION_ACTIVE: &str = "ExemptionActive";
/// The reason of the Event about the end of an exemption that has hidden a firing violation.
pub const EXEMPTION_ENDED: &str = "ExemptionEnded";

/// The identity of an exemption.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExemptionKey {
    /// The namespace, which is also that of its Pods.
    pub namespace: Arc<str>,
    /// The name.
    pub name: Arc<str>,
}

impl fmt::Display for ExemptionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SidecarExemption {}/{}", self.namespace, self.name)
    }
}

/// The number of an exemption in the index. A number is never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExemptionId(pub NonZeroU32);

/// A version of an exemption.
#[derive(Clone, Debug, PartialEq)]
pub struct ExemptionUpdate {
    /// The identity.
    pub key: ExemptionKey,
    /// `metadata.uid`.
    pub uid: Arc<str>,
    /// `metadata.creationTimestamp`.
    pub created: Timestamp,
    /// `metadata.generation`.
    pub generation: i64,
    /// The spec, or its first error.
    pub spec: Result<Exemption, InvalidSpec>,
    /// What it covers, as the columns of kubectl show it.
    pub shown: Shown,
    /// The policy of the first violation that the status lists as hidden. Read only when the exemption is first seen.
    pub hid: Option<PolicyKey>,
}

/// What an exemption covers, as texts of bounded length.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// The workload or the selector.
    pub workload: Box<str>,
    /// The checks.
    pub checks: Box<str>,
}

/// The spec of an exemption.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exemption {
    /// The Pods.
    pub pods: ExemptedPods,
    /// The names of the containers. Empty: every container.
    pub containers: Vec<Box<str>>,
    /// The checks. Empty: every check of a container.
    pub checks: Vec<Check>,
    /// Why the violations are exempt, in the words of the author.
    pub reason: Box<str>,
    /// The time at which the exemption ends.
    pub until: Timestamp,
}

/// The Pods that an exemption covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExemptedPods {
    /// The Pods with these labels.
    Selected(Selector),
    /// The Pods of a workload.
    Of(Workload),
}

impl Exemption {
    /// Whether the exemption covers a Pod of its namespace.
    pub fn selects(&self, pod: &Observation) -> bool {
        match &self.pods {
            ExemptedPods::Selected(selector) => selector.matches(&pod.labels),
            ExemptedPods::Of(workload) => *workload == *pod.workload,
        }
    }

    /// Whether the exemption covers a violation of a container.
    pub fn covers(&self, container: &str, check: Check) -> bool {
        (self.containers.is_empty() || self.containers.iter().any(|name| **name == *container))
            && (self.checks.is_empty() || self.checks.contains(&check))
    }
}

/// What the status of an exemption shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExemptionReport {
    /// The generation of the spec in use.
    pub generation: i64,
    /// What it covers.
    pub shown: Shown,
    /// Whether the exemption has an effect.
    pub state: ExemptionState,
    /// The number of firing violations that it hides.
    pub hides: u32,
    /// The oldest of these violations, at most [`LISTED_HIDDEN`].
    pub hidden: Vec<HiddenViolation>,
    /// The policy of the first hidden violation. The status waits for its Events.
    pub policy: Option<PolicyKey>,
}

/// Whether an exemption has an effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExemptionState {
    /// It hides the violations that it covers until this time.
    Active(Timestamp),
    /// Its time is over.
    Ended(Timestamp),
    /// The namespace has too many older exemptions.
    OverLimit,
    /// The spec is invalid.
    Invalid(InvalidSpec),
}

/// A firing violation that an exemption hides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HiddenViolation {
    /// The Pod.
    pub pod: Arc<str>,
    /// The container.
    pub container: Arc<str>,
    /// The check.
    pub check: Check,
    /// The policy.
    pub policy: PolicyKey,
    /// The time at which the fault began.
    pub since: Timestamp,
}
