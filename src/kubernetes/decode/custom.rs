//! Decodes objects of Sidewatch's CRDs: lean metadata, and a spec that may not match the types of the API.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::Value;

use super::{
    identity::custom_metadata,
    lenient::or_default,
    object::{Object, Undecodable},
};
use crate::api::{
    ClusterSidecarPolicy, ClusterSidecarPolicySpec, PolicyStatus, SidecarExemption, SidecarExemptionSpec,
    SidecarExemptionStatus, SidecarPolicy, SidecarPolicySpec,
};

/// A kind of one of Sidewatch's CRDs.
pub trait CustomObject: Resource + Send + 'static {
    /// The type of `spec`.
    type Spec: DeserializeOwned;
    /// The type of `status`.
    type Status: DeserializeOwned;

    /// Creates an object of its parts.
    fn of(metadata: ObjectMeta, spec: Self::Spec, status: Option<Self::Status>) -> Self;
}

macro_rules! custom_object {
    ($kind:ident, $spec:ident, $status:ident) => {
        impl CustomObject for $kind {
            type Spec = $spec;
            type Status = $status;

            fn of(metadata: ObjectMeta, spec: $spec, status: Option<$status>) -> Self {
                Self {
                    metadata,
                    spec,
                    status,
                }
            }
        }
    };
}

custom_object!(SidecarPolicy, SidecarPolicySpec, PolicyStatus);
custom_object!(ClusterSidecarPolicy, ClusterSidecarPolicySpec, PolicyStatus);
custom_object!(SidecarExemption, SidecarExemptionSpec, SidecarExemptionStatus);

/// An object, or the metadata of one whose spec does not match the types of the API. A status that does not match counts as
/// none.
#[derive(Clone, Debug)]
pub struct Checked<K>(pub Result<K, InvalidObject>);

/// An object whose spec does not match the types of the API.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{error}")]
pub struct InvalidObject {
    /// The metadata that is read.
    pub metadata: ObjectMeta,
    /// Why the spec does not match.
    pub error: String,
}

impl<K: CustomObject> Checked<K> {
    /// Returns the metadata.
    pub fn meta(&self) -> &ObjectMeta {
        match &self.0 {
            Ok(object) => object.meta(),
            Err(invalid) => &invalid.metadata,
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Parts {
    #[serde(deserialize_with = "custom_metadata")]
    metadata: ObjectMeta,
    spec: Option<Value>,
    #[serde(deserialize_with = "or_default")]
    status: Value,
}

impl<'de, K: CustomObject> Deserialize<'de> for Checked<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Parts {
            metadata,
            spec,
            status,
        } = Parts::deserialize(deserializer)?;
        let spec = match spec {
            Some(spec) => serde_json::from_value(spec).map_err(|error| error.to_string()),
            None => Err("missing field `spec`".to_owned()),
        };
        Ok(Self(match spec {
            Ok(spec) => Ok(K::of(
                metadata,
                spec,
                serde_json::from_value(status).unwrap_or_default(),
            )),
            Err(error) => Err(InvalidObject { metadata, error }),
        }))
    }
}

impl<K: CustomObject> Object for Checked<K> {
    const IS_DELIVERED: bool = true;

    fn from_json(json: &[u8]) -> serde_json::Result<Self> {
        serde_json::from_slice(json)
    }

    fn of_undecodable(undecodable: &Undecodable) -> Self {
        Self(Err(InvalidObject {
            metadata: undecodable.metadata(),
            error: undecodable.error.clone(),
        }))
    }

    fn metadata(&mut self) -> &mut ObjectMeta {
        match &mut self.0 {
            Ok(object) => object.meta_mut(),
            Err(invalid) => &mut invalid.metadata,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubernetes::decode::object::from_json;

    fn policy(managed_fields: &str) -> String {
        format!(
            r#"{{"metadata":{{"name":"evil","namespace":"evil","uid":"u","resourceVersion":"7","generation":3,
            "annotations":{{"a":"b"}},"managedFields":{managed_fields}}},"spec":{{}}}}"#
        )
    }

    #[test]
    fn managed_fields_that_clients_write_do_not_prevent_decoding() {
        let entry = |fields: &str, time: &str| {
            format!(
                r#"[{{"manager":"sidewatch:a/b","operation":"Apply","subresource":"status","time":{time},"fieldsV1":{fields}}}]"#
            )
        };
        let deep = "{\"f:a\":".repeat(100_000) + "{}" + &"}".repeat(100_000);
        let table = [
            (
                entry("{}", "\"9999-12-31T23:59:59Z\""),
                "a time that jiff does not support",
            ),
            (entry("{}", "\"-99999-01-01T00:00:00Z\""), "a year of five digits"),
            (entry("{}", "null"), "no time"),
            (entry(&deep, "\"2026-01-01T00:00:00Z\""), "any nesting"),
            (
                entry("[1e999]", "\"2026-01-01T00:00:00Z\""),
                "a number out of range",
            ),
            ("null".to_owned(), "null"),
            ("[null]".to_owned(), "a null entry"),
        ];
        for (managed_fields, why) in table {
            let mut decoded: Checked<SidecarPolicy> = from_json(policy(&managed_fields).as_bytes()).unwrap();
            assert!(decoded.0.is_ok(), "{why}");
            let metadata = decoded.metadata();
            assert_eq!(metadata.generation, Some(3), "{why}");
            assert_eq!(metadata.annotations, None, "{why}: annotations are not kept");
            assert_eq!(metadata.managed_fields, None, "{why}");
        }
    }

    #[test]
    fn a_status_of_another_version_counts_as_none() {
        for status in ["7", r#"{"observedGeneration":"x"}"#] {
            let object = format!(r#"{{"metadata":{{"name":"p","uid":"u"}},"spec":{{}},"status":{status}}}"#);
            let decoded: Checked<SidecarPolicy> = from_json(object.as_bytes()).unwrap();
            assert_eq!(decoded.0.unwrap().status, None, "{status}");
        }
    }
}
