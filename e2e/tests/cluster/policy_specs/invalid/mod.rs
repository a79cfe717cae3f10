//! The specs that the API server must refuse, as data.
//!
//! A row stands for both kinds of policy unless it says otherwise. It names the field and words of the one cause that
//! the API server must give.

mod fields;
mod limits;
mod selectors;

pub use limits::DURATIONS;
use serde_json::{Value, json};

/// Which kinds of policy a row speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kinds {
    Both,
    Namespaced,
    Cluster,
}

/// A spec that the API server must refuse.
#[derive(Debug)]
pub struct Invalid {
    /// Why it is wrong.
    pub why: String,
    pub kinds: Kinds,
    /// What stands beside apiVersion, kind and metadata.
    pub body: Value,
    /// The field that the cause names; empty for an unknown field, which is refused before there are causes.
    pub field: String,
    /// Words of the cause, the way out among them.
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
        limits::checks(),
        limits::durations(),
        selectors::rows("podSelector", Kinds::Both),
        selectors::rows("namespaceSelector", Kinds::Cluster),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// One refused object, of both kinds.
fn body(why: &str, body: Value, field: &str, says: &[&str]) -> Invalid {
    Invalid {
        why: why.into(),
        kinds: Kinds::Both,
        body,
        field: field.into(),
        says: says.iter().map(ToString::to_string).collect(),
    }
}

/// One refused spec, of both kinds: what stands at a path below it.
fn at(path: &str, why: &str, value: Value, index: &str, says: &[&str]) -> Invalid {
    let spec = json!({ "spec": nested(path, value) });
    body(why, spec, &format!("spec.{path}{index}"), says)
}

/// A list of that many different names.
pub fn numbered(count: usize) -> Value {
    (0..count).map(|i| format!("a{i}")).collect()
}

/// A value at the end of a path of objects.
pub fn nested(path: &str, value: Value) -> Value {
    path.rsplit('.')
        .fold(value, |value, field| json!({ field: value }))
}
