//! The objects that lint examines.

use std::fmt;

use super::field::Field;

/// The identity of an object, such as the one that has a Pod template.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Object {
    /// `kind`
    pub kind: String,
    /// `metadata.namespace`; may be empty.
    pub namespace: String,
    /// `metadata.name`, or `metadata.generateName`; may be empty.
    pub name: String,
}

impl Object {
    /// Reads the identity of an object of a kind. The name of an object without one is `?`.
    pub(super) fn of(object: &Field<'_>, kind: &str) -> Self {
        let metadata = object.get("metadata");
        let text = |name: &str| metadata.as_ref()?.text_of(name);
        Self {
            kind: kind.to_owned(),
            namespace: text("namespace").unwrap_or_default(),
            name: text("name")
                .or_else(|| text("generateName"))
                .unwrap_or_else(|| "?".to_owned()),
        }
    }
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            kind,
            namespace,
            name,
        } = self;
        match namespace.as_str() {
            "" => write!(f, "{kind}/{name}"),
            namespace => write!(f, "{kind}/{name} in {namespace}"),
        }
    }
}
