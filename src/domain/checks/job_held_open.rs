//! JobHeldOpen: all main containers of a Pod with restart policy OnFailure or Never have finished, and a classic
//! sidecar has not. The kubelet stops native sidecars once the main containers have finished (KEP-753), so the check
//! does not cover them.

use jiff::{SignedDuration, Timestamp};

use super::{Fault, MessageContext, Settings, View};
use crate::domain::{
    observation::{ContainerKind, ContainerStatus, OOM_KILLED, RestartPolicy, State},
    roles::Role,
    time::Human,
};

/// The limits of JobHeldOpen.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// How long a sidecar may run after the last main container has finished.
    pub hold_for: SignedDuration,
    /// How long the fault must be gone before the violation resolves.
    pub keep_firing_for: SignedDuration,
}

impl Default for Settings<Limits> {
    fn default() -> Self {
        let limits = Limits {
            hold_for: SignedDuration::from_mins(5),
            keep_firing_for: SignedDuration::ZERO,
        };
        Self::with_limits(limits)
    }
}

/// How long a container may work after the main containers that is made to do so, such as an uploader of results.
const OUTLIVING: SignedDuration = SignedDuration::from_mins(30);

pub(super) struct Rule;

fn limits<'a>(view: &View<'a>) -> &'a Limits {
    &view.policy.checks.job_held_open.limits
}

impl super::Rule for Rule {
    fn reason(&self) -> &'static str {
        "SidecarHoldsJobOpen"
    }

    fn covers(&self, view: &View<'_>, container_idx: usize) -> bool {
        view.roles.of(container_idx) == Role::Sidecar
            && view.kind(container_idx) == Some(ContainerKind::Regular)
    }

    fn hold_for(&self, view: &View<'_>, container_idx: usize) -> SignedDuration {
        let hold_for = limits(view).hold_for;
        if view.outlives(container_idx) && view.mains_succeeded() {
            hold_for.max(OUTLIVING)
        } else {
            hold_for
        }
    }

    fn keep_firing_for(&self, view: &View<'_>) -> SignedDuration {
        limits(view).keep_firing_for
    }

    fn find(&self, view: &View<'_>, faults: &mut Vec<Fault>) {
        if view.pod.shape.restart_policy == RestartPolicy::Always || !view.mains_finished() {
            return;
        }
        let since = last_main_finished(view);
        let holds_open = |container_idx: &usize| {
            self.covers(view, *container_idx)
                && view.status(*container_idx).is_some()
                && !view.is_finished(*container_idx)
        };
        let sidecars = view.roles.with(Role::Sidecar).filter(holds_open);
        faults.extend(sidecars.map(|container_idx| Fault {
            lasted: since.map_or(SignedDuration::ZERO, |since| {
                held_before_restart(view, container_idx, since)
            }),
            ..Fault::lasting(container_idx, since)
        }));
    }

    fn detail(&self, context: &MessageContext<'_>) -> String {
        format!(
            "every main container finished{}; {}",
            how_mains_ended(context.view),
            state(context)
        )
    }

    fn note(&self, context: &MessageContext<'_>) -> String {
        let view = context.view;
        let finished = last_main_finished(view).unwrap_or(context.onset);
        let kind = match &*view.pod.workload.kind {
            "Job" | "CronJob" => "Job",
            _ => "Pod",
        };
        let has_begun = view
            .status(context.container_idx)
            .is_some_and(ContainerStatus::has_run);
        let advice = match () {
            // As a native sidecar it would keep the app from starting.
            () if !has_begun => "",
            () if view.outlives(context.container_idx) => {
                " It works after the main containers by design: look at its log."
            }
            () => {
                " A native sidecar (initContainers, restartPolicy: Always) is stopped when the main containers finish."
            }
        };
        format!(
            "All main containers finished at {}{} but {} {}: the {kind} cannot complete ({} allowed by {}).{advice}",
            context.time(finished),
            how_mains_ended(view),
            context.label_in_sentence(),
            state(context),
            Human(self.hold_for(view, context.container_idx)),
            context.policy,
        )
    }

    fn recovered(&self, context: &MessageContext<'_>) -> String {
        if context.view.is_finished(context.container_idx) {
            "has finished".to_owned()
        } else {
            "has a running main container again".to_owned()
        }
    }

    fn episode(&self, _: &MessageContext<'_>) -> String {
        String::new()
    }
}

fn last_main_finished(view: &View<'_>) -> Option<Timestamp> {
    let finished = view.roles.with(Role::Main);
    let finished = finished.map(|container_idx| view.pod.finished(container_idx)?.finished_at);
    finished.collect::<Option<Vec<_>>>()?.into_iter().max()
}

/// The time from the end of the main containers to the latest change of a sidecar that was restarted after it. While the
/// sidecar is terminated, it can look finished: the kubelet restarts a container whose image has changed under any restart
/// policy (`computePodActions` in `kuberuntime_manager.go`). Tekton stops its sidecars in this way.
fn held_before_restart(view: &View<'_>, container_idx: usize, mains_finished: Timestamp) -> SignedDuration {
    let status = view.status(container_idx);
    let ended = status.and_then(|status| status.latest_exit()?.finished_at);
    let changed = ended.max(status.and_then(ContainerStatus::running_since));
    let was_restarted = ended.is_some_and(|ended| ended >= mains_finished);
    let changed = changed.filter(|_| was_restarted);
    changed.map_or(SignedDuration::ZERO, |changed| {
        changed.duration_since(mains_finished)
    })
}

/// The main containers that failed, in parentheses after a space. Empty if each exited with code 0.
fn how_mains_ended(view: &View<'_>) -> String {
    let failed = view.roles.with(Role::Main).filter_map(|main| {
        let container = view.pod.shape.containers.get(main)?;
        let exit = view.pod.finished(main).filter(|exit| exit.code != 0)?;
        let (name, code) = (&container.name, exit.code);
        Some(if &*exit.reason == OOM_KILLED {
            format!("'{name}' was OOM-killed, exit code {code}")
        } else {
            format!("'{name}' exited with code {code}")
        })
    });
    let failed: Vec<String> = failed.collect();
    if failed.is_empty() {
        String::new()
    } else {
        format!(" ({})", failed.join("; "))
    }
}

fn state(context: &MessageContext<'_>) -> String {
    match context
        .view
        .status(context.container_idx)
        .map(|status| &status.state)
    {
        Some(State::Running(_)) => "still runs".to_owned(),
        // It is not finished, so its restart policy restarts it.
        Some(State::Terminated(_)) => "will be restarted".to_owned(),
        Some(State::Waiting(reason)) if !reason.is_empty() => format!("is waiting ({reason})"),
        Some(State::Waiting(_)) | None => "has not been created yet".to_owned(),
    }
}
