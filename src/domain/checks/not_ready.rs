//! NotReady: a sidecar is unready in an initialized Pod whose main containers have not finished.

use jiff::SignedDuration;

use super::{Check, Fault, MessageContext, Settings, View, messages::name_list};

/// The limits of NotReady.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// How long a sidecar may be unready.
    pub hold_for: SignedDuration,
    /// How long the sidecar must be ready before the violation resolves.
    pub keep_firing_for: SignedDuration,
}

impl Default for Settings<Limits> {
    fn default() -> Self {
        let limits = Limits {
            hold_for: SignedDuration::from_mins(5),
            keep_firing_for: SignedDuration::from_mins(2),
        };
        Self::with_limits(limits)
    }
}

pub(super) struct Rule;

fn limits<'a>(view: &View<'a>) -> &'a Limits {
    &view.policy.checks.not_ready.limits
}

impl super::Rule for Rule {
    fn reason(&self) -> &'static str {
        "SidecarContainerNotReady"
    }

    fn same_fault_as(&self) -> Option<Check> {
        Some(Check::MainReadySidecarNotReady)
    }

    /// The app becomes unready with the proxy that its readiness probe goes through, so MainReadySidecarNotReady cannot fail.
    fn hold_for(&self, view: &View<'_>, container_idx: usize) -> SignedDuration {
        let hold_for = limits(view).hold_for;
        if view.is_proxy(container_idx) && mains_probed_through_mesh(view) {
            hold_for.min(view.policy.checks.main_ready_sidecar_not_ready.limits.hold_for)
        } else {
            hold_for
        }
    }

    fn keep_firing_for(&self, view: &View<'_>) -> SignedDuration {
        limits(view).keep_firing_for
    }

    fn find(&self, view: &View<'_>, faults: &mut Vec<Fault>) {
        faults.extend(view.unready_sidecars().map(|container_idx| Fault {
            earliest: view.pod.ready_until(container_idx),
            not_before: view.probed_from(container_idx),
            ..Fault::lasting(container_idx, view.unready_since(container_idx))
        }));
    }

    fn detail(&self, context: &MessageContext<'_>) -> String {
        context.cause()
    }

    fn note(&self, context: &MessageContext<'_>) -> String {
        let since = context.since(self.hold_for(context.view, context.container_idx));
        format!(
            "{} has not been ready {since}: {}.{}{}",
            context.label(),
            context.cause(),
            probed_through(context),
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

/// Whether the readiness of a main container is probed through the proxy.
fn mains_probed_through_mesh(view: &View<'_>) -> bool {
    probed_mains(view).next().is_some()
}

/// The names of the main containers whose readiness is probed through the proxy.
fn probed_mains<'a>(view: &View<'a>) -> impl Iterator<Item = &'a str> {
    let mains = view.mains();
    let probed = mains.filter(|main| main.probes.readiness_through_mesh);
    probed.map(|main| &*main.name)
}

/// Says that the app is probed through the container: a sentence after a space, or nothing.
fn probed_through(context: &MessageContext<'_>) -> String {
    let view = context.view;
    if view.is_proxy(context.container_idx) && mains_probed_through_mesh(view) {
        format!(
            " The readiness probe of {} goes through it.",
            name_list(probed_mains(view))
        )
    } else {
        String::new()
    }
}

/// The reason why a container no longer fails NotReady or MainReadySidecarNotReady.
pub(super) fn readiness_recovered(context: &MessageContext<'_>) -> String {
    let view = context.view;
    let is_ready = view
        .status(context.container_idx)
        .is_some_and(|status| status.ready);
    let state = match () {
        () if is_ready => "is ready now",
        () if view.mains_finished() => "is no longer needed, because all main containers have finished,",
        () if view.is_finished(context.container_idx) => "has finished",
        () if !view.pod.is_initialized() => "is starting again with its Pod",
        () if view.ready_mains().next().is_none() => {
            "no longer fails the check, because no main container is ready,"
        }
        () => "no longer fails the check",
    };
    state.to_owned()
}
