//! Reads the status of a policy object: the whole status for the next write, and its violations, which a new process adopts.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::{Checked, PolicyObject};
use crate::{
    api::{self, CheckName, MAX_VIOLATIONS, PolicyStatus, ViolationState},
    domain::{
        observation::Workload,
        policy::{PolicyKey, PolicyKind},
        violation::{ImageSubject, StoredViolation, SubjectKey, ViolationKey, WorkloadSubject},
    },
};

/// The status of an object, and the version of the object that had it.
#[derive(Clone, Debug, PartialEq)]
pub struct ObservedStatus<S = PolicyStatus> {
    /// `metadata.uid`.
    pub uid: Arc<str>,
    /// `metadata.resourceVersion` as a number; 0 if it is not a number. Every supported version of Kubernetes writes a
    /// number.
    pub version: u64,
    /// `status`. `None` if the object has no status, or could not be decoded.
    pub status: Option<S>,
}

impl ObservedStatus {
    /// Reads the status of a policy object. An object that could not be decoded counts as one without status, so its
    /// status is written again.
    pub fn of<K: PolicyObject>(object: &Checked<K>) -> Self {
        let status = object.0.as_ref().ok().and_then(|object| object.status().cloned());
        Self::new(object.meta(), status)
    }
}

impl<S> ObservedStatus<S> {
    /// Creates the status of an object with this metadata.
    pub fn new(metadata: &ObjectMeta, status: Option<S>) -> Self {
        let version = metadata.resource_version.as_deref();
        Self {
            uid: metadata.uid.as_deref().unwrap_or_default().into(),
            version: version
                .and_then(|version| version.parse().ok())
                .unwrap_or_default(),
            status,
        }
    }
}

/// Returns the violations that can be continued. Skips entries without a container, and entries without a Pod unless the
/// check is about workloads. For a `SidecarPolicy`, also skips entries of other namespaces.
pub(super) fn violations(key: &PolicyKey, status: Option<&PolicyStatus>) -> Vec<StoredViolation> {
    let entries = status
        .map(|status| status.violations.as_slice())
        .unwrap_or_default();
    let in_scope = |entry: &&api::Violation| match key.kind {
        PolicyKind::SidecarPolicy => *entry.namespace == *key.namespace,
        PolicyKind::ClusterSidecarPolicy => entry.namespace.is_empty() != entry.image.is_empty(),
    };
    entries
        .iter()
        .filter(in_scope)
        .filter_map(|entry| Some((entry, subject(entry)?)))
        .take(MAX_VIOLATIONS)
        .map(|(entry, subject)| StoredViolation {
            key: ViolationKey {
                policy: key.clone(),
                check: entry.check.into(),
                subject,
            },
            firing: match entry.state {
                ViolationState::Pending => false,
                ViolationState::Firing => true,
            },
            onset: entry.since.0,
        })
        .collect()
}

/// Reads the subject of an entry: an image, a container of a Pod, or a workload if the entry has neither image nor Pod.
fn subject(entry: &api::Violation) -> Option<SubjectKey> {
    let namespace = Arc::from(entry.namespace.as_str());
    let container = Arc::from(entry.container.as_str());
    if !entry.image.is_empty() {
        let is_only_image = [&entry.container, &entry.pod, &entry.workload]
            .iter()
            .all(|text| text.is_empty());
        return is_only_image.then(|| {
            SubjectKey::Image(ImageSubject {
                namespace,
                repository: entry.image.as_str().into(),
            })
        });
    }
    if entry.container.is_empty() || entry.pod.is_empty() != (entry.check == CheckName::SidecarMissing) {
        return None;
    }
    if !entry.pod.is_empty() {
        return Some(SubjectKey::Container {
            namespace,
            pod: entry.pod.as_str().into(),
            uid: (!entry.pod_uid.is_empty()).then(|| entry.pod_uid.as_str().into()),
            container,
        });
    }
    let (kind, name) = entry.workload.split_once('/')?;
    Some(SubjectKey::Workload(WorkloadSubject {
        namespace,
        workload: Arc::new(Workload {
            kind: kind.into(),
            name: name.into(),
        }),
        sidecar: container,
    }))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        api::{ClusterSidecarPolicy, SidecarPolicy},
        domain::policy::Check,
        kubernetes::decode::policy::{
            PolicyObject,
            tests::{read, with},
        },
    };

    fn violation(changes: &Value) -> Value {
        let violation = json!({
            "check": "NotReady", "state": "Firing", "severity": "Warning", "namespace": "pay",
            "workload": "Deployment/web", "pod": "web-1", "container": "envoy", "native": true,
            "since": "2026-11-20T10:42:07Z", "detail": "",
        });
        with(violation, changes)
    }

    fn listed<K: PolicyObject + serde::de::DeserializeOwned>(violations: &[Value]) -> Vec<String> {
        let update = read::<K>(json!({
            "metadata": {"name": "mesh", "namespace": "pay", "uid": "u"},
            "spec": {}, "status": {"violations": violations},
        }));
        let text = |stored: StoredViolation| {
            let StoredViolation { key, firing, onset } = stored;
            let state = if firing { "firing" } else { "pending" };
            let SubjectKey::Container {
                namespace,
                pod,
                uid,
                container,
            } = key.subject
            else {
                panic!("a violation of a container");
            };
            let uid = uid.map(|uid| format!(" of {uid}")).unwrap_or_default();
            format!(
                "{} {state} {namespace}/{pod}{uid} {container} {onset}",
                key.check.as_str()
            )
        };
        update.stored.into_iter().map(text).collect()
    }

    #[test]
    fn a_violation_of_a_workload_has_no_pod() {
        let of_workload = |changes: &Value| {
            let entry = violation(&json!({"check": "SidecarMissing", "pod": "", "native": false}));
            let entry = with(entry, changes);
            read::<SidecarPolicy>(json!({
                "metadata": {"name": "mesh", "namespace": "pay", "uid": "u"},
                "spec": {}, "status": {"violations": [entry]},
            }))
            .stored
        };
        let [stored] = &of_workload(&json!({}))[..] else {
            panic!("one violation");
        };
        assert_eq!(
            stored.key.to_string(),
            "SidecarPolicy/pay/mesh/SidecarMissing/Workload/pay/Deployment/web/envoy"
        );
        for changes in [
            json!({"workload": "web"}),
            json!({"container": ""}),
            json!({"pod": "web-1"}),
            json!({"check": "NotReady"}),
        ] {
            assert_eq!(of_workload(&changes), [], "{changes}");
        }
    }

    #[test]
    fn violations_in_a_status_are_read_back() {
        let read = listed::<SidecarPolicy>;
        assert_eq!(
            read(&[violation(&json!({}))]),
            ["NotReady firing pay/web-1 envoy 2026-11-20T10:42:07Z"]
        );
        assert!(read(&[violation(&json!({"state": "Pending"}))])[0].contains(" pending "));
        assert_eq!(
            read(&[violation(&json!({"podUID": "u-1"}))]),
            ["NotReady firing pay/web-1 of u-1 envoy 2026-11-20T10:42:07Z"]
        );
        for check in Check::ALL
            .into_iter()
            .filter(|check| *check != Check::SidecarMissing)
        {
            let listed = read(&[violation(&json!({"check": check.as_str()}))]);
            assert!(listed[0].starts_with(check.as_str()), "{check:?}: {listed:?}");
        }
        let table = [
            (json!({"check": "Other"}), "a check of another version"),
            (json!({"state": "Resolved"}), "a state of another version"),
            (json!({"since": "yesterday"}), "no time"),
            (json!({"pod": ""}), "no Pod"),
            (json!({"container": ""}), "no container"),
            (json!({"pod": null}), "a null"),
            (json!({"namespace": "shop"}), "another namespace"),
        ];
        for (changes, why) in table {
            let listed = read(&[violation(&changes), violation(&json!({"pod": "web-2"}))]);
            assert_eq!(
                listed,
                ["NotReady firing pay/web-2 envoy 2026-11-20T10:42:07Z"],
                "{why}: only this entry is left out"
            );
        }
        let elsewhere = [
            violation(&json!({"namespace": "shop"})),
            violation(&json!({"namespace": ""})),
        ];
        assert_eq!(
            listed::<ClusterSidecarPolicy>(&elsewhere),
            ["NotReady firing shop/web-1 envoy 2026-11-20T10:42:07Z"],
            "a ClusterSidecarPolicy has entries of all namespaces, and none without a namespace"
        );
        let many = vec![violation(&json!({})); 30];
        assert_eq!(read(&many).len(), MAX_VIOLATIONS, "the limit of a status");
    }
}
