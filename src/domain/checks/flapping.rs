//! Flapping: a sidecar changes from ready to unready too often within one run, that is, without a restart.

use jiff::SignedDuration;

use super::{Fault, MessageContext, Settings, View};
use crate::domain::{roles::Role, time::Human};

/// The limits of Flapping.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// The number of changes from ready to unready at which the check fails.
    pub count: u32,
    /// The time in which these changes are counted.
    pub window: SignedDuration,
    /// How long the fault must be gone before the violation resolves.
    pub keep_firing_for: SignedDuration,
}

impl Default for Settings<Limits> {
    fn default() -> Self {
        let limits = Limits {
            count: 6,
            window: SignedDuration::from_mins(30),
            keep_firing_for: SignedDuration::from_mins(2),
        };
        Self::with_limits(limits)
    }
}

pub(super) struct Rule;

fn limits<'a>(view: &View<'a>) -> &'a Limits {
    &view.policy.checks.flapping.limits
}

impl super::Rule for Rule {
    fn reason(&self) -> &'static str {
        "SidecarFlapping"
    }

    fn keep_firing_for(&self, view: &View<'_>) -> SignedDuration {
        limits(view).keep_firing_for
    }

    fn find(&self, view: &View<'_>, faults: &mut Vec<Fault>) {
        let Limits { count, window, .. } = *limits(view);
        for container_idx in view.roles.with(Role::Sidecar) {
            let history = view.history(container_idx);
            let until = history.and_then(|history| history.frequent_flaps_until(count, window, view.now));
            if until.is_some() {
                faults.push(Fault {
                    until,
                    ..Fault::lasting(container_idx, None)
                });
            }
        }
    }

    fn detail(&self, context: &MessageContext<'_>) -> String {
        let Limits { count, window, .. } = *limits(context.view);
        let window = Human(window);
        format!("ready to unready at least {count} times within {window} without a restart")
    }

    fn note(&self, context: &MessageContext<'_>) -> String {
        let Limits { count, window, .. } = *limits(context.view);
        let flaps = context
            .view
            .history(context.container_idx)
            .map_or(0, |history| history.flaps_within(window, context.view.now));
        format!(
            "{} went from ready to unready {flaps} times within {} without a restart (limit {count}, {}).{}",
            context.label(),
            Human(window),
            context.policy,
            if context.can_serve() {
                " Each change removes the Pod from its Services' endpoints."
            } else {
                ""
            },
        )
    }

    fn recovered(&self, context: &MessageContext<'_>) -> String {
        let Limits { count, window, .. } = *limits(context.view);
        format!(
            "went from ready to unready fewer than {count} times within {}",
            Human(window)
        )
    }

    fn episode(&self, context: &MessageContext<'_>) -> String {
        context.containers_ready_since()
    }
}
