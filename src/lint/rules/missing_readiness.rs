//! SC005: a classic sidecar that serves and has no readinessProbe.

use super::{Draft, Rule};
use crate::{
    domain::catalogue::Class,
    lint::{
        finding::Severity,
        pod::{Container, Pod},
    },
};

pub(super) const RULE: Rule = Rule {
    code: "SC005",
    title: "a classic sidecar without readinessProbe",
    severity: Severity::Info,
    check,
};

fn check(pod: &Pod<'_>) -> Vec<Draft> {
    if pod.ends() {
        // A Pod that is to end is rarely behind a Service.
        return Vec::new();
    }
    pod.sidecars()
        .filter(|sidecar| sidecar.is_classic_sidecar() && serves(sidecar))
        .filter(|sidecar| sidecar.field.get("readinessProbe").is_none())
        .map(|sidecar| {
            Draft::container(
                pod,
                sidecar,
                &sidecar.title(),
                format!(
                    "sidecar {} has no readinessProbe: the Pod gets requests while it cannot serve",
                    sidecar.name
                ),
                "add a readinessProbe, if requests to the Pod need the sidecar",
            )
        })
        .collect()
}

/// Whether requests to the app can need the sidecar.
fn serves(sidecar: &Container<'_>) -> bool {
    match sidecar.class() {
        Some(Class::MeshProxy | Class::AuthProxy) => true,
        // An ambassador carries what the app sends, not what it receives.
        Some(Class::Secrets | Class::PolicyEngine) | None => !sidecar.ports().is_empty(),
        Some(_) => false,
    }
}
