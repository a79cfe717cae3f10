//! The actions of a scenario.

use std::time::Duration;

use serde::Deserialize;

use super::duration;

/// An action of a scenario.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Step {
    /// Waits this long.
    #[serde(deserialize_with = "duration")]
    Pause(Duration),
    /// Runs kubectl with these arguments, in the namespace of the scenario.
    Kubectl(Vec<String>),
    /// Lets an exemption end by itself.
    EndExemption(EndExemption),
    /// Evicts a Pod, as `kubectl drain` does.
    Evict(String),
    /// Waits for an Event of Sidewatch with this reason in the namespace.
    Await(String),
    /// Disturbs the test node.
    Node(NodeAction),
    /// Kills the sandbox process of a Pod on the test node.
    LoseSandbox(String),
}

/// The end of an exemption.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndExemption {
    /// Its name.
    pub name: String,
    /// The time from now to its end.
    #[serde(deserialize_with = "duration")]
    pub after: Duration,
}

/// Disturbance of the test node or its control plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[allow(missing_docs, reason = "the names are sufficient")]
pub enum NodeAction {
    StopKubelet,
    StartKubelet,
    StopContainerd,
    StartContainerd,
    RestartApiServer,
    /// Adds a Node object without a kubelet: Pods are not evicted when all nodes are lost.
    AddSecondNode,
    RemoveSecondNode,
}
