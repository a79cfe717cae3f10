//! SC014: the sidecars share the processes of the app.

use super::{Draft, Rule};
use crate::lint::{finding::Severity, pod::Pod};

pub(super) const RULE: Rule = Rule {
    code: "SC014",
    title: "shareProcessNamespace in a Pod with sidecars",
    severity: Severity::Info,
    check,
};

fn check(pod: &Pod<'_>) -> Vec<Draft> {
    let shared = pod
        .spec
        .get("shareProcessNamespace")
        .filter(|field| field.is_true() && pod.sidecars().next().is_some());
    shared
        .map(|field| {
            Draft::pod(
                &field,
                "the containers share their processes: a sidecar can see the environment of the app and end it, and no process has the ID 1"
                    .to_owned(),
                "remove it, unless a sidecar sends signals to the app",
            )
        })
        .into_iter()
        .collect()
}
