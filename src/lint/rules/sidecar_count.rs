//! SC013: many sidecars.

use super::{Draft, Rule};
use crate::lint::{finding::Severity, pod::Pod};

pub(super) const RULE: Rule = Rule {
    code: "SC013",
    title: "five or more sidecars",
    severity: Severity::Info,
    check,
};

/// The number of sidecars that is reported.
const MANY: usize = 5;

fn check(pod: &Pod<'_>) -> Vec<Draft> {
    // A CSI controller has a helper for each kind of request.
    let count = pod.sidecars().filter(|sidecar| !sidecar.is_csi_helper()).count();
    let Some(list) = pod.spec.get("containers").filter(|_| count >= MANY) else {
        return Vec::new();
    };
    vec![Draft::pod(
        &list,
        format!("the Pod has {count} sidecars: each can delay its start and take it out of its Services"),
        "consider whether one of them can run once per node or as a workload of its own",
    )]
}
