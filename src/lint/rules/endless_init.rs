//! SC003: an init container that never exits.

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
