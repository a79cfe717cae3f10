//! SC008: a livenessProbe that waits for a slow start with a long initial delay.

use super::{Draft, Rule};
use crate::lint::{finding::Severity, pod::Pod, probe::Probe};

pub(super) const RULE: Rule = Rule {
    code: "SC008",
    title: "a livenessProbe with a long initial delay and no startupProbe",
    severity: Severity::Info,
    check,
};

/// A longer `initialDelaySeconds` is a slow start.
const SLOW: i64 = 30;

fn check(pod: &Pod<'_>) -> Vec<Draft> {
    pod.sidecars()
        .filter(|sidecar| sidecar.field.get("startupProbe").is_none())
        .filter_map(|sidecar| {
            let liveness = Probe::of(sidecar, "livenessProbe")?;
            let delay = liveness.field.get("initialDelaySeconds")?;
            let seconds = delay.number().filter(|seconds| *seconds > SLOW)?;
            Some(Draft::container(
                pod,
                sidecar,
                &delay,
                format!(
                    "the livenessProbe of {} starts after {seconds} s: a fault before is not seen, and a slower start is restarted",
                    sidecar.name
                ),
                "use a startupProbe instead of the delay",
            ))
        })
        .collect()
}
