//! Reads, applies and watches the Lease of the leader election, as a [`NamedObject`].

use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream::BoxStream};
use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::Client;

use super::named_object::{Applied, NamedObject, Version};

/// The fields of a Lease that the election uses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeaseRecord {
    /// The identity of this state of the Lease.
    pub version: Version,
    /// The content.
    pub term: Term,
}

/// The content of a Lease. It changes with each renewal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Term {
    /// `spec.holderIdentity`; empty without a holder.
    pub holder: String,
    /// `spec.leaseDurationSeconds`.
    pub seconds: i32,
    /// `spec.acquireTime`, by the clock of the holder.
    pub acquired: Option<Timestamp>,
    /// `spec.renewTime`, by the clock of the holder.
    pub renewed: Option<Timestamp>,
    /// `spec.leaseTransitions`: the number of changes of the holder.
    pub transitions: i32,
}

impl From<Lease> for LeaseRecord {
    fn from(lease: Lease) -> Self {
        let spec = lease.spec.unwrap_or_default();
        Self {
            version: lease.metadata.into(),
            term: Term {
                holder: spec.holder_identity.unwrap_or_default(),
                seconds: spec.lease_duration_seconds.unwrap_or_default(),
                acquired: spec.acquire_time.map(|time| time.0),
                renewed: spec.renew_time.map(|time| time.0),
                transitions: spec.lease_transitions.unwrap_or_default(),
            },
        }
    }
}

impl From<Term> for Lease {
    fn from(term: Term) -> Self {
        let Term {
            holder,
            seconds,
            acquired,
            renewed,
            transitions,
        } = term;
        Self {
            spec: Some(LeaseSpec {
                holder_identity: (!holder.is_empty()).then_some(holder),
                lease_duration_seconds: Some(seconds),
                acquire_time: acquired.map(MicroTime),
                renew_time: renewed.map(MicroTime),
                lease_transitions: Some(transitions),
                ..LeaseSpec::default()
            }),
            ..Self::default()
        }
    }
}

/// A write of the Lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseWrite {
    /// The version that the Lease must have; `None` if the Lease must not exist.
    pub precondition: Option<Version>,
    /// The new content.
    pub term: Term,
}

/// Access to one Lease.
#[derive(Clone)]
pub struct LeaseClient(NamedObject<Lease>);

impl LeaseClient {
    /// Creates the access of a replica. The client must not retry.
    pub fn new(client: Client, namespace: &str, name: &str) -> Self {
        Self(NamedObject::new(client, namespace, name.to_owned()))
    }

    /// Reads the Lease. Returns `None` if it does not exist.
    pub async fn get(&self) -> Result<Option<LeaseRecord>, kube::Error> {
        Ok(self.0.get().await?.map(LeaseRecord::from))
    }

    /// Writes the Lease if it meets the precondition.
    pub async fn apply(&self, write: &LeaseWrite) -> Result<Applied<LeaseRecord>, kube::Error> {
        let lease = write.term.clone().into();
        let applied = self.0.apply(write.precondition.as_ref(), lease).await?;
        Ok(applied.map(LeaseRecord::from))
    }

    /// Watches the Lease from a version. Returns each later state, `None` if the Lease was deleted.
    pub async fn watch(
        &self,
        version: &Version,
    ) -> Result<BoxStream<'static, Result<Option<LeaseRecord>, kube::Error>>, kube::Error> {
        let states = self.0.watch(version).await?;
        Ok(states.map_ok(|lease| lease.map(LeaseRecord::from)).boxed())
    }
}

/// Reports whether a term was released by its holder, so that another replica may take it over at once. An identity that
/// somebody removed by hand is no release: the holder may still write.
pub fn is_released(term: &Term) -> bool {
    term.holder.is_empty() && term.seconds == RELEASED_SECONDS
}

/// `leaseDurationSeconds` of a released Lease, as client-go writes it.
pub const RELEASED_SECONDS: i32 = 1;

/// Time that a Lease lasts without a renewal.
pub const LEASE_DURATION: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{super::named_object::identified, *};

    fn write(holder: &str) -> Value {
        let version = Version {
            uid: "u".to_owned(),
            resource_version: "7".to_owned(),
        };
        let lease = Lease::from(Term {
            holder: holder.to_owned(),
            seconds: 15,
            acquired: Some("2026-11-20T11:00:00Z".parse().unwrap()),
            renewed: Some("2026-11-20T11:00:02.5Z".parse().unwrap()),
            transitions: 3,
        });
        serde_json::to_value(identified(lease, "sidewatch", &version)).unwrap()
    }

    #[test]
    fn a_write_has_the_precondition_and_the_content() {
        let expected = json!({
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": "sidewatch", "uid": "u", "resourceVersion": "7"},
            "spec": {
                "holderIdentity": "a",
                "leaseDurationSeconds": 15,
                "acquireTime": "2026-11-20T11:00:00.000000Z",
                "renewTime": "2026-11-20T11:00:02.500000Z",
                "leaseTransitions": 3,
            },
        });
        assert_eq!(write("a"), expected);
        let released = write("");
        assert_eq!(released["spec"].get("holderIdentity"), None, "a released Lease");
    }

    #[test]
    fn a_lease_without_content_has_no_holder() {
        let record = LeaseRecord::from(Lease::default());
        assert_eq!(record, LeaseRecord::default());
        assert!(!is_released(&record.term), "it was not released");
    }
}
