//! SidecarMissing: Pods of a workload lack a sidecar that they must have (`spec.expected`).
//!
//! The check is about workloads, so it finds nothing in a single Pod. The index keeps [`MissingFacts`] for each workload.

use jiff::SignedDuration;

use super::{
    Settings,
    messages::{for_more_than, restart_command},
};
use crate::domain::{observation::Workload, policy::PolicyKey, time::Human};

/// The limits of SidecarMissing. Each entry of `spec.expected` has its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits;

impl Default for Settings<Limits> {
    fn default() -> Self {
        Self::with_limits(Limits)
    }
}

/// The Pods of a workload that must have a sidecar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MissingFacts<'a> {
    /// The namespace of the workload.
    pub namespace: &'a str,
    /// The workload.
    pub workload: &'a Workload,
    /// The name that the policy gives the sidecar.
    pub sidecar: &'a str,
    /// The Pods that must have the sidecar.
    pub required: u32,
    /// Those of them that lack it.
    pub lacking: u32,
    /// Those that lack it and were created before the policy.
    pub before_policy: u32,
    /// The newest Pod that lacks it.
    pub example: &'a str,
}

impl MissingFacts<'_> {
    /// The cause, for the status of the policy.
    pub fn detail(&self) -> String {
        let Self { sidecar, example, .. } = self;
        let counts = self.counts();
        let advice = self.advice();
        format!("{counts} lack the sidecar {sidecar}, such as {example}; {advice}")
    }

    /// The note of the Event.
    pub fn note(&self, policy: &PolicyKey, hold_for: SignedDuration) -> String {
        let Self {
            workload,
            sidecar,
            example,
            ..
        } = self;
        let counts = self.counts();
        let limit = for_more_than(hold_for);
        let advice = self.advice();
        format!(
            "{counts} of {workload} lack the sidecar '{sidecar}'{limit}, which {policy} expects in them, such as Pod \
             {example}. They run without what it provides; {advice}."
        )
    }

    /// The note of the Event about the end.
    pub fn recovered(&self, policy: &PolicyKey, duration: SignedDuration) -> String {
        let Self {
            workload, sidecar, ..
        } = self;
        let duration = Human(duration);
        format!(
            "All Pods of {workload} have the sidecar '{sidecar}' now, after {duration} (SidecarMissing under {policy})."
        )
    }

    fn counts(&self) -> String {
        format!("{} of {} Pods", self.lacking, self.required)
    }

    fn advice(&self) -> String {
        let Self {
            namespace,
            workload,
            lacking,
            before_policy,
            ..
        } = self;
        let when = match (*before_policy, lacking - before_policy) {
            (_, 0) => "created before the policy".to_owned(),
            (0, _) => "created after the policy, so examine the injector".to_owned(),
            (before, after) => {
                format!("{before} created before the policy, {after} after it, so examine the injector")
            }
        };
        match restart_command(workload, namespace) {
            Some(command) => format!("{when}; restart the workload to inject it: {command}"),
            None => format!("{when}; a Pod gets the sidecar only when it is created"),
        }
    }
}

pub(super) struct Rule;

impl super::SubjectRule for Rule {
    const REASON: &'static str = "SidecarMissing";
}
