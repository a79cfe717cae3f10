//! Removes the parts of a status that the API server refuses, so that one field or entry does not block the others.
//!
//! Input: a status and the error of its write. Output: the status to write next. No I/O. CRDs of another version can refuse
//! a field that they do not declare, or a value such as the name of a new check.

use http::StatusCode;
use serde_json::Value;

use super::{
    WriteError,
    status_object::{MAX_MESSAGE, bounded},
};
use crate::api::PolicyStatus;

/// Added to the message of the condition Ready of an incomplete status.
const INCOMPLETE: &str = "The API server refused parts of this status: install the CRDs of this version";
/// Follows each path in the error of server-side apply.
const NOT_DECLARED: &str = ": field not declared in schema";

/// The parts that were removed from one status.
#[derive(Debug, Default)]
pub struct Reduction {
    fields: bool,
    entries: bool,
}

impl Reduction {
    /// Reports whether nothing was removed.
    pub(super) fn is_empty(&self) -> bool {
        !self.fields && !self.entries
    }

    /// Returns the status to write after this error, or `None` if nothing is left to remove. Removes the fields that the
    /// CRD does not declare, then the entries that the response names, then all entries. The counts and conditions stay,
    /// and the condition Ready reports that the status is incomplete.
    pub(super) fn next(&mut self, status: &PolicyStatus, error: &WriteError) -> Option<PolicyStatus> {
        let undeclared = undeclared_fields(&error.message);
        let mut reduced = if !undeclared.is_empty() && !self.fields {
            self.fields = true;
            without_fields(status, &undeclared)?
        } else if error.status == Some(StatusCode::UNPROCESSABLE_ENTITY) || !undeclared.is_empty() {
            let named = if self.entries { &[] } else { &*error.invalid_fields };
            self.entries = true;
            without_entries(status, named)?
        } else {
            return None;
        };
        if let Some(ready) = reduced.conditions.iter_mut().find(|c| c.type_ == "Ready")
            && !ready.message.contains(INCOMPLETE)
        {
            ready.message = bounded(&format!("{}. {INCOMPLETE}", ready.message), MAX_MESSAGE);
        }
        Some(reduced)
    }
}

/// Returns the paths, such as `.status.violations[0].podUID`, that the schema of the CRD does not declare. The response has
/// the code 500 and lists them only in its message.
fn undeclared_fields(message: &str) -> Vec<&str> {
    let mut parts: Vec<&str> = message.split(NOT_DECLARED).collect();
    parts.pop();
    let paths = parts
        .into_iter()
        .filter_map(|part| part.split_whitespace().next_back());
    paths.filter(|path| path.starts_with(".status.")).collect()
}

/// Returns the status without these fields, in every entry of a list. Returns `None` if none of them can be removed.
fn without_fields(status: &PolicyStatus, paths: &[&str]) -> Option<PolicyStatus> {
    let mut value = serde_json::to_value(status).ok()?;
    for path in paths {
        let path = path.trim_start_matches(".status.");
        let names: Vec<&str> = path
            .split('.')
            .map(|name| name.split('[').next().unwrap_or(name))
            .collect();
        remove(&mut value, &names);
    }
    let reduced: PolicyStatus = serde_json::from_value(value).ok()?;
    (reduced != *status).then_some(reduced)
}

fn remove(value: &mut Value, path: &[&str]) {
    match (value, path) {
        (Value::Array(entries), _) => entries.iter_mut().for_each(|entry| remove(entry, path)),
        (Value::Object(fields), [name]) => {
            fields.remove(*name);
        }
        (Value::Object(fields), [name, rest @ ..]) => {
            if let Some(value) = fields.get_mut(*name) {
                remove(value, rest);
            }
        }
        _ => {}
    }
}

/// Returns the status without the entries that contain one of these fields, such as `status.violations[0].workload`. If
/// that removes nothing, removes all entries. Returns `None` if there are none.
fn without_entries(status: &PolicyStatus, invalid_fields: &[String]) -> Option<PolicyStatus> {
    if status.violations.is_empty() && status.checks.is_empty() && status.images.is_empty() {
        return None;
    }
    let is_named = |list: &str, index: usize| {
        let entry = format!("{list}[{index}]");
        // Some fields of Kubernetes 1.30 have no prefix.
        let mut fields = invalid_fields
            .iter()
            .map(|field| field.trim_start_matches("status."));
        fields.any(|field| field.starts_with(&entry))
    };
    let mut reduced = status.clone();
    reduced.violations = kept(&status.violations, |index| !is_named("violations", index));
    reduced.checks = kept(&status.checks, |index| !is_named("checks", index));
    reduced.images = kept(&status.images, |index| !is_named("images", index));
    if reduced == *status {
        reduced.violations.clear();
        reduced.checks.clear();
        reduced.images.clear();
    }
    let removed = status.images.len() - reduced.images.len();
    let removed = u32::try_from(removed).unwrap_or(u32::MAX);
    reduced.images_omitted = status.images_omitted.saturating_add(removed);
    let removed = status.violations.len() - reduced.violations.len();
    let removed = u32::try_from(removed).unwrap_or(u32::MAX);
    reduced.violations_omitted = status.violations_omitted.saturating_add(removed);
    Some(reduced)
}

fn kept<T: Clone>(entries: &[T], is_kept: impl Fn(usize) -> bool) -> Vec<T> {
    let entries = entries.iter().enumerate();
    entries
        .filter(|(index, _)| is_kept(*index))
        .map(|(_, entry)| entry.clone())
        .collect()
}

#[cfg(test)]
mod tests;
