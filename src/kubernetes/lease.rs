//! Reads, applies and watches the Lease of the leader election.
//!
//! The Lease is written by server-side apply only, so each verb of the role can name the object. A write to an existing Lease
//! requires the UID and the version that were read. A write that creates the Lease uses no force: if another replica has
//! created it, that replica owns the fields, and the API server responds with a conflict. Each replica therefore needs a
//! field manager of its own.

use std::time::Duration;

use futures::{Stream, StreamExt, TryStreamExt, future::ready};
use http::StatusCode;
use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};
use kube::{
    Api, Client,
    api::{Patch, PatchParams, WatchEvent, WatchParams},
};

/// Server-side timeout of a watch in seconds.
const WATCH_SECONDS: u32 = 60;

/// The fields of a Lease that the election uses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeaseRecord {
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.resourceVersion`.
    pub version: String,
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
            uid: lease.metadata.uid.unwrap_or_default(),
            version: lease.metadata.resource_version.unwrap_or_default(),
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

/// A write of the Lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseWrite {
    /// UID and version that the Lease must have; `None` if the Lease must not exist.
    pub precondition: Option<(String, String)>,
    /// The new content.
    pub term: Term,
}

impl LeaseWrite {
    /// Returns the object to apply.
    fn object(&self, name: &str) -> Lease {
        let Term {
            holder,
            seconds,
            acquired,
            renewed,
            transitions,
        } = self.term.clone();
        let (uid, resource_version) = self.precondition.clone().unzip();
        Lease {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                uid,
                resource_version,
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                holder_identity: (!holder.is_empty()).then_some(holder),
                lease_duration_seconds: Some(seconds),
                acquire_time: acquired.map(MicroTime),
                renew_time: renewed.map(MicroTime),
                lease_transitions: Some(transitions),
                ..LeaseSpec::default()
            }),
        }
    }
}

/// Result of an apply that the API server answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Applied {
    /// The Lease after the write.
    Written(LeaseRecord),
    /// The Lease does not meet the precondition.
    Conflict,
}

/// Access to one Lease.
#[derive(Clone)]
pub struct LeaseClient {
    api: Api<Lease>,
    name: String,
    field_manager: String,
}

impl LeaseClient {
    /// Creates the access of a replica. The client must not retry. The field manager must be unique among the replicas.
    pub fn new(client: Client, namespace: &str, name: &str, field_manager: &str) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            name: name.to_owned(),
            field_manager: field_manager.to_owned(),
        }
    }

    /// Reads the Lease. Returns `None` if it does not exist.
    pub async fn get(&self) -> Result<Option<LeaseRecord>, kube::Error> {
        Ok(self.api.get_opt(&self.name).await?.map(LeaseRecord::from))
    }

    /// Writes the Lease if it meets the precondition.
    pub async fn apply(&self, write: &LeaseWrite) -> Result<Applied, kube::Error> {
        let params = PatchParams {
            force: write.precondition.is_some(),
            ..PatchParams::apply(&self.field_manager)
        };
        let patch = Patch::Apply(write.object(&self.name));
        match self.api.patch(&self.name, &params, &patch).await {
            Ok(lease) => Ok(Applied::Written(lease.into())),
            Err(kube::Error::Api(status))
                if [StatusCode::CONFLICT, StatusCode::NOT_FOUND]
                    .map(|code| code.as_u16())
                    .contains(&status.code) =>
            {
                Ok(Applied::Conflict)
            }
            Err(error) => Err(error),
        }
    }

    /// Watches the Lease from a version. Returns each later state, `None` if the Lease was deleted.
    pub async fn watch(
        &self,
        version: &str,
    ) -> Result<impl Stream<Item = Result<Option<LeaseRecord>, kube::Error>> + Send + use<>, kube::Error>
    {
        let params = WatchParams::default()
            .fields(&format!("metadata.name={}", self.name))
            .timeout(WATCH_SECONDS);
        let events = self.api.watch(&params, version).await?;
        let states = events.try_filter_map(|event| {
            ready(match event {
                WatchEvent::Added(lease) | WatchEvent::Modified(lease) => Ok(Some(Some(lease.into()))),
                WatchEvent::Deleted(_) => Ok(Some(None)),
                WatchEvent::Bookmark(_) => Ok(None),
                WatchEvent::Error(status) => Err(kube::Error::Api(status)),
            })
        });
        Ok(states.boxed())
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

    use super::*;

    fn write(precondition: Option<(&str, &str)>, holder: &str) -> Value {
        let write = LeaseWrite {
            precondition: precondition.map(|(uid, version)| (uid.to_owned(), version.to_owned())),
            term: Term {
                holder: holder.to_owned(),
                seconds: 15,
                acquired: Some("2026-11-20T11:00:00Z".parse().unwrap()),
                renewed: Some("2026-11-20T11:00:02.5Z".parse().unwrap()),
                transitions: 3,
            },
        };
        serde_json::to_value(write.object("sidewatch")).unwrap()
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
        assert_eq!(write(Some(("u", "7")), "a"), expected);
        assert_eq!(write(None, "a")["metadata"], json!({"name": "sidewatch"}));
        let released = write(Some(("u", "7")), "");
        assert_eq!(released["spec"].get("holderIdentity"), None, "a released Lease");
    }

    #[test]
    fn a_lease_without_content_has_no_holder() {
        let record = LeaseRecord::from(Lease::default());
        assert_eq!(record, LeaseRecord::default());
        assert!(!is_released(&record.term), "it was not released");
    }
}
