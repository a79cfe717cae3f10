//! SC020: a livenessProbe that goes to the port of another container
//!
//! Default severity: Warning.
//!
//! ## Reason
//!
//! A livenessProbe that goes to a port of another container restarts a container that works, because of a fault in the other container.
//! The restart does not repair this fault. If the probe of the app goes through its proxy, each problem of the proxy restarts the
//! app too.
//!
//! The rule does not report the probes that the proxy of Istio serves for the app on port 15020. It does not report helpers whose
//! work is to probe another container either: `livenessprobe` of CSI drivers in any registry, other containers with `liveness` or
//! `healthcheck` in their name or image, `exechealthz`, and the sidecar of kube-dns.
//!
//! ## Bad
//!
//! ```yaml
//! kind: Pod
//! spec:
//!   containers:
//!   - name: app
//!     image: shop/app:1.0
//!     livenessProbe:
//!       httpGet: {path: /healthz/ready, port: 15021}
//!   - name: istio-proxy
//!     image: istio/proxyv2:1.27.1
//!     ports:
//!     - containerPort: 15021
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
//!     livenessProbe:
//!       httpGet: {path: /livez, port: 8080}
//!   - name: istio-proxy
//!     image: istio/proxyv2:1.27.1
//!     ports:
//!     - containerPort: 15021
//! ```
//!
//! ## Source
//!
//! [Configure probes](https://kubernetes.io/docs/tasks/configure-pod-container/configure-liveness-readiness-startup-probes/),
//! [Health checking of Istio services](https://istio.io/latest/docs/ops/configuration/mesh/app-health-check/)

use super::{Draft, Rule};
use crate::{
    domain::pattern::Repository,
    lint::{
        finding::Severity,
        pod::{Container, Pod},
        probe::Probe,
    },
};

pub(super) const RULE: Rule = Rule {
    code: "SC020",
    title: "a livenessProbe that goes to the port of another container",
    severity: Severity::Warning,
    check,
};

/// The port at which the proxy of Istio serves the probes of the app that it has rewritten.
const ISTIO_PROBES: u16 = 15020;
/// Parts of the names and images of helpers that probe another container and serve the result: the livenessprobe of CSI
/// drivers, exechealthz, and the sidecar of kube-dns.
const PROBERS: [&str; 4] = ["liveness", "health-check", "healthcheck", "exechealthz"];
/// Such a helper whose name says nothing.
const DNS_SIDECAR: &str = "k8s-dns-sidecar";

fn check(pod: &Pod<'_>) -> Vec<Draft> {
    pod.containers
        .iter()
        .filter(|container| container.is_long_running())
        .filter_map(|container| {
            let (number, field) = Probe::of(container, "livenessProbe")?.port()?;
            let is_own = container.ports().iter().any(|port| port.number == number);
            let owner = pod.declares_tcp_port(number)?;
            if is_own || number == ISTIO_PROBES || probes_others(owner) {
                return None;
            }
            Some(Draft::container(
                pod,
                container,
                &field,
                format!(
                    "the livenessProbe of {} goes to port {number} of {}: a fault of {} restarts {}",
                    container.name, owner.name, owner.name, container.name
                ),
                "probe the container itself",
            ))
        })
        .collect()
}

fn probes_others(container: &Container<'_>) -> bool {
    let repository = Repository::without_tag(&container.image);
    let image = repository.rsplit('/').next().unwrap_or_default();
    let says = |part: &str| container.name.contains(part) || image.contains(part);
    PROBERS.iter().any(|part| says(part)) || image.starts_with(DNS_SIDECAR)
}
