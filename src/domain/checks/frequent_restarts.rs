//! FrequentRestarts: a container restarts at least `count` times within `window`. A container that is down also fails
//! the check with `count` restarts within four windows. A container that fails regularly, hours apart, fails
//! the check with `slow.count` restarts after long runs within `slow.window`.
//!
//! The check does not wait for the reason CrashLoopBackOff: the kubelet shows it about twelve seconds late, and never for a
//! native sidecar that exits with code 0. In a crash loop, the back-off of the kubelet grows to five minutes; four
//! windows contain enough restarts even then, if the window is not much shorter than the default.

use jiff::SignedDuration;

use super::{Fault, MessageContext, Settings, View, messages::name_list};
use crate::domain::{
    history::{DOWN_WINDOWS, LONG_RUN},
    observation::ContainerStatus,
    roles::Role,
    time::Human,
};

/// The limits of FrequentRestarts.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// The number of restarts at which the check fails.
    pub count: u32,
    /// The time in which restarts are counted.
    pub window: SignedDuration,
    /// The limit for restarts after long runs.
    pub slow: Slow,
    /// How long the fault must be gone before the violation resolves.
    pub keep_firing_for: SignedDuration,
    /// The containers whose restarts count.
    pub scope: Scope,
}

/// The limit for restarts after runs of at least [`LONG_RUN`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Slow {
    /// The number of restarts at which the check fails.
    pub count: u32,
    /// The time in which these restarts are counted.
    pub window: SignedDuration,
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
            slow: Slow {
                count: 6,
                window: SignedDuration::from_hours(6),
            },
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
        let Limits {
            count, window, slow, ..
        } = *limits(view);
        for (container_idx, status) in view.pod.statuses.iter().enumerate() {
            let (Some(status), Some(history)) = (status, view.history(container_idx)) else {
                continue;
            };
            if !self.covers(view, container_idx) {
                continue;
            }
            let frequent = history.frequent_restarts_until(count, window, view.now);
            let slow = history.slow_restarts_until(slow.count, slow.window, view.now);
            let down = if view.is_down(container_idx) {
                let in_back_off = status.is_in_back_off();
                history.frequent_restarts_while_down_until(count, window, view.now, in_back_off)
            } else {
                None
            };
            if let Some(until) = frequent.max(slow).max(down) {
                let since = status.latest_exit().and_then(|exit| exit.finished_at);
                faults.push(Fault {
                    until: Some(until),
                    ..Fault::lasting(container_idx, since)
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
        let Limits {
            count, window, slow, ..
        } = *limits(context.view);
        let now = context.view.now;
        let history = context.view.history(context.container_idx);
        let recent = history.map_or(0, |history| history.restarts_within(window, now));
        let regular = history.map_or(0, |history| history.slow_restarts_within(slow.window, now));
        let regular = u32::try_from(regular).unwrap_or(u32::MAX);
        let status = context.view.status(context.container_idx);
        let total = status.map_or(0, |status| status.restart_count);
        let (label, policy) = (context.label(), context.policy);
        let fast_window = Human(window);
        let down = window.saturating_mul(DOWN_WINDOWS);
        let (fact, counted) = if recent >= count {
            let times = times(recent);
            let fact = format!("{label} restarted {times} within {fast_window} (limit {count}, {policy})");
            (fact, window)
        } else if regular >= slow.count && !context.view.is_down(context.container_idx) {
            let (times, window) = (times(regular), Human(slow.window));
            let (limit, run) = (slow.count, Human(LONG_RUN));
            let fact = format!(
                "{label} restarted {times} within {window}, each time after at least {run} (limit {limit}, {policy})"
            );
            (fact, slow.window)
        } else {
            let (times, windows) = (times(total.max(recent)), Human(down));
            let fact = format!(
                "{label} is down and restarted {times} (limit {count} within {fast_window}, or within {windows} while it is \
                 down, {policy})"
            );
            (fact, down)
        };
        let last = context
            .last_exit_at()
            .map(|exit| format!("; {exit}"))
            .unwrap_or_default();
        format!("{fact}{last}. {}", others(context, counted))
    }

    fn recovered(&self, context: &MessageContext<'_>) -> String {
        let Limits { count, window, .. } = *limits(context.view);
        let status = context.view.status(context.container_idx);
        let since = status.and_then(ContainerStatus::running_since);
        match since.filter(|since| context.view.now.duration_since(*since) > window) {
            // Also after a violation of the slow limit, of which the short window says nothing.
            Some(since) => format!("has run without a restart since {},", context.time(since)),
            None => format!("restarted fewer than {} within {}", times(count), Human(window)),
        }
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

/// Whether other containers of the Pod were restarted too within a time.
fn others(context: &MessageContext<'_>, window: SignedDuration) -> String {
    let view = context.view;
    let restarted = view.pod.shape.containers.iter().enumerate().filter(|(idx, _)| {
        let is_other = *idx != context.container_idx;
        is_other && view.restarted_since(*idx, view.now.checked_sub(window).unwrap_or_default())
    });
    let names: Vec<&str> = restarted.map(|(_, container)| &*container.name).collect();
    match names.as_slice() {
        [] => "Only this container was restarted.".to_owned(),
        [_] => format!("{} was restarted too.", name_list(names.into_iter())),
        _ => format!("{} were restarted too.", name_list(names.into_iter())),
    }
}

fn times(n: u32) -> String {
    if n == 1 {
        "once".to_owned()
    } else {
        format!("{n} times")
    }
}
