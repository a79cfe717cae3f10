//! SC005: a classic sidecar without readinessProbe
//!
//! Default severity: Info.
//!
//! ## Reason
//!
//! Without a readinessProbe, a running sidecar counts as ready. If requests to the Pod go through the sidecar, the Pod receives
//! requests before the sidecar can serve, and while the sidecar hangs.
//!
//! The rule covers proxies of a mesh, proxies that authenticate requests, and other sidecars that declare a port. It does not cover
//! sidecars of the catalogue that serve no requests of the Pod: proxies to a remote service (such as the Cloud SQL proxy), log shippers,
//! exporters and config reloaders. It does not cover Pods that are meant to end.
//!
//! ## Bad
//!
//! ```yaml
//! kind: Pod
//! spec:
//!   containers:
//!   - name: app
//!     image: shop/app:1.0
//!   - name: oauth2-proxy
//!     image: quay.io/oauth2-proxy/oauth2-proxy:v7.9.0
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
//!   - name: oauth2-proxy
//!     image: quay.io/oauth2-proxy/oauth2-proxy:v7.9.0
//!     readinessProbe:
//!       httpGet:
//!         path: /ready
//!         port: 4180
//! ```
//!
//! ## Source
//!
//! [Configure probes](https://kubernetes.io/docs/tasks/configure-pod-container/configure-liveness-readiness-startup-probes/)

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
