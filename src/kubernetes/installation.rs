//! The name of an installation as a field manager, and the installations that `metadata.managedFields` names.
//!
//! The replicas of an installation share a Lease, so the namespace and the name of the Lease identify the installation.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::domain::hash::stable_hash;

/// The field manager of Events, and of the statuses of operators that do not name their installation: version 0.1.
pub const FIELD_MANAGER: &str = "sidewatch";
/// Prefix of the field manager of a status. The name of the installation follows.
const PREFIX: &str = "sidewatch:";
/// Maximum length of a field manager.
const MAX_MANAGER: usize = 128;
/// Maximum number of entries that are read. The API server sorts them by time, and the last ones are read.
const MAX_WRITERS: usize = 16;

/// An installation of Sidewatch: all replicas that share a Lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installation(Arc<str>);

impl Installation {
    /// Returns the installation with this Lease.
    pub fn with_lease(namespace: &str, lease: &str) -> Self {
        Self::named(&format!("{namespace}/{lease}"))
    }

    /// Returns the installation of a process without a namespace, by the name of its host.
    pub fn on_host(host: &str) -> Self {
        Self::named(host)
    }

    /// A name that is too long is cut, and a hash of the whole name keeps it unique.
    fn named(name: &str) -> Self {
        let manager = format!("{PREFIX}{name}");
        if manager.len() <= MAX_MANAGER {
            return Self(manager.into());
        }
        let hash = format!("-{:016x}", stable_hash([manager.as_bytes()]));
        let kept = manager.floor_char_boundary(MAX_MANAGER - hash.len());
        Self(format!("{}{hash}", manager.get(..kept).unwrap_or_default()).into())
    }

    /// Returns the field manager of its statuses, with at most 128 characters.
    pub fn field_manager(&self) -> &str {
        &self.0
    }

    /// Returns the name: the namespace and the name of the Lease, or the host.
    pub fn name(&self) -> &str {
        name(&self.0).unwrap_or_default()
    }
}

/// Returns the name of the installation with this field manager, or `None` for an operator that does not name its
/// installation.
pub fn name(field_manager: &str) -> Option<&str> {
    field_manager.strip_prefix(PREFIX)
}

/// An entry of `metadata.managedFields`: an operator that has applied the status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusWriter {
    /// The field manager.
    pub manager: Arc<str>,
    /// The time of its last change of a value, on the clock of the API server.
    pub written: Option<Timestamp>,
}

/// Returns the operators that have applied the status of an object: the last 16, the oldest first.
pub fn status_writers(metadata: &ObjectMeta) -> Vec<StatusWriter> {
    let entries = metadata.managed_fields.iter().flatten();
    let applied = entries.filter(|entry| {
        entry.operation.as_deref() == Some("Apply") && entry.subresource.as_deref() == Some("status")
    });
    let mut writers: Vec<StatusWriter> = applied
        .filter_map(|entry| {
            let manager = entry.manager.as_deref()?;
            (manager == FIELD_MANAGER || name(manager).is_some()).then(|| StatusWriter {
                manager: manager.into(),
                written: entry.time.as_ref().map(|time| time.0),
            })
        })
        .collect();
    writers.drain(..writers.len().saturating_sub(MAX_WRITERS));
    writers
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn the_field_manager_names_the_installation_within_the_limit() {
        let manager = |namespace: &str, lease: &str| {
            Installation::with_lease(namespace, lease)
                .field_manager()
                .to_owned()
        };
        assert_eq!(
            manager("sidewatch-system", "sidewatch"),
            "sidewatch:sidewatch-system/sidewatch"
        );
        assert_eq!(Installation::on_host("desk").field_manager(), "sidewatch:desk");
        let (long, longer) = ("l".repeat(199), "l".repeat(200));
        let namespace = "n".repeat(63);
        assert_eq!(manager(&namespace, &long).len(), MAX_MANAGER);
        assert_ne!(manager(&namespace, &long), manager(&namespace, &longer), "unique");
        let host = "\u{e4}".repeat(100);
        assert!(Installation::on_host(&host).field_manager().len() <= MAX_MANAGER);
    }

    #[test]
    fn only_operators_that_applied_the_status_are_read() {
        let entry = |manager: &str, operation: &str, subresource: &str| {
            json!({
                "manager": manager, "operation": operation, "subresource": subresource,
                "time": "2026-11-20T10:42:07Z", "fieldsType": "FieldsV1", "fieldsV1": {},
            })
        };
        let read = |entries: &[Value]| -> Vec<String> {
            let metadata = serde_json::from_value(json!({"managedFields": entries})).unwrap();
            let writers = status_writers(&metadata);
            writers.iter().map(|writer| writer.manager.to_string()).collect()
        };
        let table = [
            (
                entry("sidewatch:a/sidewatch", "Apply", "status"),
                true,
                "an installation",
            ),
            (entry("sidewatch", "Apply", "status"), true, "version 0.1"),
            (
                entry("sidewatch:a/sidewatch", "Update", "status"),
                false,
                "a merge patch",
            ),
            (
                entry("sidewatch:a/sidewatch", "Apply", ""),
                false,
                "not the status",
            ),
            (entry("sidewatcher", "Apply", "status"), false, "another program"),
            (entry("kubectl", "Apply", "status"), false, "a person"),
        ];
        for (entry, is_read, why) in table {
            assert_eq!(read(&[entry]).len(), usize::from(is_read), "{why}");
        }
        let many: Vec<Value> = (0..20)
            .map(|n| entry(&format!("sidewatch:{n}"), "Apply", "status"))
            .collect();
        let last = read(&many);
        assert_eq!((last.len(), last[15].as_str()), (MAX_WRITERS, "sidewatch:19"));
        assert_eq!(status_writers(&ObjectMeta::default()), []);
    }
}
