//! The results of an update: Events to write, policies whose status may have changed, and state changes for the log.
//! The index returns [`Effects`]; the sinks write them to the API server.

use std::{collections::BTreeSet, sync::Arc};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    checkpoint::wire,
    exemption::ExemptionKey,
    policy::{PolicyKey, Severity},
    violation::Violation,
};

/// The results of one step of the index.
#[derive(Clone, Debug, Default, PartialEq)]
#[must_use]
pub struct Effects {
    /// Events, in the order in which they happened.
    pub events: Vec<Event>,
    /// The names of earlier Events about changes that did not happen. They need not be written.
    pub withdrawn: Vec<String>,
    /// Policies whose status may have changed.
    pub changed: BTreeSet<PolicyKey>,
    /// Exemptions whose status may have changed.
    pub exemptions: BTreeSet<ExemptionKey>,
    /// The list of exemptions has to be read again.
    pub relist_exemptions: bool,
    /// State changes of violations, for the log.
    pub transitions: Vec<Transition>,
}

impl Effects {
    /// Adds the results of a later step.
    pub fn append(&mut self, later: Self) {
        let Self {
            events,
            withdrawn,
            changed,
            exemptions,
            relist_exemptions,
            transitions,
        } = later;
        self.events.extend(events);
        self.withdrawn.extend(withdrawn);
        self.changed.extend(changed);
        self.exemptions.extend(exemptions);
        self.relist_exemptions |= relist_exemptions;
        self.transitions.extend(transitions);
    }
}

/// A state change of a violation.
#[derive(Clone, Debug, PartialEq)]
pub struct Transition {
    /// The violation after the change. If it has ended: its last state.
    pub violation: Violation,
    /// The change.
    pub to: Change,
    /// The time of the change.
    pub at: Timestamp,
}

/// A kind of state change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The fault began; the violation fires when the fault has lasted long enough.
    Pending,
    /// The fault has lasted long enough.
    Firing,
    /// The fault ended before the violation fired.
    Cleared,
    /// The fault has been gone for long enough.
    Resolved,
    /// The violation ended without a recovery: the Pod was deleted or is no longer evaluated, or the policy was deleted,
    /// is off, or no longer covers the container.
    Ended,
}

impl Change {
    /// The name in the log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Firing => "firing",
            Self::Cleared => "cleared",
            Self::Resolved => "resolved",
            Self::Ended => "ended",
        }
    }
}

/// The reason of the Event about a recovery.
pub const RECOVERED: &str = "SidecarRecovered";

/// A reason of an Event. The alias tells serde that it is not borrowed.
type Reason = &'static str;

/// An `events.k8s.io/v1` Event to write.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Event {
    /// `metadata.name`. It is computed from the objects, so that a retry, a restarted operator and a second replica
    /// write the same object.
    pub name: String,
    /// The policy of the violation; becomes `related`.
    pub policy: PolicyKey,
    /// The UID of the policy.
    #[serde(with = "wire::uid")]
    pub policy_uid: Arc<str>,
    /// The namespace of the object and of the Event.
    pub namespace: Arc<str>,
    /// The object that the Event is about.
    pub regarding: Regarding,
    /// `reason`.
    #[serde(with = "wire::reason")]
    pub reason: Reason,
    /// `type: Warning` when true, `type: Normal` otherwise.
    pub warning: bool,
    /// The severity of the violation.
    pub severity: Severity,
    /// The names of the Events that announced the fault, if this Event says that it has ended; otherwise empty.
    pub recovers: Vec<String>,
    /// `note`, at most 1024 bytes.
    pub note: String,
    /// `eventTime`.
    #[serde(with = "wire::time")]
    pub at: Timestamp,
    /// How the Event is written.
    pub delivery: Delivery,
}

impl Event {
    /// The object whose Events are limited together: its UID, or its name without one.
    pub fn object_key(&self) -> Arc<str> {
        let Regarding { kind, name, uid, .. } = &self.regarding;
        if uid.is_empty() {
            format!("{}/{kind}/{name}", self.namespace).into()
        } else {
            Arc::clone(uid)
        }
    }
}

/// The object that an Event is about; becomes `regarding`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Regarding {
    /// `kind`: `Pod`, or the kind of a workload.
    pub kind: Arc<str>,
    /// `name`
    pub name: Arc<str>,
    /// `uid`; empty for a workload, because its Pods name only their direct owner.
    #[serde(with = "wire::uid")]
    pub uid: Arc<str>,
    /// `fieldPath`, such as `spec.initContainers{istio-proxy}`; empty for a workload.
    pub field_path: String,
}

/// How an Event is written. Each variant results in exactly one object with the name of the Event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Delivery {
    /// Create the object. If it exists, an earlier write has succeeded and nothing more is necessary.
    Create,
    /// Create the object. If it exists, this is a new episode with the same name: set `series.count` to this number.
    CreateOrRaise(u32),
    /// Set `series.count` to this number. If the Event has expired, create it again.
    Repeat(u32),
}
