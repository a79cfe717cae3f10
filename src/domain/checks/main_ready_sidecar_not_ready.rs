//! MainReadySidecarNotReady: a sidecar is unready as in NotReady, and a main container of its Pod is ready. The subject is
//! the sidecar, because it is the container to repair. The detail names the main containers. A sidecar whose readiness
//! includes that of the app (Knative's queue-proxy) can be unready because of the app, so only NotReady reports it.

use jiff::{SignedDuration, Timestamp};

use super::{
    Check, Fault, MessageContext, Settings, View, messages::name_list, not_ready::readiness_recovered,
};
use crate::domain::roles::Role;

/// The limits of MainReadySidecarNotReady.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// How long a sidecar may be unready while a main container is ready.
    pub hold_for: SignedDuration,
    /// How long the fault must be gone before the violation resolves.
    pub keep_firing_for: SignedDuration,
}

impl Default for Settings<Limits> {
    fn default() -> Self {
        let limits = Limits {
            hold_for: SignedDuration::from_mins(2),
            keep_firing_for: SignedDuration::from_mins(2),
        };
        Self::with_limits(limits)
    }
}

pub(super) struct Rule;

fn limits<'a>(view: &View<'a>) -> &'a Limits {
    &view.policy.checks.main_ready_sidecar_not_ready.limits
}

impl super::Rule for Rule {
    fn reason(&self) -> &'static str {
        "MainContainerReadyButSidecarNot"
    }

    fn same_fault_as(&self) -> Option<Check> {
        Some(Check::NotReady)
    }

    fn covers(&self, view: &View<'_>, container_idx: usize) -> bool {
        view.roles.of(container_idx) == Role::Sidecar && !view.reflects_app(container_idx)
    }

    fn hold_for(&self, view: &View<'_>, _container_idx: usize) -> SignedDuration {
        limits(view).hold_for
    }

    fn keep_firing_for(&self, view: &View<'_>) -> SignedDuration {
        limits(view).keep_firing_for
    }

    fn find(&self, view: &View<'_>, faults: &mut Vec<Fault>) {
        if view.ready_mains().next().is_none() {
            return;
        }
        let started = view
            .ready_mains()
            .filter_map(|(_, status)| status.running_since());
        let started = started.min();
        // A time that is not known stays so: the start of the app does not date the fault of a sidecar.
        let with_main = |since: Option<Timestamp>| since.and(since.max(started));
        let unready = view.unready_sidecars();
        let unready = unready.filter(|container_idx| !view.reflects_app(*container_idx));
        faults.extend(unready.map(|container_idx| Fault {
            earliest: with_main(view.pod.ready_until(container_idx)),
            not_before: view.probed_from(container_idx),
            ..Fault::lasting(container_idx, with_main(view.unready_since(container_idx)))
        }));
    }

    fn detail(&self, context: &MessageContext<'_>) -> String {
        format!("{}; ready: {}", context.cause(), mains(context))
    }

    fn note(&self, context: &MessageContext<'_>) -> String {
        let plural = context.view.ready_mains().count() > 1;
        let (containers, are) = if plural {
            ("containers", "are")
        } else {
            ("container", "is")
        };
        let since = context.since(limits(context.view).hold_for);
        format!(
            "Main {containers} {} {are} ready but {} is not, {since}: {}.{}",
            mains(context),
            context.label_in_sentence(),
            context.cause(),
            context.effect_of_unready()
        )
    }

    fn recovered(&self, context: &MessageContext<'_>) -> String {
        readiness_recovered(context)
    }

    fn episode(&self, context: &MessageContext<'_>) -> String {
        context.containers_ready_since()
    }
}

fn mains(context: &MessageContext<'_>) -> String {
    name_list(context.view.ready_mains().map(|(container, _)| &*container.name))
}
