//! SC017: an init container that waits for a container that starts after it.

use super::{Draft, Rule};
use crate::{
    domain::observation::ContainerKind,
    lint::{finding::Severity, pod::Pod},
};

pub(super) const RULE: Rule = Rule {
    code: "SC017",
    title: "an init container that waits for a port of a later container",
    severity: Severity::Error,
    check,
};

fn check(pod: &Pod<'_>) -> Vec<Draft> {
    let mut drafts = Vec::new();
    for (i, init) in pod.containers.iter().enumerate() {
        if init.kind != ContainerKind::Init {
            continue;
        }
        let (before, after) = pod.containers.split_at(i);
        for number in init.program().awaited_local_ports() {
            let serves = |container: &&crate::lint::pod::Container<'_>| {
                let declares = container.ports().iter().any(|port| port.number == number);
                container.is_long_running() && declares
            };
            let Some(owner) = after.iter().find(serves) else {
                continue;
            };
            if before.iter().any(|container| serves(&container)) {
                continue;
            }
            drafts.push(Draft::container(
                pod,
                init,
                &init.program_field(),
                format!(
                    "init container {} waits for port {number} of {}, which starts after it: the Pod never starts",
                    init.name, owner.name
                ),
                "make the other container a native sidecar before this one, or wait in the container that needs it",
            ));
        }
    }
    drafts
}
