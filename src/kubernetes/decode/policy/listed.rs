//! The violations that a policy's own status lists: what the operator before this one knew.

use crate::{
    api::{self, CheckName, MAX_VIOLATIONS, ViolationState},
    domain::policy::{Check, ListedViolation, PolicyKey, PolicyKind},
};

/// The entries that can be taken over. One that names no Pod or no container cannot, nor one outside the namespace of a
/// `SidecarPolicy`: whoever wrote it, that policy sees nothing there.
pub(super) fn violations(key: &PolicyKey, status: Option<&api::PolicyStatus>) -> Vec<ListedViolation> {
    let entries = status
        .map(|status| status.violations.as_slice())
        .unwrap_or_default();
    let visible = |entry: &&api::Violation| match key.kind {
        PolicyKind::SidecarPolicy => *entry.namespace == *key.namespace,
        PolicyKind::ClusterSidecarPolicy => !entry.namespace.is_empty(),
    };
    entries
        .iter()
        .filter(visible)
        .filter(|entry| !entry.pod.is_empty() && !entry.container.is_empty())
        .take(MAX_VIOLATIONS)
        .map(|entry| ListedViolation {
            check: check(entry.check),
            firing: match entry.state {
                ViolationState::Pending => false,
                ViolationState::Firing => true,
            },
            namespace: entry.namespace.as_str().into(),
            pod: entry.pod.as_str().into(),
            container: entry.container.as_str().into(),
            since: entry.since.0,
        })
        .collect()
}

fn check(name: CheckName) -> Check {
    match name {
        CheckName::NotReady => Check::NotReady,
        CheckName::MainReadySidecarNotReady => Check::MainReadySidecarNotReady,
        CheckName::FrequentRestarts => Check::FrequentRestarts,
        CheckName::StartupBlocked => Check::StartupBlocked,
        CheckName::JobHeldOpen => Check::JobHeldOpen,
        CheckName::OomKilled => Check::OOMKilled,
        CheckName::Flapping => Check::Flapping,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        api::{ClusterSidecarPolicy, SidecarPolicy},
        kubernetes::decode::policy::{PolicyObject, tests::read},
    };

    fn violation(changes: &Value) -> Value {
        let mut violation = json!({
            "check": "NotReady", "state": "Firing", "severity": "Warning", "namespace": "pay",
            "workload": "Deployment/web", "pod": "web-1", "container": "envoy", "native": true,
            "since": "2026-11-20T10:42:07Z", "detail": "",
        });
        violation
            .as_object_mut()
            .unwrap()
            .extend(changes.as_object().unwrap().clone());
        violation
    }

    fn listed<K: PolicyObject + serde::de::DeserializeOwned>(violations: &[Value]) -> Vec<String> {
        let update = read::<K>(json!({
            "metadata": {"name": "mesh", "namespace": "pay", "uid": "u"},
            "spec": {}, "status": {"violations": violations},
        }));
        let text = |v: ListedViolation| {
            let state = if v.firing { "firing" } else { "pending" };
            format!(
                "{} {state} {}/{} {} {}",
                v.check.as_str(),
                v.namespace,
                v.pod,
                v.container,
                v.since
            )
        };
        update.listed.into_iter().map(text).collect()
    }

    #[test]
    fn listed_violations_are_read_back() {
        let read = listed::<SidecarPolicy>;
        assert_eq!(
            read(&[violation(&json!({}))]),
            ["NotReady firing pay/web-1 envoy 2026-11-20T10:42:07Z"]
        );
        assert!(read(&[violation(&json!({"state": "Pending"}))])[0].contains(" pending "));
        for check in Check::ALL {
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
            (json!({"namespace": "shop"}), "a neighbour's namespace"),
        ];
        for (changes, why) in table {
            let listed = read(&[violation(&changes), violation(&json!({"pod": "web-2"}))]);
            assert_eq!(
                listed,
                ["NotReady firing pay/web-2 envoy 2026-11-20T10:42:07Z"],
                "{why}: only that entry is left out"
            );
        }
        let elsewhere = [
            violation(&json!({"namespace": "shop"})),
            violation(&json!({"namespace": ""})),
        ];
        assert_eq!(
            listed::<ClusterSidecarPolicy>(&elsewhere),
            ["NotReady firing shop/web-1 envoy 2026-11-20T10:42:07Z"],
            "a cluster's policy sees every namespace, but not none"
        );
        let many = vec![violation(&json!({})); 30];
        assert_eq!(read(&many).len(), MAX_VIOLATIONS, "no more than a status holds");
    }
}
