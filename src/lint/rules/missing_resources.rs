//! SC010: a sidecar without requests or without a memory limit.

use super::{Draft, Rule};
use crate::lint::{
    field::Field,
    finding::Severity,
    pod::{Container, Pod},
};

pub(super) const RULE: Rule = Rule {
    code: "SC010",
    title: "a sidecar without requests or without a memory limit",
    severity: Severity::Warning,
    check,
};

fn check(pod: &Pod<'_>) -> Vec<Draft> {
    pod.sidecars()
        .filter_map(|sidecar| {
            let missing = missing(pod, sidecar);
            let (last, others) = missing.split_last()?;
            let text = match others {
                [] => (*last).to_owned(),
                others => format!("{} and {last}", others.join(", ")),
            };
            let at = sidecar.field.get("resources").unwrap_or_else(|| sidecar.title());
            Some(Draft::container(
                pod,
                sidecar,
                &at,
                format!("sidecar {} has no {text}", sidecar.name),
                "set requests for cpu and memory and a limit for memory, so that the sidecar and the app do not take from each other",
            ))
        })
        .collect()
}

/// Returns the values that neither the container nor the Pod (KEP-2837) sets. A limit is the default of a request.
fn missing(pod: &Pod<'_>, sidecar: &Container<'_>) -> Vec<&'static str> {
    let has = |kind: &str, resource: &str| {
        let of = |owner: &Field<'_>| owner.at(&["resources", kind, resource]).is_some();
        of(&sidecar.field) || of(&pod.spec)
    };
    let table = [
        ("request for cpu", has("requests", "cpu") || has("limits", "cpu")),
        (
            "request for memory",
            has("requests", "memory") || has("limits", "memory"),
        ),
        ("limit for memory", has("limits", "memory")),
    ];
    let missing = table.into_iter().filter(|(_, is_set)| !is_set);
    missing.map(|(name, _)| name).collect()
}
