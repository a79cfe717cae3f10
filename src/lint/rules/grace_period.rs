//! SC015: a preStop hook that sleeps longer than terminationGracePeriodSeconds
//!
//! Default severity: Error.
//!
//! ## Reason
//!
//! The grace period of a Pod includes the preStop hooks. When it is over, the kubelet ends the hook and kills the container. If a
//! hook sleeps longer, the container has no time to handle SIGTERM: requests in progress are lost at each rollout.
//!
//! The kubelet runs the hooks of all containers in parallel, before it stops the native sidecars in order. So the times of
//! several hooks are not added. The rule counts the field `sleep`, the command `sleep`, and the parts of a script that are
//! certain to run. It covers all containers.
//!
//! ## Bad
//!
//! ```yaml
//! kind: Pod
//! spec:
//!   containers:
//!   - name: app
//!     image: shop/app:1.0
//!     lifecycle:
//!       preStop:
//!         exec:
//!           command: [sleep, '60']
//! ```
//!
//! ## Good
//!
//! ```yaml
//! kind: Pod
//! spec:
//!   terminationGracePeriodSeconds: 90
//!   containers:
//!   - name: app
//!     image: shop/app:1.0
//!     lifecycle:
//!       preStop:
//!         exec:
//!           command: [sleep, '60']
//! ```
//!
//! ## Source
//!
//! [Termination of Pods](https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-termination)

use super::{Draft, Rule};
use crate::lint::{
    field::Field,
    finding::Severity,
    pod::{Container, Pod},
    shell::Program,
};

pub(super) const RULE: Rule = Rule {
    code: "SC015",
    title: "a preStop hook that sleeps longer than terminationGracePeriodSeconds",
    severity: Severity::Error,
    check,
};

/// The kubelet runs the hooks of all containers in parallel, before the ordered stop, so the times are not added.
fn check(pod: &Pod<'_>) -> Vec<Draft> {
    let grace = pod.grace_period();
    pod.containers
        .iter()
        .filter_map(|container| {
            let (seconds, field) = sleep(container)?;
            (seconds > grace).then(|| {
                let time = if seconds == u64::MAX {
                    "forever".to_owned()
                } else {
                    format!("for {seconds} s")
                };
                let message = format!(
                    "the preStop hook of {} sleeps {time}, longer than terminationGracePeriodSeconds ({grace}): the container is killed without SIGTERM being handled",
                    container.name
                );
                Draft::container(
                    pod,
                    container,
                    &field,
                    message,
                    "raise terminationGracePeriodSeconds above the sleep and the time that the container needs to stop",
                )
            })
        })
        .collect()
}

/// Returns the time that the hook sleeps for certain.
fn sleep<'t>(container: &Container<'t>) -> Option<(u64, Field<'t>)> {
    let hook = container.field.at(&["lifecycle", "preStop"])?;
    if let Some(seconds) = hook.at(&["sleep", "seconds"]) {
        return Some((seconds.number()?.try_into().ok()?, seconds));
    }
    let command = hook.at(&["exec", "command"])?;
    Some((Program::new(&command.texts()).sleeps(), command))
}
