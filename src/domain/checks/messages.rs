//! Message parts that several checks use.

use jiff::{SignedDuration, Timestamp};

use crate::domain::{
    observation::{Container, ContainerKind, ContainerStatus, Exit, RestartPolicy, State, Workload},
    roles::Role,
    time::{Human, Moment},
};

use super::MessageContext;

impl MessageContext<'_> {
    /// The container at the start of a sentence: `Sidecar 'istio-proxy' (native)`.
    pub(super) fn label(&self) -> String {
        let Some(container) = self.view.pod.shape.containers.get(self.container_idx) else {
            return "A container".to_owned();
        };
        let name = &container.name;
        match (self.view.roles.of(self.container_idx), container.kind) {
            (Role::Sidecar, ContainerKind::Native) => format!("Sidecar '{name}' (native)"),
            (Role::Sidecar, _) => format!("Sidecar '{name}' (classic)"),
            (Role::Main, _) => format!("Main container '{name}'"),
            (_, ContainerKind::Init) => format!("Init container '{name}'"),
            _ => format!("Container '{name}'"),
        }
    }

    /// The container within a sentence: `sidecar 'istio-proxy' (native)`.
    pub(super) fn label_in_sentence(&self) -> String {
        let mut label = self.label();
        if let Some(first) = label.get_mut(..1) {
            first.make_ascii_lowercase();
        }
        label
    }

    /// The onset and the limit: `since 10:42:07Z (5m allowed by SidecarPolicy pay/mesh)`.
    pub(super) fn since(&self, allowed: SignedDuration) -> String {
        format!(
            "since {} ({} allowed by {})",
            self.time(self.onset),
            Human(allowed),
            self.policy
        )
    }

    /// The reason why the container is not ready or has not started, from its status.
    pub(super) fn cause(&self) -> String {
        match self.view.container(self.container_idx) {
            Some((container, status)) => {
                let is_finished = self.view.is_finished(self.container_idx);
                cause(container, status, is_finished, &self.app_in_readiness())
            }
            None => "the kubelet has not reported it yet".to_owned(),
        }
    }

    /// What the readiness of the container includes, if it includes that of the app: either can be unready.
    fn app_in_readiness(&self) -> String {
        let view = self.view;
        let names = name_list(view.mains().map(|main| &*main.name));
        if view.reflects_app(self.container_idx) && !names.is_empty() {
            format!(" (it includes the readiness of {names})")
        } else {
            String::new()
        }
    }

    /// The exit of the latest run that ended: `last exit code 1 (Error)`.
    pub(super) fn last_exit(&self) -> Option<String> {
        let exit = self.view.status(self.container_idx)?.latest_exit()?;
        Some(format!("last exit code {}", exit_text(exit)))
    }

    /// The exit of the latest run that ended, with its time: `last exit code 1 (Error) at 10:41:55Z`.
    pub(super) fn last_exit_at(&self) -> Option<String> {
        let at = self.view.status(self.container_idx)?.latest_exit()?.finished_at;
        let exit = self.last_exit()?;
        Some(at.map_or(exit.clone(), |at| format!("{exit} at {}", self.time(at))))
    }

    /// A time, for a text that is written now.
    pub(super) fn time(&self, at: Timestamp) -> Moment {
        Moment {
            at,
            now: self.view.now,
        }
    }

    /// The effect of an unready sidecar on its Pod: a sentence after a space, or nothing.
    pub(super) fn effect_of_unready(&self) -> String {
        let view = self.view;
        let mains = view.roles.with(Role::Main);
        let waiting: Vec<usize> = mains
            .filter(|main| {
                let status = view.status(*main);
                let runs = status.is_some_and(|status| matches!(status.state, State::Running(_)));
                !runs && !view.pod.has_begun(*main)
            })
            .collect();
        if !waiting.is_empty() {
            let containers = waiting
                .iter()
                .filter_map(|main| view.pod.shape.containers.get(*main));
            let (container, has) = match waiting.len() {
                1 => ("container", "has"),
                _ => ("containers", "have"),
            };
            let names = name_list(containers.map(|container| &*container.name));
            return format!(" Main {container} {names} {has} not started.");
        }
        if self.can_serve() {
            " The Pod is removed from its Services' endpoints.".to_owned()
        } else {
            String::new()
        }
    }

    /// Whether Services can select the Pod: those of Jobs and of other programs that end serve nobody.
    pub(super) fn can_serve(&self) -> bool {
        self.view.pod.shape.restart_policy == RestartPolicy::Always
    }

    /// `ContainersReady.lastTransitionTime`, which differs between two episodes of unreadiness.
    pub(super) fn containers_ready_since(&self) -> String {
        let since = self
            .view
            .pod
            .conditions
            .containers_ready
            .and_then(|condition| condition.since.get());
        since.map(|at| at.to_string()).unwrap_or_default()
    }
}

/// The code and the reason of an exit: `1 (Error)`.
fn exit_text(exit: &Exit) -> String {
    if exit.reason.is_empty() {
        exit.code.to_string()
    } else {
        format!("{} ({})", exit.code, exit.reason)
    }
}

/// `app` is what the readiness of the container includes.
fn cause(container: &Container, status: &ContainerStatus, is_finished: bool, app: &str) -> String {
    let mut text = match &status.state {
        State::Waiting(reason) if reason.is_empty() || status.waits_to_be_created() => {
            "it has not been created yet".to_owned()
        }
        State::Waiting(reason) => format!("it is waiting: {reason}"),
        State::Terminated(exit) if is_finished => {
            format!("it exited with code {} and is not restarted", exit_text(exit))
        }
        State::Terminated(exit) => format!("it exited with code {}", exit_text(exit)),
        State::Running(_) if status.ready => "it is ready now".to_owned(),
        State::Running(_) if !status.started && container.probes.startup => {
            "its startup probe has not passed".to_owned()
        }
        State::Running(_) if !status.started => "it runs but is not started".to_owned(),
        State::Running(_) if container.probes.readiness => format!("its readiness probe fails{app}"),
        State::Running(_) => format!("it runs but is not ready{app}"),
    };
    if status.restart_count > 0 {
        let restarts = if status.restart_count == 1 {
            "restart"
        } else {
            "restarts"
        };
        text = format!("{text}, {} {restarts}", status.restart_count);
    }
    if let Some(exit) = status
        .last_exit
        .as_ref()
        .filter(|_| !matches!(status.state, State::Terminated(_)))
    {
        text = format!("{text}, last exit code {}", exit_text(exit));
    }
    text
}

/// The names in quotes, at most three: `'app'`, `'app' and 'worker'`, `'a', 'b' and 2 more`.
pub(super) fn name_list<'a>(names: impl Iterator<Item = &'a str>) -> String {
    const SHOWN: usize = 3;
    let names: Vec<String> = names.map(|name| format!("'{name}'")).collect();
    match names.as_slice() {
        [] => String::new(),
        [one] => one.clone(),
        [most @ .., last] if names.len() <= SHOWN => format!("{} and {last}", most.join(", ")),
        [first, second, ..] => format!("{first}, {second} and {} more", names.len() - 2),
    }
}

/// The limit that a fault of a workload or an image has exceeded: ` for more than 5m`. Empty without a limit.
pub(super) fn for_more_than(hold_for: SignedDuration) -> String {
    if hold_for.is_zero() {
        String::new()
    } else {
        format!(" for more than {}", Human(hold_for))
    }
}

/// The command that restarts a workload, if `kubectl` can restart workloads of its kind.
pub(super) fn restart_command(workload: &Workload, namespace: &str) -> Option<String> {
    let kind = workload.kind.to_ascii_lowercase();
    let can_restart = ["deployment", "statefulset", "daemonset"].contains(&&*kind);
    can_restart.then(|| format!("kubectl rollout restart {kind}/{} -n {namespace}", workload.name))
}
