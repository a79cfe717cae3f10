//! What every `status` that the sink writes can do.

use std::{fmt::Debug, mem};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

/// The `status` of an object.
pub trait StatusContent:
    Clone + Debug + PartialEq + Serialize + DeserializeOwned + Send + Sync + 'static
{
    /// Returns the conditions.
    fn conditions_mut(&mut self) -> &mut Vec<Condition>;

    /// Reports whether the observed status equals this one. Conditions of other writers do not count.
    fn is_current(&self, observed: Option<&Self>) -> bool {
        let Some(mut observed) = observed.cloned() else {
            return false;
        };
        let mut wanted = self.clone();
        let conditions = mem::take(observed.conditions_mut());
        let is_written = |condition: &Condition| conditions.contains(condition);
        mem::take(wanted.conditions_mut()).iter().all(is_written) && wanted == observed
    }

    /// Reports whether an applied status still has entries that were not applied.
    fn has_foreign_entries(&self, applied: &Self) -> bool;

    /// Returns a merge patch that removes these entries.
    fn without_foreign_entries(&self) -> Value;
}
