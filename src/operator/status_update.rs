//! The changes of the status sinks that an input requires.

use crate::{
    api::SidecarExemptionStatus,
    domain::{
        exemption::ExemptionKey,
        index::Scope,
        policy::{PolicyKey, PolicyKind},
    },
    kubernetes::{
        decode::policy::status::ObservedStatus,
        inputs::{Input, ObservedExemption},
        watch::WatchEvent,
    },
};

/// The change of the status sinks that an input requires.
pub(super) enum StatusUpdate {
    /// The status of a policy was observed.
    Observed(PolicyKey, ObservedStatus),
    /// A policy was deleted.
    Deleted(PolicyKey),
    /// A list of policies is complete.
    Listed(PolicyKind, Scope),
    /// The status of an exemption was observed.
    Exemption(ExemptionKey, Box<ObservedStatus<SidecarExemptionStatus>>),
    /// An exemption was deleted.
    ExemptionDeleted(ExemptionKey),
    /// A list of exemptions is complete.
    ExemptionsListed(Scope),
    /// The input does not concern the status sinks.
    Other,
}

impl StatusUpdate {
    pub(super) fn new(input: &Input) -> Self {
        let (kind, scope, event) = match input {
            Input::Policy(kind, scope, event) => (kind, scope, event),
            Input::Exemption(scope, event) => return Self::of_exemption(scope, event),
            Input::Pod(..) | Input::Namespace(_) => return Self::Other,
        };
        match event {
            WatchEvent::Listed(policy) | WatchEvent::Applied(policy) => {
                Self::Observed(policy.update.key.clone(), policy.status.clone())
            }
            WatchEvent::Deleted(policy) => Self::Deleted(policy.update.key.clone()),
            WatchEvent::Complete => Self::Listed(*kind, scope.clone()),
            WatchEvent::Restarted { .. } | WatchEvent::Disconnected { .. } | WatchEvent::Resumed => {
                Self::Other
            }
        }
    }

    fn of_exemption(scope: &Scope, event: &WatchEvent<Box<ObservedExemption>>) -> Self {
        match event {
            WatchEvent::Listed(exemption) | WatchEvent::Applied(exemption) => {
                Self::Exemption(exemption.update.key.clone(), Box::new(exemption.status.clone()))
            }
            WatchEvent::Deleted(exemption) => Self::ExemptionDeleted(exemption.update.key.clone()),
            WatchEvent::Complete => Self::ExemptionsListed(scope.clone()),
            WatchEvent::Restarted { .. } | WatchEvent::Disconnected { .. } | WatchEvent::Resumed => {
                Self::Other
            }
        }
    }
}
