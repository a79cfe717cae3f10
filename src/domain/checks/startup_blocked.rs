//! StartupBlocked: the Pod is on its node, its sandbox is ready, and a container blocks all containers after it.
//!
//! In a Pod that is not initialized this is the first init container that is not done. A native sidecar is done when it
//! is `started` (its startup probe has passed and its postStart hook has returned), even if it is not ready. A plain init
//! container is done when it has exited with code 0 (KEP-753). A postStart hook that hangs and a slow image pull have the
//! same status: `PodInitializing`.
//!
//! In an initialized Pod it is the first classic sidecar with a postStart hook. The kubelet starts the regular
//! containers in the order of the spec, and the next one only when the hook of the one before has returned. It writes no
//! status in between: all of them stay in `ContainerCreating` or `PodInitializing`.

use jiff::{SignedDuration, Timestamp};

use super::{Fault, MessageContext, Settings, View, messages::name_list};
use crate::domain::{
    catalogue::{self, Class},
    observation::{Container, ContainerKind, ContainerStatus, State},
    pattern::Repository,
    roles::Role,
};

/// The limits of StartupBlocked.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// How long a sidecar may take to start, and a plain init container may block that fails or should be a sidecar.
    pub hold_for: SignedDuration,
    /// How long a plain init container that does not fail may run.
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
        match (view.roles.of(container_idx), view.kind(container_idx)) {
            (Role::Sidecar, Some(ContainerKind::Regular)) => {
                first_hook_before_main(view) == Some(container_idx)
            }
            (Role::Sidecar | Role::Init, Some(_)) => true,
            _ => false,
        }
    }

    fn hold_for(&self, view: &View<'_>, container_idx: usize) -> SignedDuration {
        let Limits {
            hold_for,
            init_containers_for,
            ..
        } = *limits(view);
        match view.kind(container_idx) {
            Some(ContainerKind::Init)
                if fails_repeatedly(view, container_idx) || is_misplaced(view, container_idx) =>
            {
                hold_for.min(init_containers_for)
            }
            Some(ContainerKind::Init) => init_containers_for,
            _ => hold_for,
        }
    }

    fn keep_firing_for(&self, view: &View<'_>) -> SignedDuration {
        limits(view).keep_firing_for
    }

    fn find(&self, view: &View<'_>, faults: &mut Vec<Fault>) {
        let blocking = if view.pod.is_initialized() {
            held_by_hook(view)
        } else {
            view.blocking_init()
        };
        let Some((container_idx, status)) = blocking else {
            return;
        };
        let sandbox = view.pod.conditions.sandbox_ready;
        // Old kubelets do not write this condition. A container that has been created also shows that the sandbox is
        // ready.
        let is_sandbox_ready = sandbox.map_or(status.has_run() || !status.waits_to_be_created(), |c| c.holds);
        if is_sandbox_ready && self.covers(view, container_idx) {
            faults.push(Fault::lasting(container_idx, blocked_since(view, container_idx)));
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
            "{} {fact} {since}: {}. {containers} {waiting} {wait} for it.{}",
            context.label(),
            blocked_by(context),
            proxy_hint(context)
        )
    }

    fn recovered(&self, context: &MessageContext<'_>) -> String {
        let done = context
            .view
            .container(context.container_idx)
            .is_some_and(|(container, status)| status.is_done(container.kind));
        let blocking = context.view.blocking_init();
        if done || blocking.is_none_or(|(idx, _)| idx > context.container_idx) {
            "no longer blocks the startup of its Pod".to_owned()
        } else {
            "is starting again with its Pod".to_owned()
        }
    }

    fn episode(&self, _: &MessageContext<'_>) -> String {
        String::new()
    }
}

/// The first classic sidecar with a postStart hook and a main container after it.
fn first_hook_before_main(view: &View<'_>) -> Option<usize> {
    let containers = view.pod.shape.containers.iter().enumerate();
    let (first, _) = containers
        .filter(|(idx, _)| view.roles.of(*idx) == Role::Sidecar)
        .find(|(_, container)| container.kind == ContainerKind::Regular && container.has_post_start)?;
    let has_main_after = view.roles.with(Role::Main).any(|main| main > first);
    has_main_after.then_some(first)
}

/// The classic sidecar whose postStart hook may hold up the containers after it, of which none has begun.
fn held_by_hook<'a>(view: &View<'a>) -> Option<(usize, &'a ContainerStatus)> {
    let idx = first_hook_before_main(view)?;
    let is_waiting = |idx: usize| {
        let status = view.status(idx);
        status.filter(|status| status.waits_to_be_created() && !status.has_run())
    };
    let status = is_waiting(idx)?;
    let after = idx + 1..view.pod.shape.containers.len();
    after
        .into_iter()
        .all(|later| is_waiting(later).is_some())
        .then_some((idx, status))
}

/// Whether a plain init container has failed again after as many restarts as FrequentRestarts allows. The mode of that
/// check does not matter.
fn fails_repeatedly(view: &View<'_>, container_idx: usize) -> bool {
    let count = view.policy.checks.frequent_restarts.limits.count;
    view.status(container_idx).is_some_and(|status| {
        let is_running = matches!(status.state, State::Running(_));
        let failures = status.restart_count.saturating_add(u32::from(!is_running));
        failures > count && status.latest_exit().is_some_and(|exit| exit.code != 0)
    })
}

/// Whether it is a plain init container with the name of a sidecar that never exits: an author or a webhook has lost its
/// `restartPolicy: Always`.
fn is_misplaced(view: &View<'_>, container_idx: usize) -> bool {
    let container = view.pod.shape.containers.get(container_idx);
    container.is_some_and(|c| c.kind == ContainerKind::Init && catalogue::is_misplaced_init(&c.name))
}

/// The time since which a container is known to block: the sandbox is ready and the init container before it is done. It is not
/// later than the start of the container's own first run in the sandbox.
fn blocked_since(view: &View<'_>, container_idx: usize) -> Option<Timestamp> {
    let sandbox = view
        .pod
        .conditions
        .sandbox_ready
        .and_then(|condition| condition.since.get());
    let is_init = |idx: &usize| view.kind(*idx).is_some_and(|kind| kind != ContainerKind::Regular);
    let turn = match (0..container_idx).rev().find(is_init) {
        None => sandbox,
        Some(previous) => {
            done_at(view, previous).map(|done| sandbox.map_or(done, |sandbox| sandbox.max(done)))
        }
    };
    let began = view.status(container_idx).and_then(|status| {
        let exits = [status.last_exit.as_deref(), status.latest_exit()];
        let starts = exits.into_iter().flatten().map(|exit| exit.started_at);
        let mut starts = starts.chain([status.running_since()]).flatten();
        starts.find(|start| sandbox.is_none_or(|sandbox| *start >= sandbox))
    });
    turn.into_iter().chain(began).min()
}

/// The time at which an init container was done, if its status shows it. A native sidecar that has been restarted was done
/// earlier, and the end of a startup probe or of a hook is not shown.
fn done_at(view: &View<'_>, container_idx: usize) -> Option<Timestamp> {
    let (container, status) = view.container(container_idx)?;
    match &status.state {
        State::Terminated(exit) if container.kind == ContainerKind::Init => exit.finished_at,
        State::Running(since) => {
            let is_known =
                status.restart_count == 0 && !container.probes.startup && !container.has_post_start;
            since.filter(|_| is_known)
        }
        State::Terminated(_) | State::Waiting(_) => None,
    }
}

fn blocked_by(context: &MessageContext<'_>) -> String {
    let Some((container, status)) = context.view.container(context.container_idx) else {
        return context.cause();
    };
    match container.kind {
        ContainerKind::Regular if status.waits_to_be_created() => {
            let earlier = earlier_waiting(context);
            if earlier.is_empty() {
                "its postStart hook has not returned, or its image or that of a later container is still being pulled"
                    .to_owned()
            } else {
                format!(
                    "{earlier} before it may not have started yet, an image is still being pulled, or its postStart hook has \
                     not returned"
                )
            }
        }
        _ if status.waits_to_be_created() && container.has_post_start => {
            "its image is still being pulled, or its postStart hook has not returned".to_owned()
        }
        _ if status.waits_to_be_created() => "its image is still being pulled".to_owned(),
        ContainerKind::Init if status.running_since().is_some() => {
            if is_misplaced(context.view, context.container_idx) {
                "it is a sidecar without restartPolicy: Always, so the next container starts only when it exits".to_owned()
            } else {
                "it runs and does not exit".to_owned()
            }
        }
        _ => context.cause(),
    }
}

/// The regular containers before a classic sidecar that wait too. The kubelet starts them one after the other.
fn earlier_waiting(context: &MessageContext<'_>) -> String {
    let view = context.view;
    let earlier = (0..context.container_idx).filter_map(|idx| view.container(idx));
    let waiting = earlier.filter(|(container, status)| {
        container.kind == ContainerKind::Regular && status.waits_to_be_created()
    });
    name_list(waiting.map(|(container, _)| &*container.name))
}

/// The classic proxy that starts after a plain init container that fails, and that it may need: a sentence after a space, or
/// nothing. An auth proxy takes only requests to the Pod, and an init container with the image of the proxy
/// (`linkerd-network-validator`) prepares its network.
fn proxy_hint(context: &MessageContext<'_>) -> String {
    let view = context.view;
    let fails = view.kind(context.container_idx) == Some(ContainerKind::Init)
        && view.status(context.container_idx).is_some_and(|status| {
            let exit = status.latest_exit();
            exit.is_some_and(|exit| exit.code != 0)
        });
    let containers = &view.pod.shape.containers;
    let image = containers
        .get(context.container_idx)
        .map(|init| Repository::without_tag(&init.image));
    let is_needed = |proxy: &&Container| {
        let repository = Repository::of(&proxy.image);
        let class = catalogue::class(&proxy.name, &repository);
        proxy.kind == ContainerKind::Regular
            && matches!(class, Some(Class::MeshProxy | Class::Ambassador))
            && image != Some(Repository::without_tag(&proxy.image))
    };
    let sidecars = view.roles.with(Role::Sidecar).filter(|_| fails);
    let mut sidecars = sidecars.filter_map(|idx| containers.get(idx));
    sidecars.find(is_needed).map_or(String::new(), |proxy| {
        format!(
            " Proxy '{}' starts after the init containers, so they have no connection through it.",
            proxy.name
        )
    })
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
