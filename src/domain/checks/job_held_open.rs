//! JobHeldOpen: all main containers of a Pod with restart policy OnFailure or Never have finished, and a classic
//! sidecar has not. The kubelet stops native sidecars once the main containers have finished (KEP-753), so the check
//! does not cover them.

use jiff::{SignedDuration, Timestamp};

use super::{Fault, MessageContext, Settings, View};
use crate::domain::{
    observation::{ContainerKind, RestartPolicy, State},
    roles::Role,
    time::{Clock, Human},
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

    fn hold_for(&self, view: &View<'_>, _container_idx: usize) -> SignedDuration {
        limits(view).hold_for
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
            container_idx,
            since,
            until: None,
            instant: false,
        }));
    }

    fn detail(&self, context: &MessageContext<'_>) -> String {
        format!("every main container finished; {}", state(context))
    }

    fn note(&self, context: &MessageContext<'_>) -> String {
        let finished = last_main_finished(context.view).unwrap_or(context.onset);
        let kind = match &*context.view.pod.workload.kind {
            "Job" | "CronJob" => "Job",
            _ => "Pod",
        };
        format!(
            "All main containers finished at {} but {} {}: the {kind} cannot complete ({} allowed by {}). \
             A native sidecar (initContainers, restartPolicy: Always) is stopped when the main containers finish.",
            Clock(finished),
            context.label_in_sentence(),
            state(context),
            Human(limits(context.view).hold_for),
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
    view.roles
        .with(Role::Main)
        .filter_map(|container_idx| view.pod.finished(container_idx)?.finished_at)
        .max()
}

fn state(context: &MessageContext<'_>) -> &'static str {
    let status = context.view.status(context.container_idx);
    let runs = status.is_some_and(|status| matches!(status.state, State::Running(_)));
    if runs { "still runs" } else { "will be restarted" }
}
