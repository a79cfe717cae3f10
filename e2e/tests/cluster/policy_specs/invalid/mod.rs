//! Specs that the API server must reject.
//!
//! A row applies to both kinds of policy by default. It has the field and parts of the message of the only cause.

mod exemptions;
mod expected;
mod fields;
mod limits;
mod selectors;

pub use limits::DURATIONS;
use serde_json::{Value, json};

use super::{CLUSTER_SIDECAR_POLICY, Kind, SIDECAR_POLICY};

/// Kinds of policy that a row applies to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kinds {
    Both,
    Namespaced,
    Cluster,
}

impl Kinds {
    /// The kinds.
    pub fn each(self) -> &'static [Kind] {
        match self {
            Self::Both => &[SIDECAR_POLICY, CLUSTER_SIDECAR_POLICY],
            Self::Namespaced => &[SIDECAR_POLICY],
            Self::Cluster => &[CLUSTER_SIDECAR_POLICY],
        }
    }
}

/// A spec that the API server must reject.
#[derive(Debug)]
pub struct Invalid {
    /// Why it is invalid.
    pub why: String,
    pub kinds: Kinds,
    /// Fields except apiVersion, kind and metadata.
    pub body: Value,
    /// Field of the cause; empty for an unknown field, which is rejected before validation.
    pub field: String,
    /// Parts of the message, including the solution.
    pub says: Vec<String>,
}

impl Invalid {
    fn of(self, kinds: Kinds) -> Self {
        Self { kinds, ..self }
    }
}

/// Every row.
pub fn rows() -> Vec<Invalid> {
    [
        fields::whole_objects(),
        fields::plain(),
        fields::sidecars(),
        expected::rows(),
        limits::checks(),
        limits::durations(),
        selectors::rows("podSelector", Kinds::Both),
        selectors::rows("namespaceSelector", Kinds::Cluster),
        exemptions::rows(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// An invalid object of both kinds.
fn body(why: &str, body: Value, field: &str, says: &[&str]) -> Invalid {
    Invalid {
        why: why.into(),
        kinds: Kinds::Both,
        body,
        field: field.into(),
        says: says.iter().map(ToString::to_string).collect(),
    }
}

/// An invalid spec of both kinds, with a value at a path.
fn at(path: &str, why: &str, value: Value, index: &str, says: &[&str]) -> Invalid {
    let spec = json!({ "spec": nested(path, value) });
    body(why, spec, &format!("spec.{path}{index}"), says)
}

/// A list of different names.
pub fn numbered(count: usize) -> Value {
    (0..count).map(|i| format!("a{i}")).collect()
}

/// A value at a path of nested objects.
pub fn nested(path: &str, value: Value) -> Value {
    path.rsplit('.')
        .fold(value, |value, field| json!({ field: value }))
}
