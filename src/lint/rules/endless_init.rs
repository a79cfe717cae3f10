//! SC003: an init container that never exits.

use super::{Draft, Rule};
use crate::{
    domain::observation::ContainerKind,
    lint::{finding::Severity, pod::Pod},
};

pub(super) const RULE: Rule = Rule {
    code: "SC003",
    title: "an init container that never exits",
    severity: Severity::Error,
    check,
};

fn check(pod: &Pod<'_>) -> Vec<Draft> {
    pod.containers
        .iter()
        .filter(|container| container.kind == ContainerKind::Init)
        .filter_map(|container| {
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
        })
        .collect()
}
