//! SC017: an init container that waits for a port of a later container
//!
//! Default severity: Error.
//!
//! ## Reason
//!
//! Init containers run before the regular containers, one after the other. An init container that waits on localhost for a port
//! of a later container waits forever. A native sidecar before the init container can serve the port.
//!
//! The declaration of a port is information only, so the rule does not need it. It reports a port that a later container declares, and
//! a port that nothing can serve at that time. It is silent if a native sidecar before the init container can serve the port, if the Pod
//! uses the network of its node, if the script starts a command in the background, and for the ports of Istio, Linkerd, Consul, Dapr and
//! Vault if the manifest has no proxy: an injector can add it as a native sidecar.
//!
//! The rule detects loops (`until`, `while`) without a limit that connect to localhost with a client such as `curl` or `nc`, and
//! tools that wait, such as `wait-for-it`.
//!
//! ## Bad
//!
//! ```yaml
//! kind: Pod
//! spec:
//!   initContainers:
//!   - name: migrate
//!     image: shop/migrate:1.0
//!     command: [sh, -c, 'until nc -z localhost 5432; do sleep 1; done; migrate']
//!   containers:
//!   - name: app
//!     image: shop/app:1.0
//!   - name: cloud-sql-proxy
//!     image: gcr.io/cloud-sql-connectors/cloud-sql-proxy:2.18.0
//!     ports:
//!     - containerPort: 5432
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
//!     ports:
//!     - containerPort: 5432
//!   - name: migrate
//!     image: shop/migrate:1.0
//!     command: [sh, -c, 'until nc -z localhost 5432; do sleep 1; done; migrate']
//!   containers:
//!   - name: app
//!     image: shop/app:1.0
//! ```
//!
//! ## Source
//!
//! [Init containers](https://kubernetes.io/docs/concepts/workloads/pods/init-containers/)

use super::{Draft, Rule};
use crate::{
    domain::{catalogue::Class, observation::ContainerKind},
    lint::{
        finding::Severity,
        pod::{Container, Pod},
    },
};

pub(super) const RULE: Rule = Rule {
    code: "SC017",
    title: "an init container that waits for a port of a later container",
    severity: Severity::Error,
    check,
};

/// Ports of proxies and agents that an injector can add as a native sidecar before the init containers: Istio, Linkerd,
/// Consul, Dapr and Vault.
const INJECTED: [std::ops::RangeInclusive<u16>; 7] = [
    15_000..=15_090,
    4_140..=4_143,
    4_190..=4_191,
    20_000..=20_500,
    3_500..=3_500,
    50_001..=50_001,
    8_200..=8_200,
];

fn check(pod: &Pod<'_>) -> Vec<Draft> {
    let mut drafts = Vec::new();
    for (i, init) in pod.containers.iter().enumerate() {
        let program = init.program();
        // A command in the background can serve the port.
        if init.kind != ContainerKind::Init || program.has_background_command() {
            continue;
        }
        let (before, after) = pod.containers.split_at(i);
        for number in program.awaited_local_ports() {
            let Some(message) = problem(pod, init, number, before, after) else {
                continue;
            };
            drafts.push(Draft::container(
                pod,
                init,
                &init.program_field(),
                message,
                "make the container that serves the port a native sidecar before this one, or wait in the container that needs it",
            ));
        }
    }
    drafts
}

/// Says why nothing serves the port when the init container waits for it. `None` if something can serve it.
fn problem(
    pod: &Pod<'_>,
    init: &Container<'_>,
    number: u16,
    before: &[Container<'_>],
    after: &[Container<'_>],
) -> Option<String> {
    let declares = |container: &&Container<'_>| {
        let ports = container.ports();
        container.is_long_running() && ports.iter().any(|port| port.number == number)
    };
    if before.iter().any(|container| declares(&container)) {
        return None;
    }
    let name = &init.name;
    if let Some(owner) = after.iter().find(declares) {
        return Some(format!(
            "init container {name} waits for port {number} of {}, which starts after it: the Pod never starts",
            owner.name
        ));
    }
    // Ports need no declaration. So any container that runs before can serve it, and on the network of the node any process.
    let is_served = before.iter().any(Container::is_long_running)
        || pod.spec.get("hostNetwork").is_some_and(|field| field.is_true());
    // An injector leaves a Pod alone that has its proxy already. It completes a stub of it, perhaps as a native sidecar.
    let has_proxy = after.iter().any(|container| {
        container.is_long_running() && container.class() == Some(Class::MeshProxy) && !container.is_stub()
    });
    let is_injected = INJECTED.iter().any(|range| range.contains(&number)) && !has_proxy;
    (!is_served && !is_injected).then(|| {
        format!(
            "init container {name} waits for port {number} on localhost, and no container that could serve it runs before: the Pod never starts"
        )
    })
}
