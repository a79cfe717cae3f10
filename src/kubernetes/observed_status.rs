//! The status of a policy object as a watch delivered it.

use std::sync::Arc;

use kube::{Resource, core::DeserializeGuard};

use crate::{api::PolicyStatus, kubernetes::decode::policy::PolicyObject};

/// The status of a policy object, and the version of the object that had it.
#[derive(Clone, Debug, PartialEq)]
pub struct ObservedStatus {
    /// `metadata.uid`.
    pub uid: Arc<str>,
    /// `metadata.resourceVersion` as a number; 0 if it is not a number. It is one in every supported version.
    pub version: u64,
    /// `status`. `None` if the object has no status, or could not be decoded.
    pub status: Option<PolicyStatus>,
}

impl ObservedStatus {
    /// Reads the status of a policy object. An object that could not be decoded counts as one without status, so its
    /// status is written again.
    pub fn of<K: PolicyObject>(object: &DeserializeGuard<K>) -> Self {
        let metadata = object.meta();
        Self {
            uid: metadata.uid.as_deref().unwrap_or_default().into(),
            version: parse_version(metadata.resource_version.as_deref()),
            status: object.0.as_ref().ok().and_then(|object| object.status().cloned()),
        }
    }
}

/// Parses `metadata.resourceVersion` as a number; 0 if it is not a number.
pub fn parse_version(version: Option<&str>) -> u64 {
    version
        .and_then(|version| version.parse().ok())
        .unwrap_or_default()
}
