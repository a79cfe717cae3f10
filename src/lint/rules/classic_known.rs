//! SC021: a classic sidecar that can be a native sidecar
//!
//! Default severity: Info.
//!
//! ## Reason
//!
//! istio-proxy, linkerd-proxy, vault-agent and cloud-sql-proxy can run as native sidecars, which Kubernetes supports by default since
//! 1.29. As a classic sidecar, the container starts together with the app, init containers cannot use it, and it can stop before
//! the app. In a Job, [SC004](SC004.md) reports it.
//!
//! The rule shows the setting of the injector, or how to move the container. In a Pod that an injector changes, change the
//! setting, not the Pod.
//!
//! ## Bad
//!
//! ```yaml
//! kind: Pod
//! spec:
//!   containers:
//!   - name: app
//!     image: shop/app:1.0
//!   - name: cloud-sql-proxy
//!     image: gcr.io/cloud-sql-connectors/cloud-sql-proxy:2.18.0
//! ```
//!
//! ## Good
//!
//! ```yaml
//! kind: Pod
//! spec:
//!   initContainers:
//!   - name: cloud-sql-proxy
//!     image: gcr.io/cloud-sql-connectors/cloud-sql-proxy:2.18.0
//!     restartPolicy: Always
//!     startupProbe:
//!       httpGet: {path: /startup, port: 9090}
//!   containers:
//!   - name: app
//!     image: shop/app:1.0
//! ```
//!
//! ## Source
//!
//! [Sidecar containers](https://kubernetes.io/docs/concepts/workloads/pods/sidecar-containers/)

use super::{Draft, Rule};
use crate::lint::{finding::Severity, pod::Pod};

pub(super) const RULE: Rule = Rule {
    code: "SC021",
    title: "a classic sidecar that can be a native sidecar",
    severity: Severity::Info,
    check,
};

/// Titles of the catalogue, with the way to a native sidecar.
const PRODUCTS: [(&str, &str); 4] = [
    (
        "Istio proxy",
        "set ENABLE_NATIVE_SIDECARS=true in istiod (the default since Istio 1.27), or the annotation sidecar.istio.io/nativeSidecar: \"true\" on the Pod",
    ),
    (
        "Linkerd proxy",
        "set the annotation config.linkerd.io/proxy-enable-native-sidecar: \"true\" on the Pod or its Namespace (config.beta.linkerd.io in older versions)",
    ),
    (
        "Vault agent",
        "move it to spec.initContainers with restartPolicy: Always",
    ),
    (
        "Cloud SQL proxy",
        "move it to spec.initContainers with restartPolicy: Always, and add a startupProbe",
    ),
];

fn check(pod: &Pod<'_>) -> Vec<Draft> {
    if pod.is_job() {
        // SC004 reports it there.
        return Vec::new();
    }
    pod.sidecars()
        .filter(|sidecar| sidecar.is_classic_sidecar())
        .filter_map(|sidecar| {
            let title = sidecar.product()?.title;
            let (_, help) = PRODUCTS.iter().find(|(product, _)| *product == title)?;
            let draft = Draft::container(
                pod,
                sidecar,
                &sidecar.title(),
                format!(
                    "{} is a classic sidecar: init containers cannot use it, and it can stop before the app",
                    sidecar.name
                ),
                help,
            );
            Some(draft.suggest_native())
        })
        .collect()
}
