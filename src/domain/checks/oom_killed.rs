//! OOMKilled: a sidecar, or a child process in it, was OOM-killed. The fault has no duration: the violation fires for
//! `keepFiringFor` after each OOM kill.

use jiff::{SignedDuration, Timestamp};

use super::{Fault, MessageContext, Settings, View};
use crate::domain::{
    history::ContainerHistory,
    observation::{ContainerStatus, Exit, OOM_KILLED, State},
    roles::Role,
    time::later,
};

/// The minimum time that the violation fires. It applies to `keepFiringFor: 0s`, so that the violation fires at all.
const SHORTEST: SignedDuration = SignedDuration::from_millis(1);

/// A container that ended this long before an OOM kill can have ended together with it.
const TOGETHER: SignedDuration = SignedDuration::from_mins(1);

/// The limits of OOMKilled.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// How long the violation fires after an OOM kill.
    pub keep_firing_for: SignedDuration,
}

impl Default for Settings<Limits> {
    fn default() -> Self {
        let limits = Limits {
            keep_firing_for: SignedDuration::from_mins(10),
        };
        Self::with_limits(limits)
    }
}

pub(super) struct Rule;

impl super::Rule for Rule {
    fn reason(&self) -> &'static str {
        "SidecarOOMKilled"
    }

    /// Zero: the fault itself lasts for the policy's `keepFiringFor`.
    fn keep_firing_for(&self, _: &View<'_>) -> SignedDuration {
        SignedDuration::ZERO
    }

    fn find(&self, view: &View<'_>, faults: &mut Vec<Fault>) {
        let keep = view.policy.checks.oom_killed.limits.keep_firing_for;
        for container_idx in view.roles.with(Role::Sidecar) {
            let fault = killed_at(view, container_idx)
                .map(|at| (at, later(at, keep.max(SHORTEST))))
                .filter(|(_, until)| *until > view.now);
            if let Some((at, until)) = fault {
                faults.push(Fault {
                    until: Some(until),
                    instant: true,
                    ..Fault::lasting(container_idx, Some(at))
                });
            }
        }
    }

    fn detail(&self, context: &MessageContext<'_>) -> String {
        format!("OOM-killed{}", limit(context))
    }

    fn note(&self, context: &MessageContext<'_>) -> String {
        let at = killed_at(context.view, context.container_idx).unwrap_or(context.onset);
        format!(
            "{} was OOM-killed at {}{}.{}",
            context.label(),
            context.time(at),
            limit(context),
            app(context, at)
        )
    }

    fn recovered(&self, _: &MessageContext<'_>) -> String {
        "was not OOM-killed again".to_owned()
    }

    /// The identity of the run that was killed.
    fn episode(&self, context: &MessageContext<'_>) -> String {
        match context.view.status(context.container_idx).and_then(oom_exit) {
            Some(exit) if exit.run != 0 => format!("{:x}", exit.run),
            Some(exit) => exit.finished_at.map(|at| at.to_string()).unwrap_or_default(),
            None => String::new(),
        }
    }
}

fn killed_at(view: &View<'_>, container_idx: usize) -> Option<Timestamp> {
    view.history(container_idx)
        .and_then(ContainerHistory::oom_killed_at)
}

/// The latest OOM kill among the two exits in a status.
fn oom_exit(status: &ContainerStatus) -> Option<&Exit> {
    let mut exits = status
        .latest_exit()
        .into_iter()
        .chain(status.last_exit.as_deref());
    exits.find(|exit| &*exit.reason == OOM_KILLED)
}

/// Says that the app was not restarted, if every main container has run on.
fn app(context: &MessageContext<'_>, killed: Timestamp) -> &'static str {
    let view = context.view;
    let mut mains = view.roles.with(Role::Main).peekable();
    let has_main = mains.peek().is_some();
    let since = killed.checked_sub(TOGETHER).unwrap_or(killed);
    let ran_on = |main: usize| {
        let status = view.status(main);
        status.is_some_and(|status| matches!(status.state, State::Running(_)))
            && !view.restarted_since(main, since)
    };
    if has_main && mains.all(ran_on) {
        " The app was not restarted."
    } else {
        ""
    }
}

fn limit(context: &MessageContext<'_>) -> String {
    let container = context.view.pod.shape.containers.get(context.container_idx);
    container
        .and_then(|c| c.memory_limit.as_ref())
        .map_or(" (the container has no memory limit)".to_owned(), |limit| {
            format!(" (limit {limit})")
        })
}
