//! VersionDrift: the Pods of a policy run more than one version of a sidecar image.
//!
//! The check is about images, so it finds nothing in a single Pod. The index counts the Pods of each version and keeps
//! their workloads; [`DriftFacts`] is what the messages say about them.

use jiff::SignedDuration;

use super::{
    Settings,
    messages::{for_more_than, restart_command},
};
use crate::domain::{
    observation::Workload,
    policy::{Mode, PolicyKey, PolicyKind},
    time::Human,
};

/// The number of versions that a message lists.
const LISTED_VERSIONS: usize = 3;
/// The number of workloads that a message lists.
pub const LISTED_WORKLOADS: usize = 3;

/// The limits of VersionDrift.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How long several versions may run.
    pub hold_for: SignedDuration,
}

/// Off: only a policy that names the check has it.
impl Default for Settings<Limits> {
    fn default() -> Self {
        let mut settings = Self::with_limits(Limits {
            hold_for: SignedDuration::from_hours(7 * 24),
        });
        settings.common.mode = Mode::Off;
        settings
    }
}

/// An image that runs in several versions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DriftFacts<'a> {
    /// The repository with its registry.
    pub repository: &'a str,
    /// The versions with the number of Pods: the newest first if they have an order, otherwise those with the most Pods.
    pub versions: Vec<(&'a str, u32)>,
    /// The workloads on a version before the newest. `None` if the versions have no order.
    pub laggards: Option<Laggards<'a>>,
}

/// Workloads with the namespaces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Laggards<'a> {
    /// At most [`LISTED_WORKLOADS`].
    pub listed: Vec<(&'a str, &'a Workload)>,
    /// The number of others.
    pub others: usize,
}

impl DriftFacts<'_> {
    /// The cause, for the status of the policy.
    pub fn detail(&self) -> String {
        let versions = self.list();
        let number = self.versions.len();
        format!("{number} versions run: {versions}{}", self.behind())
    }

    /// The note of the Event. The Event of a cluster's policy is in the namespace `default`, so it names no workloads of other
    /// namespaces.
    pub fn note(&self, policy: &PolicyKey, hold_for: SignedDuration) -> String {
        let number = self.versions.len();
        let limit = for_more_than(hold_for);
        let behind = match policy.kind {
            PolicyKind::SidecarPolicy => self.behind(),
            PolicyKind::ClusterSidecarPolicy if self.laggards.is_some() => {
                "; the status of the policy names workloads that are behind".to_owned()
            }
            PolicyKind::ClusterSidecarPolicy => String::new(),
        };
        format!(
            "The sidecar image '{}' runs in {number} versions{limit} under {policy}: {}{behind}.",
            self.repository,
            self.list(),
        )
    }

    fn list(&self) -> String {
        let listed = self.versions.iter().take(LISTED_VERSIONS);
        let mut list: Vec<String> = listed
            .map(|(version, pods)| format!("{version} in {pods} {}", if *pods == 1 { "Pod" } else { "Pods" }))
            .collect();
        let others = self.versions.len().saturating_sub(LISTED_VERSIONS);
        if others > 0 {
            list.push(format!("and {others} more"));
        }
        list.join(", ")
    }

    /// The workloads that are behind, and how to move them.
    fn behind(&self) -> String {
        let Some(Laggards { listed, others }) = &self.laggards else {
            return "; these versions have no order, so it is not known which workloads are behind"
                .to_owned();
        };
        let newest = self.versions.first().map_or("", |(version, _)| version);
        let names: Vec<String> = listed
            .iter()
            .map(|(namespace, workload)| format!("{workload} in {namespace}"))
            .collect();
        let others = match others {
            0 => String::new(),
            others => format!(" and {others} more"),
        };
        format!(
            "; behind {newest}: {}{others}; {}",
            names.join(", "),
            advice(listed)
        )
    }
}

/// How the first workload that can be restarted gets the new version.
fn advice(listed: &[(&str, &Workload)]) -> String {
    let mut commands = listed
        .iter()
        .filter_map(|(namespace, workload)| restart_command(workload, namespace));
    let injected = match commands.next() {
        Some(command) => format!("an injected sidecar gets the new version with new Pods: {command}"),
        None => "an injected sidecar gets the new version with new Pods".to_owned(),
    };
    format!("{injected}; for a sidecar in the Pod template, change its image there")
}

/// The note of the Event about the end.
pub fn recovered(repository: &str, policy: &PolicyKey, duration: SignedDuration) -> String {
    let duration = Human(duration);
    format!(
        "The sidecar image '{repository}' runs in one version now, after {duration} (VersionDrift under {policy})."
    )
}

pub(super) struct Rule;

impl super::SubjectRule for Rule {
    const REASON: &'static str = "SidecarVersionDrift";
}
