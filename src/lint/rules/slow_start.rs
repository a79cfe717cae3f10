//! SC008: a livenessProbe with a long initial delay and no startupProbe
//!
//! Default severity: Info.
//!
//! ## Reason
//!
//! An `initialDelaySeconds` of more than 30 indicates that a sidecar starts slowly. During the delay, no fault is detected. After the
//! delay, a sidecar that is still starting is restarted. A startupProbe solves both problems: the livenessProbe begins when the
//! startupProbe has passed.
//!
//! ## Bad
//!
//! ```yaml
//! kind: Pod
//! spec:
//!   containers:
//!   - name: app
//!     image: shop/app:1.0
//!   - name: istio-proxy
//!     image: istio/proxyv2:1.27.1
//!     livenessProbe:
//!       httpGet: {path: /healthz/ready, port: 15021}
//!       initialDelaySeconds: 120
//! ```
//!
//! ## Good
//!
//! ```yaml
//! kind: Pod
//! spec:
//!   containers:
//!   - name: app
//!     image: shop/app:1.0
//!   - name: istio-proxy
//!     image: istio/proxyv2:1.27.1
//!     startupProbe:
//!       httpGet: {path: /healthz/ready, port: 15021}
//!       failureThreshold: 30
//!     livenessProbe:
//!       httpGet: {path: /healthz/ready, port: 15021}
//! ```
//!
//! ## Source
//!
//! [Protect slow starting containers with startup
//! probes](https://kubernetes.io/docs/tasks/configure-pod-container/configure-liveness-readiness-startup-probes/#define-startup-probes)

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
