//! Reads, applies and watches the Lease of the leader election, as a [`NamedObject`].

use std::time::Duration;

use futures::{StreamExt, stream::BoxStream};
use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::Client;
use serde::{Deserialize, Deserializer};

use super::{
    decode::{code, or_default, text},
    named_object::{Applied, NamedObject, Version},
};

/// The fields of a Lease that the election uses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct LeaseRecord {
    /// The identity of this state of the Lease.
    #[serde(rename = "metadata")]
    pub version: Version,
    /// The content.
    #[serde(rename = "spec", deserialize_with = "or_default")]
    pub term: Term,
}

/// The content of a Lease. It changes with each renewal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Term {
    /// `spec.holderIdentity`; empty without a holder.
    #[serde(rename = "holderIdentity", deserialize_with = "or_default")]
    pub holder: String,
    /// `spec.leaseDurationSeconds`.
    #[serde(rename = "leaseDurationSeconds", deserialize_with = "code")]
    pub seconds: i32,
    /// `spec.acquireTime`, by the clock of the holder. `None` also for a time that is not supported.
    #[serde(rename = "acquireTime", deserialize_with = "clock_time")]
    pub acquired: Option<Timestamp>,
    /// `spec.renewTime`, by the clock of the holder. `None` also for a time that is not supported.
    #[serde(rename = "renewTime", deserialize_with = "clock_time")]
    pub renewed: Option<Timestamp>,
    /// `spec.leaseTransitions`: the number of changes of the holder.
    #[serde(rename = "leaseTransitions", deserialize_with = "code")]
    pub transitions: i32,
}

/// Decodes a time by the clock of a holder. A time near 1970 is valid: a renewal with such a clock is a renewal.
fn clock_time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    text(deserializer, |text| text.parse().ok())
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
pub struct LeaseClient(NamedObject<Lease, LeaseRecord>);

impl LeaseClient {
    /// Creates the access of a replica. The client must not retry.
    pub fn new(client: Client, namespace: &str, name: &str) -> Self {
        Self(NamedObject::new(client, namespace, name.to_owned()))
    }

    /// Reads the Lease. Returns `None` if it does not exist.
    pub async fn get(&self) -> Result<Option<LeaseRecord>, kube::Error> {
        self.0.get().await
    }

    /// Writes the Lease if it meets the precondition.
    pub async fn apply(&self, write: &LeaseWrite) -> Result<Applied<LeaseRecord>, kube::Error> {
        let lease = write.term.clone().into();
        self.0.apply(write.precondition.as_ref(), lease).await
    }

    /// Watches the Lease from a version. Returns each later state, `None` if the Lease was deleted.
    pub async fn watch(
        &self,
        version: &Version,
    ) -> Result<BoxStream<'static, Result<Option<LeaseRecord>, kube::Error>>, kube::Error> {
        Ok(self.0.watch(version).await?.boxed())
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

    use super::{
        super::{decode::object::read, named_object::identified},
        *,
    };

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
        for lease in [
            r"{}",
            r#"{"metadata":{},"spec":null}"#,
            r#"{"spec":{"holderIdentity":null}}"#,
        ] {
            let record: LeaseRecord = serde_json::from_str(lease).unwrap();
            assert_eq!(record, LeaseRecord::default(), "{lease}");
            assert!(!is_released(&record.term), "it was not released");
        }
    }

    #[test]
    fn what_is_not_read_does_not_prevent_decoding() {
        let deep = "{\"f:a\":".repeat(100_000) + "{}" + &"}".repeat(100_000);
        let table = [
            ("\"2026-11-20T11:00:02.5Z\"", true, "as the election writes it"),
            ("\"1970-01-01T00:00:03Z\"", true, "a clock that was not set"),
            ("\"99999-01-01T00:00:00Z\"", false, "a year of five digits"),
            ("null", false, "no time"),
        ];
        for (time, is_known, why) in table {
            let lease = format!(
                r#"{{"metadata":{{"uid":"u","resourceVersion":"7","creationTimestamp":"9999-12-31T23:59:59Z","managedFields":
                [{{"manager":"x","time":"9999-12-31T23:59:59Z","fieldsV1":{deep}}}]}},
                "spec":{{"holderIdentity":"a","renewTime":{time},"leaseDurationSeconds":15}}}}"#
            );
            let LeaseRecord { version, term } = read(lease.as_bytes()).unwrap();
            assert_eq!((&*version.uid, &*version.resource_version), ("u", "7"), "{why}");
            assert_eq!((&*term.holder, term.seconds), ("a", 15), "{why}");
            assert_eq!(term.renewed.is_some(), is_known, "{why}");
        }
    }
}
