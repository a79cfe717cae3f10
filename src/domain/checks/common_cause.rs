//! CommonCause: sidecars of one image fail the same check in several workloads since about the same time.
//!
//! The check is about images, so it finds nothing in a single Pod. The index keeps the workloads that fail; [`CauseFacts`] is
//! what the messages say about them.

use jiff::{SignedDuration, Timestamp};

use super::{Check, Settings};
use crate::domain::{
    observation::Workload,
    policy::{Mode, PolicyKey, PolicyKind},
    time::{Clock, Human},
};

/// The time within which the workloads begin to fail.
pub const WINDOW: SignedDuration = SignedDuration::from_mins(10);
/// One of this many workloads that use the image must fail: 20 %.
pub const ONE_OF: u64 = 5;
/// Under a `ClusterSidecarPolicy` the workloads of one namespace count as at most this many in the share, so that a tenant
/// cannot hide a fault with its own workloads.
pub const COUNTED_PER_NAMESPACE: usize = 20;
/// The number of workloads that a message lists.
pub const LISTED_WORKLOADS: usize = 3;

/// The limits of CommonCause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The number of workloads that must fail.
    pub workloads: u32,
}

/// Off: only a policy that names the check has it.
impl Default for Settings<Limits> {
    fn default() -> Self {
        let mut settings = Self::with_limits(Limits { workloads: 3 });
        settings.common.mode = Mode::Off;
        settings
    }
}

/// The workloads in which an image fails a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CauseFacts<'a> {
    /// The check that fails.
    pub failed: Check,
    /// The number of workloads that fail.
    pub workloads: usize,
    /// The number of workloads that use the image.
    pub users: usize,
    /// The number of Pods that fail in these workloads.
    pub pods: u32,
    /// The number of namespaces of these workloads.
    pub namespaces: usize,
    /// The time at which the first workload began to fail.
    pub first: Timestamp,
    /// The time at which the latest one began to fail.
    pub latest: Timestamp,
    /// The first of them, at most [`LISTED_WORKLOADS`].
    pub listed: Vec<(&'a str, &'a Workload)>,
}

impl CauseFacts<'_> {
    /// The cause, for the status of the policy.
    pub fn detail(&self) -> String {
        let first = Clock(self.first);
        let latest = Clock(self.latest);
        format!(
            "{}, first at {first}, latest at {latest}: {}",
            self.numbers(),
            self.list()
        )
    }

    /// The note of the Event. The Event of a cluster's policy is in the namespace `default`, so it names no workloads of other
    /// namespaces.
    pub fn note(&self, repository: &str, policy: &PolicyKey) -> String {
        let workloads = match policy.kind {
            PolicyKind::SidecarPolicy => self.list(),
            PolicyKind::ClusterSidecarPolicy => "the status of the policy names workloads".to_owned(),
        };
        format!(
            "The sidecar image '{repository}' fails {} under {policy}, all within {}: {workloads}. \
             Look for a cause that they share: the image, its configuration, or a service that it needs.",
            self.numbers(),
            Human(self.latest.duration_since(self.first)),
        )
    }

    fn numbers(&self) -> String {
        let Self {
            failed,
            workloads,
            users,
            pods,
            namespaces,
            ..
        } = self;
        let namespaces = match namespaces {
            1 => "1 namespace".to_owned(),
            namespaces => format!("{namespaces} namespaces"),
        };
        format!(
            "{} in {workloads} of {users} workloads ({pods} Pods, {namespaces})",
            failed.as_str()
        )
    }

    fn list(&self) -> String {
        let mut names: Vec<String> = self
            .listed
            .iter()
            .map(|(namespace, workload)| format!("{workload} in {namespace}"))
            .collect();
        let others = self.workloads.saturating_sub(self.listed.len());
        if others > 0 {
            names.push(format!("and {others} more"));
        }
        names.join(", ")
    }
}

/// The note of the Event about the end.
pub fn recovered(repository: &str, policy: &PolicyKey, duration: SignedDuration) -> String {
    let duration = Human(duration);
    format!(
        "The sidecar image '{repository}' no longer fails in several workloads since about the same time, after {duration} \
         (CommonCause under {policy})."
    )
}

pub(super) struct Rule;

impl super::SubjectRule for Rule {
    const REASON: &'static str = "SidecarCommonCause";
}
