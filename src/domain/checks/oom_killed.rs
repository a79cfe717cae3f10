//! OOMKilled: a sidecar, or a child process of it, was killed for memory. An instant, not a level: each new exit keeps
//! the violation firing for `keepFiringFor` from then on.

use jiff::SignedDuration;

use super::{Fault, MessageContext, Rule, View};
use crate::domain::{
    observation::{ContainerStatus, Exit, OOM_KILLED},
    policy::Check,
    roles::Role,
    time::{Clock, later},
};

/// How long an instant lasts.
const INSTANT: SignedDuration = SignedDuration::from_millis(1);

pub(super) struct OOMKilled;

impl Rule for OOMKilled {
    fn check(&self) -> Check {
        Check::OOMKilled
    }

    fn reason(&self) -> &'static str {
        "SidecarOOMKilled"
    }

    fn hold_for(&self, _: &View<'_>, _: usize) -> SignedDuration {
        SignedDuration::ZERO
    }

    /// The instant itself lasts for the policy's `keepFiringFor`, so nothing is left to keep.
    fn keep_firing_for(&self, _: &View<'_>) -> SignedDuration {
        SignedDuration::ZERO
    }

    fn find(&self, view: &View<'_>, found: &mut Vec<Fault>) {
        // Even an instant that nothing keeps lasts long enough to fire once.
        let keep = view
            .policy
            .settings(Check::OOMKilled)
            .keep_firing_for
            .max(INSTANT);
        for container in view.roles.with(Role::Sidecar) {
            let killed = view
                .history(container)
                .and_then(crate::domain::history::ContainerHistory::oom_killed_at);
            if let Some((at, until)) = killed
                .map(|at| (at, later(at, keep)))
                .filter(|(_, until)| *until > view.now)
            {
                found.push(Fault {
                    container,
                    since: Some(at),
                    until: Some(until),
                    instant: true,
                });
            }
        }
    }

    fn detail(&self, case: &MessageContext<'_>) -> String {
        format!("killed for memory{}", limit(case))
    }

    fn note(&self, case: &MessageContext<'_>) -> String {
        let killed = case
            .view
            .history(case.at)
            .and_then(crate::domain::history::ContainerHistory::oom_killed_at);
        let at = Clock(killed.unwrap_or(case.onset));
        format!(
            "{} was killed for memory at {at}{}. The app was not restarted.",
            case.subject(),
            limit(case)
        )
    }

    fn recovered(&self, _: &MessageContext<'_>) -> String {
        "was not killed for memory again".to_owned()
    }

    /// The run that was killed.
    fn episode(&self, case: &MessageContext<'_>) -> String {
        match case
            .view
            .container(case.at)
            .and_then(|(_, status)| killed(status))
        {
            Some(exit) if exit.run != 0 => format!("{:x}", exit.run),
            Some(exit) => exit.finished_at.map(|at| at.to_string()).unwrap_or_default(),
            None => String::new(),
        }
    }
}

/// The latest exit that was a memory kill, of the two that a status shows.
fn killed(status: &ContainerStatus) -> Option<&Exit> {
    let mut exits = status
        .latest_exit()
        .into_iter()
        .chain(status.last_exit.as_deref());
    exits.find(|exit| &*exit.reason == OOM_KILLED)
}

fn limit(case: &MessageContext<'_>) -> String {
    let container = case.view.pod.shape.containers.get(case.at);
    container
        .and_then(|c| c.memory_limit.as_ref())
        .map_or(" (no limit of its own)".to_owned(), |limit| {
            format!(" (limit {limit})")
        })
}
