//! Types that several parts of the API share.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How Sidewatch reports a violation. The stricter mode of the policy and the check applies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Mode {
    /// Events, metrics and status.
    #[default]
    Alert,
    /// Metrics and status, but no Events.
    Observe,
    /// Nothing: the policy or the check is not evaluated.
    Off,
}

/// The severity of a violation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Severity {
    /// Informational.
    Info,
    /// To be examined during working hours.
    Warning,
    /// To be examined immediately.
    Critical,
}
