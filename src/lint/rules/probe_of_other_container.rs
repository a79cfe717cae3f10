//! SC020: a liveness probe that examines another container.

use super::{Draft, Rule};
use crate::{
    domain::pattern::{Glob, Repository},
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
/// The helper of CSI drivers that serves the probe of the driver.
const CSI_HELPER: &str = "*/livenessprobe";

fn check(pod: &Pod<'_>) -> Vec<Draft> {
    pod.containers
        .iter()
        .filter(|container| container.is_long_running())
        .filter_map(|container| {
            let (number, field) = Probe::of(container, "livenessProbe")?.port()?;
            let is_own = container.ports().iter().any(|port| port.number == number);
            let owner = pod.declares_tcp_port(number)?;
            if is_own || number == ISTIO_PROBES || is_csi_helper(owner) {
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

fn is_csi_helper(container: &Container<'_>) -> bool {
    Glob::new(CSI_HELPER).matches(&Repository::of(&container.image))
}
