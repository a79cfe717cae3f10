//! The identity of an object, and the fields of `metadata` that are decoded.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};

use super::lenient::{list, or_default, text, time};
use crate::domain::{expected::ANNOTATIONS, observation::DEFAULT_CONTAINER};

/// The identity of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity<'a> {
    /// `metadata.namespace`; empty for cluster-scoped objects.
    pub namespace: &'a str,
    /// `metadata.name`
    pub name: &'a str,
    /// `metadata.uid`
    pub uid: &'a str,
}

/// Error for an object without a complete identity. The API server never stores such an object, so the response came
/// from another server. The object is skipped, because its data could be recorded for the wrong object.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind} {namespace:?}/{name:?} has no metadata.{missing}")]
pub struct MissingIdentity {
    /// The kind of the object.
    pub kind: &'static str,
    /// The field of `metadata` that is missing or empty.
    pub missing: &'static str,
    /// The namespace, or an empty text if it is missing.
    pub namespace: String,
    /// The name, or an empty text if it is missing.
    pub name: String,
}

impl<'a> Identity<'a> {
    /// Returns the identity of a namespaced object.
    pub(super) fn namespaced(kind: &'static str, metadata: &'a ObjectMeta) -> Result<Self, MissingIdentity> {
        let identity = Self::cluster(kind, metadata)?;
        match identity.namespace {
            "" => Err(missing("namespace", kind, metadata)),
            _ => Ok(identity),
        }
    }

    /// Returns the identity of an object that may have no namespace.
    pub(super) fn cluster(kind: &'static str, metadata: &'a ObjectMeta) -> Result<Self, MissingIdentity> {
        let required = |field: &'static str, value: &'a Option<String>| match value.as_deref() {
            None | Some("") => Err(missing(field, kind, metadata)),
            Some(value) => Ok(value),
        };
        Ok(Self {
            namespace: metadata.namespace.as_deref().unwrap_or_default(),
            name: required("name", &metadata.name)?,
            uid: required("uid", &metadata.uid)?,
        })
    }
}

fn missing(field: &'static str, kind: &'static str, metadata: &ObjectMeta) -> MissingIdentity {
    MissingIdentity {
        kind,
        missing: field,
        namespace: metadata.namespace.clone().unwrap_or_default(),
        name: metadata.name.clone().unwrap_or_default(),
    }
}

/// Decodes `metadata` without unused fields. Annotations and `managedFields` are half of the JSON of a Pod; memory is
/// allocated only for the annotations in [`ANNOTATIONS`]. Of the owner references, only the controller is kept.
pub(super) fn lean_metadata<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    let Metadata {
        name,
        namespace,
        uid,
        resource_version,
        labels,
        annotations,
        creation_timestamp,
        deletion_timestamp,
        owner_references,
    } = or_default(deserializer)?;
    Ok(ObjectMeta {
        name,
        namespace,
        uid,
        resource_version,
        labels: labels.map(|labels| {
            labels
                .into_iter()
                .map(|(key, value)| (key, value.unwrap_or_default()))
                .collect()
        }),
        annotations: annotations.0,
        creation_timestamp: creation_timestamp.map(Time),
        deletion_timestamp: deletion_timestamp.map(Time),
        owner_references: owner_references
            .into_iter()
            .find(|owner| owner.controller)
            .map(|owner| vec![owner.into()]),
        ..ObjectMeta::default()
    })
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Metadata {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    labels: Option<BTreeMap<String, Option<String>>>,
    annotations: KnownAnnotations,
    #[serde(deserialize_with = "time")]
    creation_timestamp: Option<Timestamp>,
    #[serde(deserialize_with = "deletion")]
    deletion_timestamp: Option<Timestamp>,
    #[serde(deserialize_with = "list")]
    owner_references: Vec<Owner>,
}

/// Decodes the `metadata` of an object of one of Sidewatch's CRDs: what is read of it.
pub fn custom_metadata<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    let CustomMetadata {
        name,
        namespace,
        uid,
        resource_version,
        generation,
        creation_timestamp,
    } = or_default(deserializer)?;
    Ok(ObjectMeta {
        name,
        namespace,
        uid,
        resource_version,
        generation,
        creation_timestamp: creation_timestamp.map(Time),
        ..ObjectMeta::default()
    })
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct CustomMetadata {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    generation: Option<i64>,
    #[serde(deserialize_with = "time")]
    creation_timestamp: Option<Timestamp>,
}

/// The annotations in [`ANNOTATIONS`]; `None` if the object has none of them. The others are skipped.
#[derive(Default)]
struct KnownAnnotations(Option<BTreeMap<String, String>>);

impl<'de> Deserialize<'de> for KnownAnnotations {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnnotationVisitor)
    }
}

struct AnnotationVisitor;

impl<'de> Visitor<'de> for AnnotationVisitor {
    type Value = KnownAnnotations;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object of strings")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(KnownAnnotations::default())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let mut known = BTreeMap::new();
        while let Some(Known(key)) = entries.next_key()? {
            match key {
                Some(key) => {
                    let value: Option<String> = entries.next_value()?;
                    known.insert(key.to_owned(), value.unwrap_or_default());
                }
                None => drop(entries.next_value::<IgnoredAny>()?),
            }
        }
        Ok(KnownAnnotations((!known.is_empty()).then_some(known)))
    }
}

/// The key of an annotation, if it is in [`ANNOTATIONS`].
struct Known(Option<&'static str>);

impl<'de> Deserialize<'de> for Known {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text(deserializer, known_annotation).map(Self)
    }
}

/// Returns the annotation with this key, if it is decoded.
pub(in crate::kubernetes) fn known_annotation(key: &str) -> Option<&'static str> {
    let mut known = ANNOTATIONS.into_iter().chain([DEFAULT_CONTAINER]);
    known.find(|known| *known == key)
}

/// Decodes `deletionTimestamp`. Only its presence matters: an invalid time still means that the object is being
/// deleted.
fn deletion<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    text(deserializer, |text| {
        (!text.is_empty()).then(|| text.parse().unwrap_or(Timestamp::UNIX_EPOCH))
    })
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Owner {
    #[serde(deserialize_with = "or_default")]
    api_version: String,
    #[serde(deserialize_with = "or_default")]
    kind: String,
    #[serde(deserialize_with = "or_default")]
    name: String,
    #[serde(deserialize_with = "or_default")]
    controller: bool,
}

impl From<Owner> for OwnerReference {
    fn from(owner: Owner) -> Self {
        Self {
            api_version: owner.api_version,
            kind: owner.kind,
            name: owner.name,
            controller: Some(owner.controller),
            ..Self::default()
        }
    }
}
