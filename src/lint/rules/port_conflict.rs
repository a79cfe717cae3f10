//! SC012: two containers that run at the same time and declare the same port
//!
//! Default severity: Warning.
//!
//! ## Reason
//!
//! The containers of a Pod share its network. Only one of them can listen on a port and protocol; the other one fails with
//! "address already in use" and restarts. A plain init container has ended when the next container starts, so its ports do not
//! count. The declaration of a port is information only, so this is a Warning.
//!
//! ## Bad
//!
//! ```yaml
//! kind: Pod
//! spec:
//!   containers:
//!   - name: app
//!     image: shop/app:1.0
//!     ports:
//!     - containerPort: 8080
//!   - name: oauth2-proxy
//!     image: quay.io/oauth2-proxy/oauth2-proxy:v7.9.0
//!     ports:
//!     - containerPort: 8080
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
//!     ports:
//!     - containerPort: 8080
//!   - name: oauth2-proxy
//!     image: quay.io/oauth2-proxy/oauth2-proxy:v7.9.0
//!     ports:
//!     - containerPort: 4180
//! ```
//!
//! ## Source
//!
//! [Pod networking](https://kubernetes.io/docs/concepts/workloads/pods/#pod-networking)

use super::{Draft, Rule};
use crate::lint::{
    finding::Severity,
    pod::{Pod, Port},
};

pub(super) const RULE: Rule = Rule {
    code: "SC012",
    title: "two containers that run at the same time and declare the same port",
    severity: Severity::Warning,
    check,
};

/// The containers of a Pod share a network namespace, so only one of them can listen on a port.
fn check(pod: &Pod<'_>) -> Vec<Draft> {
    let mut drafts = Vec::new();
    for (i, later) in pod.containers.iter().enumerate() {
        let earlier = pod.containers.get(..i).unwrap_or_default();
        for port in later.ports() {
            let owner = earlier.iter().find(|other| {
                let is_same = |p: &Port<'_>| p.number == port.number && p.protocol == port.protocol;
                // A plain init container has ended when the next container starts.
                other.is_long_running() && other.ports().iter().any(is_same)
            });
            if let Some(owner) = owner {
                drafts.push(Draft::container(
                    pod,
                    later,
                    &port.field,
                    format!(
                        "{} and {} both declare the port {}/{}: one of them cannot listen",
                        owner.name, later.name, port.number, port.protocol
                    ),
                    "give one of them another port",
                ));
            }
        }
    }
    drafts
}
