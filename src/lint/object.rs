//! The objects that lint examines.

use std::fmt;

/// The object that has a Pod template.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Object {
    /// `kind`
    pub kind: String,
    /// `metadata.namespace`; may be empty.
    pub namespace: String,
    /// `metadata.name`, or `metadata.generateName`; may be empty.
    pub name: String,
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
