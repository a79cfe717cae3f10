//! An exemption: the violations of some Pods of a namespace that are not announced until a time.
//!
//! An exempted violation is evaluated as always. It has no Event, and no status, series or count of its policy shows it.

use std::sync::Arc;

use jiff::Timestamp;

use super::{
    observation::{Observation, Workload},
    policy::{Check, PolicyKind},
    selector::Selector,
};

/// The number of exemptions of a namespace that have an effect: the oldest.
pub const MAX_EXEMPTIONS_PER_NAMESPACE: usize = 100;

/// An exemption.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exemption {
    /// The namespace, which is also that of its Pods.
    pub namespace: Arc<str>,
    /// The name.
    pub name: Arc<str>,
    /// `metadata.creationTimestamp`.
    pub created: Timestamp,
    /// The Pods.
    pub pods: ExemptedPods,
    /// The names of the containers. Empty: every container.
    pub containers: Vec<Box<str>>,
    /// The checks. Empty: every check of a container.
    pub checks: Vec<Check>,
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
    /// Whether the exemption covers a Pod.
    pub fn selects(&self, pod: &Observation) -> bool {
        self.namespace == pod.namespace
            && match &self.pods {
                ExemptedPods::Selected(selector) => selector.matches(&pod.labels),
                ExemptedPods::Of(workload) => *workload == *pod.workload,
            }
    }

    /// Whether the exemption covers a violation of a container under a policy of this kind. An exemption has no effect on a
    /// `ClusterSidecarPolicy`: those who write exemptions have rights in one namespace only.
    pub fn covers(&self, kind: PolicyKind, container: &str, check: Check) -> bool {
        kind == PolicyKind::SidecarPolicy
            && (self.containers.is_empty() || self.containers.iter().any(|name| **name == *container))
            && (self.checks.is_empty() || self.checks.contains(&check))
    }
}
