//! JobHeldOpen: every main container has finished, a classic sidecar has not, and the Pod is one that should end. A
//! native sidecar would be stopped by the kubelet once the mains are done (KEP-753).

use jiff::Timestamp;

use super::{Fault, MessageContext, Rule, View};
use crate::domain::{
    observation::{ContainerKind, RestartPolicy, State},
    policy::Check,
    roles::Role,
    time::Clock,
};

pub(super) struct JobHeldOpen;

impl Rule for JobHeldOpen {
    fn check(&self) -> Check {
        Check::JobHeldOpen
    }

    fn reason(&self) -> &'static str {
        "SidecarHoldsJobOpen"
    }

    fn covers(&self, view: &View<'_>, at: usize) -> bool {
        view.roles.of(at) == Role::Sidecar
            && view
                .pod
                .shape
                .containers
                .get(at)
                .is_some_and(|c| c.kind == ContainerKind::Regular)
    }

    fn find(&self, view: &View<'_>, found: &mut Vec<Fault>) {
        if view.pod.shape.restart_policy == RestartPolicy::Always || !view.mains_finished() {
            return;
        }
        let since = last_main_finished(view);
        let holds_open =
            |at: &usize| self.covers(view, *at) && view.container(*at).is_some() && !view.is_finished(*at);
        found.extend(
            view.roles
                .with(Role::Sidecar)
                .filter(holds_open)
                .map(|container| Fault {
                    container,
                    since,
                    until: None,
                    instant: false,
                }),
        );
    }

    fn detail(&self, case: &MessageContext<'_>) -> String {
        format!("every main container finished; {}", still(case))
    }

    fn note(&self, case: &MessageContext<'_>) -> String {
        let finished = last_main_finished(case.view).unwrap_or(case.onset);
        let waiting = match &*case.view.pod.workload.kind {
            "Job" | "CronJob" => "Job",
            _ => "Pod",
        };
        format!(
            "All main containers finished at {} but {} {}: the {waiting} cannot complete ({} allowed by {}). \
             A native sidecar (initContainers, restartPolicy: Always) would end with it.",
            Clock(finished),
            case.subject_inside(),
            still(case),
            crate::domain::time::Human(self.hold_for(case.view, case.at)),
            case.policy,
        )
    }

    fn recovered(&self, case: &MessageContext<'_>) -> String {
        if case.view.is_finished(case.at) {
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
        .filter_map(|at| view.pod.finished(at)?.finished_at)
        .max()
}

fn still(case: &MessageContext<'_>) -> &'static str {
    let runs = case
        .view
        .container(case.at)
        .is_some_and(|(_, s)| matches!(s.state, State::Running(_)));
    if runs { "still runs" } else { "will be restarted" }
}
