//! SC002: `restartPolicy: Always` on a sidecar in `spec.containers` of a Pod that is to end.

use super::{Draft, Rule};
use crate::lint::{finding::Severity, pod::Pod};

pub(super) const RULE: Rule = Rule {
    code: "SC002",
    title: "restartPolicy: Always on a classic sidecar in a Pod that is to end",
    severity: Severity::Error,
    check,
};

/// Only an entry of `spec.initContainers` with `restartPolicy: Always` is a native sidecar.
fn check(pod: &Pod<'_>) -> Vec<Draft> {
    if !pod.ends() {
        return Vec::new();
    }
    pod.sidecars()
        .filter(|sidecar| sidecar.is_classic_sidecar())
        .filter_map(|sidecar| {
            let policy = sidecar.field.get("restartPolicy")?;
            (policy.text() == Some("Always")).then(|| {
                let message = format!(
                    "restartPolicy: Always does not make {} a native sidecar, because it is in spec.containers: it restarts forever, and the Pod never ends",
                    sidecar.name
                );
                Draft::container(
                    pod,
                    sidecar,
                    &policy,
                    message,
                    "move the container to spec.initContainers; it then starts before the app and is stopped after it",
                )
                .suggest_native()
            })
        })
        .collect()
}
