//! What every `status` that the sink writes can do.

use std::fmt::Debug;

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

/// The `status` of an object.
pub trait StatusContent:
    Clone + Debug + PartialEq + Serialize + DeserializeOwned + Send + Sync + 'static
{
    /// Reports whether it has the condition of a conflict with another installation.
    fn reports_conflict(&self) -> bool;

    /// Reports whether an observed status has this content.
    fn is_current(&self, observed: Option<&Self>) -> bool;

    /// Reports whether an applied status still has entries that were not applied.
    fn has_foreign_entries(&self, applied: &Self) -> bool;

    /// Returns a merge patch that removes these entries.
    fn without_foreign_entries(&self) -> Value;
}
