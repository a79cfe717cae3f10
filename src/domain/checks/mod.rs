//! The checks, a file each. A check is a [`Rule`]: it finds the containers that fail now, and words what it says of
//! them. It keeps no state and reads no clock; since when a fault is there, and whether it fires, is the tracker's.
//!
//! To add one: a variant of [`Check`] with its settings, a file here, a line in [`rule`].

mod flapping;
mod frequent_restarts;
mod job_held_open;
mod main_ready_sidecar_not_ready;
mod messages;
mod not_ready;
mod oom_killed;
mod startup_blocked;

use jiff::{SignedDuration, Timestamp};

use super::{
    history::{ContainerHistory, History},
    observation::{Container, ContainerKind, ContainerStatus, Observation},
    policy::{Check, Policy, PolicyKey},
    roles::{Role, Roles},
};

/// One Pod under one policy at one moment: all that a check may read.
#[derive(Clone, Copy)]
pub struct View<'a> {
    /// The Pod.
    pub pod: &'a Observation,
    /// Who is who in it.
    pub roles: &'a Roles,
    /// The policy.
    pub policy: &'a Policy,
    /// What its containers went through, when there is anything to tell.
    pub history: Option<&'a History>,
    /// The moment.
    pub now: Timestamp,
}

/// A container that fails a check now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The container's place in the shape.
    pub container: usize,
    /// The latest of the API's own times that bound the onset, for a fault that was there at our first look.
    pub since: Option<Timestamp>,
    /// When the fault ends if nothing more happens; `None` for one that lasts until the Pod changes.
    pub until: Option<Timestamp>,
    /// The fault is an instant: its onset is `since` however we came to see it, and it is over as it begins.
    pub instant: bool,
}

/// What the words of a check need beyond the [`View`].
#[derive(Clone, Copy)]
pub struct MessageContext<'a> {
    /// The Pod under the policy.
    pub view: &'a View<'a>,
    /// The container.
    pub at: usize,
    /// Since when it fails.
    pub onset: Timestamp,
    /// Who set the limit.
    pub policy: &'a PolicyKey,
}

/// One check.
pub trait Rule: Sync {
    /// Which check it is.
    fn check(&self) -> Check;

    /// The `reason` of its Events.
    fn reason(&self) -> &'static str;

    /// Whether the check may speak of the container at `at`.
    fn covers(&self, view: &View<'_>, at: usize) -> bool {
        view.roles.of(at) == Role::Sidecar
    }

    /// How long the fault of the container at `at` must last before it fires.
    fn hold_for(&self, view: &View<'_>, _at: usize) -> SignedDuration {
        view.policy.settings(self.check()).hold_for
    }

    /// How long the fault must be gone before it resolves.
    fn keep_firing_for(&self, view: &View<'_>) -> SignedDuration {
        view.policy.settings(self.check()).keep_firing_for
    }

    /// Adds the containers that fail now, of those that it covers.
    fn find(&self, view: &View<'_>, found: &mut Vec<Fault>);

    /// What the Pod's status tells of a failing container; for the policy's status, so without times that move.
    fn detail(&self, case: &MessageContext<'_>) -> String;

    /// The note of the Event: the fact, since when, the limit and who set it, the cause, the consequence.
    fn note(&self, case: &MessageContext<'_>) -> String;

    /// How the container does now that it no longer fails, to follow its name in a sentence.
    fn recovered(&self, case: &MessageContext<'_>) -> String;

    /// What tells this episode from another of the same container, as the object itself shows it.
    fn episode(&self, case: &MessageContext<'_>) -> String;
}

/// The rule of a check.
pub fn rule(check: Check) -> &'static dyn Rule {
    match check {
        Check::NotReady => &not_ready::NotReady,
        Check::MainReadySidecarNotReady => &main_ready_sidecar_not_ready::MainReadySidecarNotReady,
        Check::FrequentRestarts => &frequent_restarts::FrequentRestarts,
        Check::StartupBlocked => &startup_blocked::StartupBlocked,
        Check::JobHeldOpen => &job_held_open::JobHeldOpen,
        Check::OOMKilled => &oom_killed::OOMKilled,
        Check::Flapping => &flapping::Flapping,
    }
}

/// The note of the Event that says that `check` no longer fails, `lasted` after its onset.
pub fn recovery_note(check: Check, case: &MessageContext<'_>, lasted: SignedDuration) -> String {
    let what = rule(check).recovered(case);
    let lasted = super::time::Human(lasted);
    format!(
        "{} {what} after {lasted} ({} under {}).",
        case.subject(),
        check.as_str(),
        case.policy
    )
}

impl<'a> View<'a> {
    fn container(&self, at: usize) -> Option<(&'a Container, &'a ContainerStatus)> {
        self.pod.container(at)
    }

    fn history(&self, at: usize) -> Option<&'a ContainerHistory> {
        self.history.and_then(|history| history.container(at))
    }

    /// Terminated for good, whatever the exit code.
    fn is_finished(&self, at: usize) -> bool {
        self.pod.finished(at).is_some()
    }

    /// Every main container is terminated for good.
    fn mains_finished(&self) -> bool {
        let mut mains = self.roles.with(Role::Main).peekable();
        mains.peek().is_some() && mains.all(|at| self.is_finished(at))
    }

    fn main_has_begun(&self) -> bool {
        self.roles
            .with(Role::Main)
            .any(|at| self.container(at).is_some_and(|(_, status)| status.has_begun()))
    }

    /// The main containers that are ready.
    fn ready_mains(&self) -> impl Iterator<Item = (&'a Container, &'a ContainerStatus)> + '_ {
        self.roles
            .with(Role::Main)
            .filter_map(|at| self.container(at))
            .filter(|(_, status)| status.ready)
    }

    /// Says `ready: false`, has not finished with exit 0, and is not merely waiting to be created before any main
    /// container has begun. Once a main runs, a sidecar that does not exist yet is missed.
    fn is_unready(&self, at: usize) -> bool {
        self.container(at).is_some_and(|(_, status)| {
            !status.ready
                && self.pod.finished(at).is_none_or(|exit| exit.code != 0)
                && (self.main_has_begun() || !status.waits_to_be_created())
        })
    }

    /// The sidecars that NotReady and MainReadySidecarNotReady are about: unready, in a Pod whose app is there to
    /// need them.
    fn missed_sidecars(&self) -> impl Iterator<Item = usize> + '_ {
        let needed = self.pod.conditions.initialized && !self.mains_finished();
        self.roles
            .with(Role::Sidecar)
            .filter(move |at| needed && self.is_unready(*at))
    }

    /// Since when the container at `at` is unready, as far as the API's own times bound it.
    fn unready_since(&self, at: usize) -> Option<Timestamp> {
        let others_are_ready = self.pod.statuses.iter().enumerate().all(|(other, status)| {
            let is_init = self
                .pod
                .shape
                .containers
                .get(other)
                .is_some_and(|c| c.kind == ContainerKind::Init);
            let is_done = || self.pod.finished(other).is_some_and(|exit| exit.code == 0);
            other == at || is_init || status.as_ref().is_none_or(|s| s.ready) || is_done()
        });
        let condition = self
            .pod
            .conditions
            .containers_ready
            .filter(|c| others_are_ready && !c.holds);
        let status = self
            .container(at)
            .map(|(_, status)| status)
            .filter(|status| status.restart_count == 0);
        condition
            .and_then(|c| c.since.get())
            .max(status.and_then(ContainerStatus::running_since))
    }
}
