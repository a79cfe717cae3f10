//! FrequentRestarts: at least `count` restarts within `window`, or down with at least as many within four windows. Not
//! by the reason CrashLoopBackOff: the kubelet shows it some twelve seconds late, and never for a native sidecar that
//! exits 0. The four windows carry a crash loop through the kubelet's back-off, which grows to five minutes.

use jiff::SignedDuration;

use super::{Fault, MessageContext, Rule, View};
use crate::domain::{
    history::DOWN_WINDOWS,
    observation::State,
    policy::{Check, RestartScope},
    roles::Role,
    time::Human,
};

pub(super) struct FrequentRestarts;

impl Rule for FrequentRestarts {
    fn check(&self) -> Check {
        Check::FrequentRestarts
    }

    fn reason(&self) -> &'static str {
        "SidecarRestartingFrequently"
    }

    fn covers(&self, view: &View<'_>, at: usize) -> bool {
        match (view.roles.of(at), view.policy.restart_scope) {
            (Role::Sidecar, _) | (Role::Main | Role::Init, RestartScope::AllContainers) => true,
            (Role::Main | Role::Init, RestartScope::Sidecars) | (Role::Ignored, _) => false,
        }
    }

    fn hold_for(&self, _: &View<'_>, _: usize) -> SignedDuration {
        SignedDuration::ZERO
    }

    fn find(&self, view: &View<'_>, found: &mut Vec<Fault>) {
        let settings = view.policy.settings(Check::FrequentRestarts);
        let (count, window) = (settings.count, settings.window);
        for (at, status) in view.pod.statuses.iter().enumerate() {
            let (Some(status), Some(history)) = (status, view.history(at)) else {
                continue;
            };
            if !self.covers(view, at) {
                continue;
            }
            let often = history.restarted_often(count, window, view.now);
            let down = if is_down(view, at) {
                history.went_down_often(count, window, view.now)
            } else {
                None
            };
            if let Some(until) = often.max(down) {
                let since = status.latest_exit().and_then(|exit| exit.finished_at);
                found.push(Fault {
                    container: at,
                    since,
                    until: Some(until),
                    instant: false,
                });
            }
        }
    }

    fn detail(&self, case: &MessageContext<'_>) -> String {
        let Some((_, status)) = case.view.container(case.at) else {
            return String::new();
        };
        let last = case
            .last_exit()
            .map(|exit| format!(", {exit}"))
            .unwrap_or_default();
        let down = if is_down(case.view, case.at) { ", down" } else { "" };
        format!("{} restarts in all{last}{down}", status.restart_count)
    }

    fn note(&self, case: &MessageContext<'_>) -> String {
        let settings = case.view.policy.settings(Check::FrequentRestarts);
        let (count, window) = (settings.count, settings.window);
        let seen = case
            .view
            .history(case.at)
            .map_or(0, |history| history.restarts_within(window, case.view.now));
        let total = case
            .view
            .container(case.at)
            .map_or(0, |(_, status)| status.restart_count);
        let (subject, window_words, by) = (case.subject(), Human(window), case.policy);
        let fact = if seen >= count {
            format!(
                "{subject} restarted {} within {window_words} (limit {count}, {by})",
                times(seen)
            )
        } else {
            let windows = Human(window.saturating_mul(DOWN_WINDOWS));
            let total = times(total.max(seen));
            format!(
                "{subject} is down and restarted {total} (limit {count} within {window_words}, or within {windows} while it is down, {by})"
            )
        };
        let last = case
            .last_exit_at()
            .map(|exit| format!("; {exit}"))
            .unwrap_or_default();
        format!("{fact}{last}. Only this container was restarted.")
    }

    fn recovered(&self, case: &MessageContext<'_>) -> String {
        let window = Human(case.view.policy.settings(Check::FrequentRestarts).window);
        format!("restarts less often than the limit within {window} again")
    }

    /// The number of full `count`s of restarts: a new episode after recovery has had at least as many more.
    fn episode(&self, case: &MessageContext<'_>) -> String {
        let count = case.view.policy.settings(Check::FrequentRestarts).count.max(1);
        case.view
            .container(case.at)
            .map_or(0, |(_, status)| status.restart_count / count)
            .to_string()
    }
}

/// Waiting, or terminated and not for good.
fn is_down(view: &View<'_>, at: usize) -> bool {
    view.container(at).is_some_and(|(_, status)| match status.state {
        State::Running(_) => false,
        State::Waiting(_) => true,
        State::Terminated(_) => !view.is_finished(at),
    })
}

fn times(n: u32) -> String {
    if n == 1 {
        "once".to_owned()
    } else {
        format!("{n} times")
    }
}
