//! What an update leads to, as values: Events to write, policies whose status may have changed, lines to log.
//!
//! The index returns [`Effects`]; only the sinks know how they reach the API server.

use std::{collections::BTreeSet, sync::Arc};

use jiff::Timestamp;

use super::policy::{Check, PolicyKey, Severity};

/// Everything that one step of the index asks for.
#[derive(Clone, Debug, Default, PartialEq)]
#[must_use]
pub struct Effects {
    /// Events, in the order in which they happened.
    pub events: Vec<Event>,
    /// Policies whose status may read differently now.
    pub changed: BTreeSet<PolicyKey>,
    /// What happened to violations, for the log.
    pub transitions: Vec<Transition>,
}

impl Effects {
    /// Adds what a later step asks for.
    pub fn append(&mut self, later: Self) {
        let Self {
            events,
            changed,
            transitions,
        } = later;
        self.events.extend(events);
        self.changed.extend(changed);
        self.transitions.extend(transitions);
    }
}

/// A violation that changed its state.
#[derive(Clone, Debug, PartialEq)]
pub struct Transition {
    /// The policy that it is under.
    pub policy: PolicyKey,
    /// The failing check.
    pub check: Check,
    /// How bad it is.
    pub severity: Severity,
    /// The Pod's namespace.
    pub namespace: Arc<str>,
    /// The Pod's name.
    pub pod: Arc<str>,
    /// The Pod's UID.
    pub uid: Arc<str>,
    /// The container's name.
    pub container: Arc<str>,
    /// What happened.
    pub to: Change,
    /// Since when the fault is there.
    pub onset: Timestamp,
    /// When it happened.
    pub at: Timestamp,
}

/// What happened to a violation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The fault is there and its time runs.
    Pending,
    /// The fault lasted.
    Firing,
    /// The fault ended before it fired.
    Cleared,
    /// The fault is gone for long enough.
    Resolved,
    /// The violation ended without a recovery: its Pod is gone or no longer evaluated, its policy is gone, off, or no
    /// longer covers the container.
    Ended,
}

impl Change {
    /// A word for logs.
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

/// An `events.k8s.io/v1` Event to be written.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Its deterministic name: a retry, a restarted operator or a second replica write the same one.
    pub name: String,
    /// The policy that it speaks for; becomes `related`.
    pub policy: PolicyKey,
    /// The policy's UID.
    pub policy_uid: Arc<str>,
    /// The Pod that it is about; becomes `regarding`.
    pub pod: Arc<str>,
    /// The Pod's namespace, and the Event's.
    pub namespace: Arc<str>,
    /// The Pod's UID.
    pub pod_uid: Arc<str>,
    /// `regarding.fieldPath`, such as `spec.initContainers{istio-proxy}`.
    pub field_path: String,
    /// `reason`.
    pub reason: &'static str,
    /// `type: Warning` when true, `Normal` otherwise.
    pub warning: bool,
    /// `note`, at most 1024 bytes.
    pub note: String,
    /// `eventTime`.
    pub at: Timestamp,
    /// How it is to be written.
    pub delivery: Delivery,
}

/// How an Event is written. Every way ends with exactly one object of that name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// Create it; when it is there already it has been written before, and nothing is left to do.
    Create,
    /// Create it; when it is there already, this is a new episode of the same name: set its `series.count` to this.
    CreateOrRaise(u32),
    /// Set `series.count` to this; when the Event has expired, create it again.
    Repeat(u32),
}
