//! The result of the rules.

use super::{edit::Edit, object::Object, yaml::Location};

/// The severity of a finding. Later variants are more severe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// It is good to know.
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

/// A fault in a manifest.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The code of the rule, such as `SC001`.
    pub code: &'static str,
    /// The severity.
    pub severity: Severity,
    /// The object.
    pub object: Object,
    /// The name of the container, unless the finding is about the Pod.
    pub container: Option<String>,
    /// The path of the field in its document.
    pub path: String,
    /// The place of the field in the text.
    pub location: Location,
    /// The problem.
    pub message: String,
    /// The advice.
    pub help: String,
    /// A suggested edit.
    pub edit: Option<Edit>,
}
