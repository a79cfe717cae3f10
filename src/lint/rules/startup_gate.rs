//! SC001: a native sidecar without startupProbe and postStart hook
//!
//! Default severity: Info, Warning for proxies.
//!
//! ## Reason
//!
//! The kubelet starts the next container of a Pod when a native sidecar is *started*. Without a startupProbe and a postStart
//! hook, it is started as soon as its process runs. The app can then start before the sidecar can serve. For example, a proxy does not
//! route yet, and the first requests of the app fail. A readinessProbe does not change that.
//!
//! The severity is Warning for the proxies of the built-in catalogue that carry what the app sends: those of a mesh, and those to a
//! remote service such as a database.
//!
//! ## Bad
//!
//! ```yaml
//! kind: Pod
//! spec:
//!   initContainers:
//!   - name: istio-proxy
//!     image: istio/proxyv2:1.27.1
//!     restartPolicy: Always
//!   containers:
//!   - name: app
//!     image: shop/app:1.0
//! ```
//!
//! ## Good
//!
//! ```yaml
//! kind: Pod
//! spec:
//!   initContainers:
//!   - name: istio-proxy
//!     image: istio/proxyv2:1.27.1
//!     restartPolicy: Always
//!     startupProbe:
//!       httpGet:
//!         path: /healthz/ready
//!         port: 15021
//!       failureThreshold: 600
//!       periodSeconds: 1
//!   containers:
//!   - name: app
//!     image: shop/app:1.0
//! ```
//!
//! ## Source
//!
//! [KEP-753: Sidecar containers](https://github.com/kubernetes/enhancements/tree/master/keps/sig-node/753-sidecar-containers);
//! [Sidecar containers](https://kubernetes.io/docs/concepts/workloads/pods/sidecar-containers/)

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
