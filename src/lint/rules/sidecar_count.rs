//! SC013: five or more sidecars
//!
//! Default severity: Info.
//!
//! ## Reason
//!
//! Each sidecar can delay the start of the Pod, remove the Pod from its Services, and use memory. With many sidecars, the Pod is often
//! unavailable although the app works.
//!
//! The helpers of CSI drivers do not count: a CSI controller has one for each kind of request.
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
//!   - name: vault-agent
//!   - name: fluent-bit
//!   - name: otel-collector
//!   - name: redis-exporter
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
//!   - name: vault-agent
//!   - name: fluent-bit
//! ```
//!
//! ## Source
//!
//! [Multi-container Pods](https://kubernetes.io/docs/concepts/workloads/pods/#how-pods-manage-multiple-containers)

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
