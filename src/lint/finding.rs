//! The result of the rules.

use super::{edit::Edit, yaml::Location};

/// The severity of a finding. Later variants are more severe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// A fact to know.
    Info,
    /// It can harm the Pod.
    Warning,
    /// The Pod does not work as written.
    Error,
}

impl Severity {
    /// The name of the severity.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Info => "Info",
            Self::Warning => "Warning",
            Self::Error => "Error",
        }
    }
}

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

impl std::fmt::Display for Object {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
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

/// A fault in a manifest.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The code of the rule, such as `SC001`.
    pub code: &'static str,
    /// How severe the finding is.
    pub severity: Severity,
    /// The object.
    pub object: Object,
    /// The name of the container, unless the finding is about the Pod.
    pub container: Option<String>,
    /// The path of the field in its document.
    pub path: String,
    /// The place of the field in the text.
    pub location: Location,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: String,
    /// A suggested edit.
    pub edit: Option<Edit>,
}
