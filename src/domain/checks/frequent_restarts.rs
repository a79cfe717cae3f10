//! FrequentRestarts: a container restarts at least `count` times within `window`. A container that is down also fails
//! the check with `count` restarts within four windows.
//!
//! The check does not use the reason CrashLoopBackOff: the kubelet shows it about twelve seconds late, and never for a
//! native sidecar that exits with code 0. In a crash loop, the back-off of the kubelet grows to five minutes; four
//! windows contain enough restarts even then.

use jiff::SignedDuration;

use super::{Fault, MessageContext, Settings, View};
use crate::domain::{history::DOWN_WINDOWS, roles::Role, time::Human};

/// The limits of FrequentRestarts.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// The number of restarts at which the check fails.
    pub count: u32,
    /// The time in which restarts are counted.
    pub window: SignedDuration,
    /// How long the fault must be gone before the violation resolves.
    pub keep_firing_for: SignedDuration,
    /// The containers whose restarts count.
    pub scope: Scope,
}

/// The containers whose restarts count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Sidecars.
    Sidecars,
    /// Sidecars, main containers and plain init containers.
    AllContainers,
}

impl Default for Settings<Limits> {
    fn default() -> Self {
        let limits = Limits {
            count: 3,
            window: SignedDuration::from_mins(15),
            keep_firing_for: SignedDuration::from_mins(10),
            scope: Scope::Sidecars,
        };
        Self::with_limits(limits)
    }
}

pub(super) struct Rule;

fn limits<'a>(view: &View<'a>) -> &'a Limits {
    &view.policy.checks.frequent_restarts.limits
}

impl super::Rule for Rule {
    fn reason(&self) -> &'static str {
        "SidecarRestartingFrequently"
    }

    fn covers(&self, view: &View<'_>, container_idx: usize) -> bool {
        match (view.roles.of(container_idx), limits(view).scope) {
            (Role::Sidecar, _) | (Role::Main | Role::Init, Scope::AllContainers) => true,
            (Role::Main | Role::Init, Scope::Sidecars) | (Role::Ignored, _) => false,
        }
    }

    fn keep_firing_for(&self, view: &View<'_>) -> SignedDuration {
        limits(view).keep_firing_for
    }

    fn find(&self, view: &View<'_>, faults: &mut Vec<Fault>) {
        let Limits { count, window, .. } = *limits(view);
        for (container_idx, status) in view.pod.statuses.iter().enumerate() {
            let (Some(status), Some(history)) = (status, view.history(container_idx)) else {
                continue;
            };
            if !self.covers(view, container_idx) {
                continue;
            }
            let frequent = history.frequent_restarts_until(count, window, view.now);
            let down = if view.is_down(container_idx) {
                history.frequent_restarts_while_down_until(count, window, view.now)
            } else {
                None
            };
            if let Some(until) = frequent.max(down) {
                let since = status.latest_exit().and_then(|exit| exit.finished_at);
                faults.push(Fault {
                    container_idx,
                    since,
                    until: Some(until),
                    instant: false,
                });
            }
        }
    }

    fn detail(&self, context: &MessageContext<'_>) -> String {
        let Some(status) = context.view.status(context.container_idx) else {
            return String::new();
        };
        let last = context
            .last_exit()
            .map(|exit| format!(", {exit}"))
            .unwrap_or_default();
        let down = if context.view.is_down(context.container_idx) {
            ", down"
        } else {
            ""
        };
        format!("{} restarts in total{last}{down}", status.restart_count)
    }

    fn note(&self, context: &MessageContext<'_>) -> String {
        let Limits { count, window, .. } = *limits(context.view);
        let recent = context
            .view
            .history(context.container_idx)
            .map_or(0, |history| history.restarts_within(window, context.view.now));
        let status = context.view.status(context.container_idx);
        let total = status.map_or(0, |status| status.restart_count);
        let (label, window_text, policy) = (context.label(), Human(window), context.policy);
        let fact = if recent >= count {
            format!(
                "{label} restarted {} within {window_text} (limit {count}, {policy})",
                times(recent)
            )
        } else {
            let windows = Human(window.saturating_mul(DOWN_WINDOWS));
            let total = times(total.max(recent));
            format!(
                "{label} is down and restarted {total} (limit {count} within {window_text}, or within {windows} while it is down, {policy})"
            )
        };
        let last = context
            .last_exit_at()
            .map(|exit| format!("; {exit}"))
            .unwrap_or_default();
        format!("{fact}{last}. Only this container was restarted.")
    }

    fn recovered(&self, context: &MessageContext<'_>) -> String {
        let Limits { count, window, .. } = *limits(context.view);
        format!("restarted fewer than {} within {}", times(count), Human(window))
    }

    /// The number of restarts divided by `count`. A new episode after a recovery has at least `count` more restarts.
    fn episode(&self, context: &MessageContext<'_>) -> String {
        let count = limits(context.view).count.max(1);
        let status = context.view.status(context.container_idx);
        status
            .map_or(0, |status| status.restart_count / count)
            .to_string()
    }
}

fn times(n: u32) -> String {
    if n == 1 {
        "once".to_owned()
    } else {
        format!("{n} times")
    }
}
