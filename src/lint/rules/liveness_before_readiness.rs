//! SC007: a livenessProbe that acts no later than the same readinessProbe
//!
//! Default severity: Warning.
//!
//! ## Reason
//!
//! If both probes of a sidecar make the same request, and the livenessProbe acts no later (`failureThreshold` times
//! `periodSeconds`), an overloaded sidecar is restarted instead of being removed from the Services for a while. The restart
//! breaks open connections and adds load to the other Pods.
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
//!     readinessProbe:
//!       httpGet: {path: /healthz/ready, port: 15021}
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
//!     livenessProbe:
//!       httpGet: {path: /healthz/ready, port: 15021}
//!       failureThreshold: 12
//!     readinessProbe:
//!       httpGet: {path: /healthz/ready, port: 15021}
//! ```
//!
//! ## Source
//!
//! [Configure probes](https://kubernetes.io/docs/tasks/configure-pod-container/configure-liveness-readiness-startup-probes/): "A
//! common pattern for liveness probes is to use the same low-cost HTTP endpoint as for readiness probes, but with a higher
//! failureThreshold."

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
