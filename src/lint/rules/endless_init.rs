//! SC003: an init container that never exits
//!
//! Default severity: Error.
//!
//! ## Reason
//!
//! An init container must exit with code 0 before the next container starts. If its command ends in `sleep infinity`,
//! `tail -f /dev/null` or an endless loop, it blocks the Pod forever. Often `restartPolicy: Always` is missing, which would make it
//! a native sidecar.
//!
//! The rule also reports a container with the name of a sidecar of the built-in catalogue, such as `istio-proxy` or `cloud-sql-proxy`:
//! an author or a webhook has lost `restartPolicy: Always`. The image does not count, because `istio-init`, `linkerd-network-validator`
//! and `init-config-reloader` have the image of a sidecar. Products that can also run once, such as `git-sync` and `vault-agent`, and
//! containers with a script or an option such as `--one-time` are not reported.
//!
//! The rule reports a command only if it certainly never exits. A script with `exit`, `break`, `return`, `trap`, `exec` or `kill`
//! before its end is not reported, and neither is a command that runs only under a condition.
//!
//! ## Bad
//!
//! ```yaml
//! kind: Pod
//! spec:
//!   initContainers:
//!   - name: sync
//!     image: shop/sync:1.0
//!     command: [sh, -c, 'sync-once; sleep infinity']
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
//!   - name: sync
//!     image: shop/sync:1.0
//!     command: [sh, -c, 'until sync-once; do sleep 5; done']
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
    domain::{catalogue, observation::ContainerKind},
    lint::{
        finding::Severity,
        pod::{Container, Pod},
        rules::classic_in_job::runs_once,
        shell::Program,
        shell_words::base_name,
    },
};

pub(super) const RULE: Rule = Rule {
    code: "SC003",
    title: "an init container that never exits",
    severity: Severity::Error,
    check,
};

/// Programs that end, whatever the name of their container is.
const BRIEF: [&str; 12] = [
    "cat", "chmod", "chown", "cp", "curl", "echo", "install", "ln", "ls", "mkdir", "mv", "true",
];

fn check(pod: &Pod<'_>) -> Vec<Draft> {
    pod.containers
        .iter()
        .filter(|container| container.kind == ContainerKind::Init)
        .filter_map(|container| endless_command(pod, container).or_else(|| misplaced_sidecar(pod, container)))
        .collect()
}

fn endless_command(pod: &Pod<'_>, container: &Container<'_>) -> Option<Draft> {
    let command = container.program().endless_command()?;
    Some(Draft::container(
        pod,
        container,
        &container.program_field(),
        format!(
            "init container {} never exits, because it runs `{command}`: the containers after it never start",
            container.name
        ),
        "remove the command, or set restartPolicy: Always if the container is to run beside the app",
    ))
}

/// Only the name says that it is a sidecar. So a command that can end is trusted.
fn misplaced_sidecar(pod: &Pod<'_>, container: &Container<'_>) -> Option<Draft> {
    let can_end = match container.program() {
        Program::Script { .. } => true,
        Program::Direct(words) => words.first().is_some_and(|word| BRIEF.contains(&base_name(word))),
    };
    if can_end || runs_once(container) || !catalogue::is_misplaced_init(&container.name) {
        return None;
    }
    Some(Draft::container(
        pod,
        container,
        &container.title(),
        format!(
            "init container {} is a sidecar that never exits, and it has no restartPolicy: Always: the containers after it never start",
            container.name
        ),
        "set restartPolicy: Always, which makes it a native sidecar",
    ))
}
