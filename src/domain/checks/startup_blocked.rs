//! StartupBlocked: the Pod is on its node, its sandbox stands, and the first init container that is not done holds
//! everything after it. A native sidecar is done when it is `started` (startup probe passed, postStart over), whether
//! ready or not; a plain init container when it exited 0 (KEP-753). A hanging postStart hook and a slow image pull
//! look the same from here: `PodInitializing`.

use jiff::{SignedDuration, Timestamp};

use super::{Fault, MessageContext, Rule, View, messages::name_list};
use crate::domain::{
    observation::{ContainerKind, ContainerStatus, State},
    policy::Check,
    roles::Role,
};

pub(super) struct StartupBlocked;

impl Rule for StartupBlocked {
    fn check(&self) -> Check {
        Check::StartupBlocked
    }

    fn reason(&self) -> &'static str {
        "SidecarBlocksStartup"
    }

    fn covers(&self, view: &View<'_>, at: usize) -> bool {
        matches!(view.roles.of(at), Role::Sidecar | Role::Init)
            && view
                .pod
                .shape
                .containers
                .get(at)
                .is_some_and(|c| c.kind != ContainerKind::Regular)
    }

    fn hold_for(&self, view: &View<'_>, at: usize) -> SignedDuration {
        match view.pod.shape.containers.get(at) {
            Some(container) if container.kind == ContainerKind::Init => view.policy.init_containers_for,
            _ => view.policy.settings(Check::StartupBlocked).hold_for,
        }
    }

    fn find(&self, view: &View<'_>, found: &mut Vec<Fault>) {
        if view.pod.conditions.initialized {
            return;
        }
        let Some((at, status)) = first_not_done(view) else {
            return;
        };
        let sandbox = view.pod.conditions.sandbox_ready;
        // Old kubelets have no such condition; a container that got further than waiting to be made tells the same.
        let sandbox_stands = sandbox.map_or(status.has_begun() || !status.waits_to_be_created(), |c| c.holds);
        if sandbox_stands && self.covers(view, at) {
            let since = sandbox
                .and_then(|condition| condition.since.get())
                .max(previous_done(view, at));
            found.push(Fault {
                container: at,
                since,
                until: None,
                instant: false,
            });
        }
    }

    fn detail(&self, case: &MessageContext<'_>) -> String {
        format!("{}; waiting: {}", blocked_by(case), waiting(case))
    }

    fn note(&self, case: &MessageContext<'_>) -> String {
        let since = case.since(self.hold_for(case.view, case.at));
        let is_init = case
            .view
            .pod
            .shape
            .containers
            .get(case.at)
            .is_some_and(|c| c.kind == ContainerKind::Init);
        let fact = if is_init {
            "has not completed"
        } else {
            "has not started"
        };
        let (plural, waiting) = (waiting_names(case).count() > 1, waiting(case));
        let (containers, wait) = if plural {
            ("Containers", "wait")
        } else {
            ("Container", "waits")
        };
        format!(
            "{} {fact} {since}: {}. {containers} {waiting} {wait} for it.",
            case.subject(),
            blocked_by(case)
        )
    }

    fn recovered(&self, case: &MessageContext<'_>) -> String {
        let done = case
            .view
            .container(case.at)
            .is_some_and(|(container, status)| is_done(container.kind, status));
        if done {
            "no longer holds the Pod's start".to_owned()
        } else {
            "starts over with its Pod".to_owned()
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

/// The init container that the Pod's start has come to; none while the kubelet has said nothing of it.
fn first_not_done<'a>(view: &View<'a>) -> Option<(usize, &'a ContainerStatus)> {
    let inits = view
        .pod
        .shape
        .containers
        .iter()
        .enumerate()
        .filter(|(_, c)| c.kind != ContainerKind::Regular);
    for (at, container) in inits {
        let (_, status) = view.container(at)?;
        if !is_done(container.kind, status) {
            return Some((at, status));
        }
    }
    None
}

/// When the init container before the one at `at` ended, or started if it is a sidecar.
fn previous_done(view: &View<'_>, at: usize) -> Option<Timestamp> {
    let (_, before) = view.container(at.checked_sub(1)?)?;
    match &before.state {
        State::Terminated(exit) => exit.finished_at,
        State::Running(since) => *since,
        State::Waiting(_) => None,
    }
}

fn blocked_by(case: &MessageContext<'_>) -> String {
    match case.view.container(case.at) {
        Some((_, status)) if status.waits_to_be_created() => {
            "its image is still pulled, or its postStart hook has not returned".to_owned()
        }
        Some((container, status))
            if container.kind == ContainerKind::Init && status.running_since().is_some() =>
        {
            "it runs and does not exit".to_owned()
        }
        _ => case.cause(),
    }
}

fn waiting_names<'a>(case: &MessageContext<'a>) -> impl Iterator<Item = &'a str> + use<'a> {
    case.view
        .pod
        .shape
        .containers
        .iter()
        .skip(case.at + 1)
        .map(|container| &*container.name)
}

fn waiting(case: &MessageContext<'_>) -> String {
    name_list(waiting_names(case))
}
