//! StartupBlocked: the Pod is on its node, its sandbox is ready, and the first init container that is not done blocks all
//! containers after it.
//!
//! A native sidecar is done when it is `started` (its startup probe has passed and its postStart hook has returned),
//! even if it is not ready. A plain init container is done when it has exited with code 0 (KEP-753). A postStart hook
//! that hangs and a slow image pull have the same status: `PodInitializing`.

use jiff::{SignedDuration, Timestamp};

use super::{Fault, MessageContext, Settings, View, messages::name_list};
use crate::domain::{
    observation::{ContainerKind, ContainerStatus, State},
    roles::Role,
};

/// The limits of StartupBlocked.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// How long a native sidecar may take to start.
    pub hold_for: SignedDuration,
    /// How long a plain init container may run.
    pub init_containers_for: SignedDuration,
    /// How long nothing may block the startup before the violation resolves.
    pub keep_firing_for: SignedDuration,
}

impl Default for Settings<Limits> {
    fn default() -> Self {
        let limits = Limits {
            hold_for: SignedDuration::from_mins(5),
            init_containers_for: SignedDuration::from_mins(30),
            keep_firing_for: SignedDuration::ZERO,
        };
        Self::with_limits(limits)
    }
}

pub(super) struct Rule;

fn limits<'a>(view: &View<'a>) -> &'a Limits {
    &view.policy.checks.startup_blocked.limits
}

impl super::Rule for Rule {
    fn reason(&self) -> &'static str {
        "SidecarBlocksStartup"
    }

    fn covers(&self, view: &View<'_>, container_idx: usize) -> bool {
        matches!(view.roles.of(container_idx), Role::Sidecar | Role::Init)
            && view
                .kind(container_idx)
                .is_some_and(|kind| kind != ContainerKind::Regular)
    }

    fn hold_for(&self, view: &View<'_>, container_idx: usize) -> SignedDuration {
        match view.kind(container_idx) {
            Some(ContainerKind::Init) => limits(view).init_containers_for,
            _ => limits(view).hold_for,
        }
    }

    fn keep_firing_for(&self, view: &View<'_>) -> SignedDuration {
        limits(view).keep_firing_for
    }

    fn find(&self, view: &View<'_>, faults: &mut Vec<Fault>) {
        if view.pod.conditions.initialized {
            return;
        }
        let Some((container_idx, status)) = first_not_done(view) else {
            return;
        };
        let sandbox = view.pod.conditions.sandbox_ready;
        // Old kubelets do not write this condition. A container that has been created also shows that the sandbox is
        // ready.
        let is_sandbox_ready = sandbox.map_or(status.has_run() || !status.waits_to_be_created(), |c| c.holds);
        if is_sandbox_ready && self.covers(view, container_idx) {
            let since = sandbox
                .and_then(|condition| condition.since.get())
                .max(previous_done(view, container_idx));
            faults.push(Fault {
                container_idx,
                since,
                until: None,
                instant: false,
            });
        }
    }

    fn detail(&self, context: &MessageContext<'_>) -> String {
        format!("{}; blocked: {}", blocked_by(context), waiting(context))
    }

    fn note(&self, context: &MessageContext<'_>) -> String {
        let since = context.since(self.hold_for(context.view, context.container_idx));
        let fact = match context.view.kind(context.container_idx) {
            Some(ContainerKind::Init) => "has not completed",
            _ => "has not started",
        };
        let (plural, waiting) = (waiting_names(context).count() > 1, waiting(context));
        let (containers, wait) = if plural {
            ("Containers", "wait")
        } else {
            ("Container", "waits")
        };
        format!(
            "{} {fact} {since}: {}. {containers} {waiting} {wait} for it.",
            context.label(),
            blocked_by(context)
        )
    }

    fn recovered(&self, context: &MessageContext<'_>) -> String {
        let done = context
            .view
            .container(context.container_idx)
            .is_some_and(|(container, status)| is_done(container.kind, status));
        if done {
            "no longer blocks the startup of its Pod".to_owned()
        } else {
            "is starting again with its Pod".to_owned()
        }
    }

    fn episode(&self, _: &MessageContext<'_>) -> String {
        String::new()
    }
}

fn is_done(kind: ContainerKind, status: &ContainerStatus) -> bool {
    match kind {
        ContainerKind::Native => status.started,
        ContainerKind::Init => matches!(&status.state, State::Terminated(exit) if exit.code == 0),
        ContainerKind::Regular => true,
    }
}

/// The first init container that is not done. `None` if the kubelet has not reported it or one before it.
fn first_not_done<'a>(view: &View<'a>) -> Option<(usize, &'a ContainerStatus)> {
    let inits = view
        .pod
        .shape
        .containers
        .iter()
        .enumerate()
        .filter(|(_, c)| c.kind != ContainerKind::Regular);
    for (container_idx, container) in inits {
        let (_, status) = view.container(container_idx)?;
        if !is_done(container.kind, status) {
            return Some((container_idx, status));
        }
    }
    None
}

/// The time at which the init container before this one ended, or began to run if it is a native sidecar.
fn previous_done(view: &View<'_>, container_idx: usize) -> Option<Timestamp> {
    let (_, previous) = view.container(container_idx.checked_sub(1)?)?;
    match &previous.state {
        State::Terminated(exit) => exit.finished_at,
        State::Running(since) => *since,
        State::Waiting(_) => None,
    }
}

fn blocked_by(context: &MessageContext<'_>) -> String {
    match context.view.container(context.container_idx) {
        Some((_, status)) if status.waits_to_be_created() => {
            "its image is still being pulled, or its postStart hook has not returned".to_owned()
        }
        Some((container, status))
            if container.kind == ContainerKind::Init && status.running_since().is_some() =>
        {
            "it runs and does not exit".to_owned()
        }
        _ => context.cause(),
    }
}

fn waiting_names<'a>(context: &MessageContext<'a>) -> impl Iterator<Item = &'a str> + use<'a> {
    context
        .view
        .pod
        .shape
        .containers
        .iter()
        .skip(context.container_idx + 1)
        .map(|container| &*container.name)
}

fn waiting(context: &MessageContext<'_>) -> String {
    name_list(waiting_names(context))
}
