//! SC001: a native sidecar that the app does not wait for.

use super::{Draft, Rule};
use crate::{
    domain::{catalogue::Class, observation::ContainerKind},
    lint::{finding::Severity, pod::Pod},
};

pub(super) const RULE: Rule = Rule {
    code: "SC001",
    title: "a native sidecar without startupProbe and postStart hook",
    severity: Severity::Info,
    check,
};

/// The kubelet starts the next container when a native sidecar is `started`: its startup probe has passed and its
/// postStart hook has returned (KEP-753).
fn check(pod: &Pod<'_>) -> Vec<Draft> {
    pod.sidecars()
        .filter(|sidecar| sidecar.kind == ContainerKind::Native)
        .filter(|sidecar| {
            let has_gate = sidecar.field.get("startupProbe").is_some()
                || sidecar.field.at(&["lifecycle", "postStart"]).is_some();
            !has_gate
        })
        .map(|sidecar| {
            let draft = Draft::container(
                pod,
                sidecar,
                &sidecar.title(),
                format!(
                    "native sidecar {} has no startupProbe and no postStart hook: the next containers start before it can serve",
                    sidecar.name
                ),
                "add a startupProbe that passes when the sidecar can serve",
            );
            // What the app sends goes through them. Nothing comes in before the app has started.
            if matches!(sidecar.class(), Some(Class::MeshProxy | Class::Ambassador)) {
                draft.with_severity(Severity::Warning)
            } else {
                draft
            }
        })
        .collect()
}
