//! SC007: a liveness probe that acts no later than the same readiness probe.

use super::{Draft, Rule};
use crate::lint::{finding::Severity, pod::Pod, probe::Probe};

pub(super) const RULE: Rule = Rule {
    code: "SC007",
    title: "a livenessProbe that acts no later than the same readinessProbe",
    severity: Severity::Warning,
    check,
};

fn check(pod: &Pod<'_>) -> Vec<Draft> {
    pod.sidecars()
        .filter_map(|sidecar| {
            let liveness = Probe::of(sidecar, "livenessProbe")?;
            let readiness = Probe::of(sidecar, "readinessProbe")?;
            let action = liveness.action(sidecar)?;
            let (alive, ready) = (liveness.seconds_to_act(), readiness.seconds_to_act());
            if readiness.action(sidecar)? != action || alive > ready {
                return None;
            }
            Some(Draft::container(
                pod,
                sidecar,
                &liveness.field,
                format!(
                    "the livenessProbe of {} acts after {alive} s, and the readinessProbe with the same check after {ready} s: the container is restarted before the Pod leaves its Services",
                    sidecar.name
                ),
                "let the livenessProbe act later (failureThreshold), or let it check less",
            ))
        })
        .collect()
}
