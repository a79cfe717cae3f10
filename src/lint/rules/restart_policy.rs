//! SC002: restartPolicy: Always on a classic sidecar in a Pod that is to end
//!
//! Default severity: Error.
//!
//! ## Reason
//!
//! Only an entry of `spec.initContainers` with `restartPolicy: Always` is a native sidecar. The same field on a container in
//! `spec.containers` does not order the start and the stop (KEP-5307; older API servers ignore the field). The container restarts
//! forever, so a Pod with `restartPolicy: Never` or `OnFailure` never ends, and neither does its Job.
//!
//! The rule shows how to move the container.
//!
//! ## Bad
//!
//! ```yaml
//! kind: Job
//! spec:
//!   template:
//!     spec:
//!       restartPolicy: Never
//!       containers:
//!       - name: app
//!         image: shop/report:1.0
//!       - name: cloud-sql-proxy
//!         image: gcr.io/cloud-sql-connectors/cloud-sql-proxy:2.18.0
//!         restartPolicy: Always
//! ```
//!
//! ## Good
//!
//! ```yaml
//! kind: Job
//! spec:
//!   template:
//!     spec:
//!       restartPolicy: Never
//!       initContainers:
//!       - name: cloud-sql-proxy
//!         image: gcr.io/cloud-sql-connectors/cloud-sql-proxy:2.18.0
//!         restartPolicy: Always
//!       containers:
//!       - name: app
//!         image: shop/report:1.0
//! ```
//!
//! ## Source
//!
//! [KEP-753](https://github.com/kubernetes/enhancements/tree/master/keps/sig-node/753-sidecar-containers), [KEP-5307: Container
//! restart policy](https://github.com/kubernetes/enhancements/tree/master/keps/sig-node/5307-container-restart-policy)

use super::{Draft, Rule};
use crate::lint::{finding::Severity, pod::Pod};

pub(super) const RULE: Rule = Rule {
    code: "SC002",
    title: "restartPolicy: Always on a classic sidecar in a Pod that is to end",
    severity: Severity::Error,
    check,
};

/// Only an entry of `spec.initContainers` with `restartPolicy: Always` is a native sidecar.
fn check(pod: &Pod<'_>) -> Vec<Draft> {
    if !pod.ends() {
        return Vec::new();
    }
    pod.sidecars()
        .filter(|sidecar| sidecar.is_classic_sidecar())
        .filter_map(|sidecar| {
            let policy = sidecar.field.get("restartPolicy")?;
            (policy.text() == Some("Always")).then(|| {
                let message = format!(
                    "restartPolicy: Always does not make {} a native sidecar, because it is in spec.containers: it restarts forever, and the Pod never ends",
                    sidecar.name
                );
                Draft::container(
                    pod,
                    sidecar,
                    &policy,
                    message,
                    "move the container to spec.initContainers; it then starts before the app and is stopped after it",
                )
                .suggest_native()
            })
        })
        .collect()
}
