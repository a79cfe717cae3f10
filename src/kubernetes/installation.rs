//! The name of an installation as a field manager.
//!
//! The replicas of an installation share a Lease, so the namespace and the name of the Lease identify the installation.

use std::sync::Arc;

use crate::domain::hash::stable_hash;

/// The field manager of Events, the Lease and the checkpoint.
pub const FIELD_MANAGER: &str = "sidewatch";
/// Prefix of the field manager of a status. The name of the installation follows.
const PREFIX: &str = "sidewatch:";
/// Maximum length of a field manager.
const MAX_MANAGER: usize = 128;

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
}

/// Returns the name of the installation with this field manager: the namespace and the name of the Lease, or the host.
pub fn name(field_manager: &str) -> Option<&str> {
    field_manager.strip_prefix(PREFIX)
}

#[cfg(test)]
mod tests {
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
}
