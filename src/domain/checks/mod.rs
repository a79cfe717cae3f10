//! The checks, one file each. A check is a [`Rule`]: it finds the containers that fail now and writes the messages
//! about them. It keeps no state and reads no clock. The tracker stores the onsets and decides which violations fire.
//!
//! CONTRIBUTING.md describes how to add a check.

pub mod flapping;
pub mod frequent_restarts;
pub mod job_held_open;
pub mod main_ready_sidecar_not_ready;
mod messages;
pub mod not_ready;
pub mod oom_killed;
pub mod sidecar_missing;
pub mod startup_blocked;
pub mod version_drift;
mod view;

use jiff::{SignedDuration, Timestamp};

pub use self::view::View;
use super::{
    policy::{Mode, PolicyKey, Severity},
    roles::Role,
};

/// Generates [`Check`], [`Checks`] and [`rule`] from the list of checks. An entry has the documentation of the check,
/// its name in the API, and its module, which has the types `Rule` and `Limits`.
macro_rules! register {
    ($($(#[$doc:meta])* $check:ident: $module:ident,)+) => {
        /// The name of a check.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Check {
            $($(#[$doc])* $check,)+
        }

        impl Check {
            /// All checks, in the order of the API.
            pub const ALL: [Self; [$(stringify!($check)),+].len()] = [$(Self::$check),+];

            /// The name in the API, the status and the metrics.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$check => stringify!($check),)+
                }
            }

            /// The check with this name.
            pub fn parse(name: &str) -> Option<Self> {
                Self::ALL.into_iter().find(|check| check.as_str() == name)
            }
        }

        /// The settings of all checks. The default has the defaults of the API.
        #[derive(Clone, Debug, Default, PartialEq)]
        pub struct Checks {
            $($(#[$doc])* pub $module: Settings<$module::Limits>,)+
        }

        impl Checks {
            /// The settings that every check has.
            pub const fn common(&self, check: Check) -> Common {
                match check {
                    $(Check::$check => self.$module.common,)+
                }
            }

            /// The settings that every check has, to change them.
            pub(crate) const fn common_mut(&mut self, check: Check) -> &mut Common {
                match check {
                    $(Check::$check => &mut self.$module.common,)+
                }
            }
        }

        /// The rule of a check.
        pub const fn rule(check: Check) -> &'static dyn Rule {
            match check {
                $(Check::$check => &$module::Rule,)+
            }
        }
    };
}

register! {
    /// A sidecar of an initialized Pod is not ready.
    NotReady: not_ready,
    /// A main container is ready and a sidecar is not.
    MainReadySidecarNotReady: main_ready_sidecar_not_ready,
    /// A container restarts too often.
    FrequentRestarts: frequent_restarts,
    /// An init container, native sidecar or plain, blocks the startup of its Pod.
    StartupBlocked: startup_blocked,
    /// A classic sidecar keeps running after the main containers, so that the Job cannot complete.
    JobHeldOpen: job_held_open,
    /// A sidecar was OOM-killed.
    OOMKilled: oom_killed,
    /// A sidecar changes from ready to unready too often.
    Flapping: flapping,
    /// Pods of a workload lack a sidecar that they must have.
    SidecarMissing: sidecar_missing,
    /// The Pods of a policy run more than one version of a sidecar image.
    VersionDrift: version_drift,
}

/// The settings of one check: those that every check has, and those of this check.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings<L> {
    /// The settings that every check has.
    pub common: Common,
    /// The limits of this check.
    pub limits: L,
}

/// The settings that every check has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Common {
    /// The mode of the check. The stricter of this mode and the policy's mode applies.
    pub mode: Mode,
    /// The severity of its violations.
    pub severity: Severity,
}

impl<L> Settings<L> {
    /// Settings with the default mode and severity. `Critical` is the choice of the policy's author.
    const fn with_limits(limits: L) -> Self {
        let common = Common {
            mode: Mode::Alert,
            severity: Severity::Warning,
        };
        Self { common, limits }
    }
}

/// A container that fails a check now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The index of the container in the shape.
    pub container_idx: usize,
    /// The onset that the container's own status and history show. Used at the first evaluation; without it, the fault began now.
    pub since: Option<Timestamp>,
    /// The earliest onset that the status of the Pod allows, and that does not change while the fault lasts. It says only whether
    /// the fault began after an earlier observation.
    pub earliest: Option<Timestamp>,
    /// How long the fault had lasted when the Pod showed it, by the times of its node. Not zero only for a fault that a
    /// restart has hidden for a moment.
    pub lasted: SignedDuration,
    /// The fault does not begin before this time.
    pub not_before: Option<Timestamp>,
    /// The time at which the fault ends if the Pod does not change; `None` if time alone does not end it.
    pub until: Option<Timestamp>,
    /// The fault has no duration, like an OOM kill. Its onset is always `since`.
    pub instant: bool,
}

impl Fault {
    /// A fault that lasts until the Pod changes.
    pub(super) const fn lasting(container_idx: usize, since: Option<Timestamp>) -> Self {
        Self {
            container_idx,
            since,
            earliest: since,
            lasted: SignedDuration::ZERO,
            not_before: None,
            until: None,
            instant: false,
        }
    }
}

/// The data for the messages of a check, in addition to the [`View`].
#[derive(Clone, Copy)]
pub struct MessageContext<'a> {
    /// The Pod and the policy.
    pub view: &'a View<'a>,
    /// The index of the container in the shape.
    pub container_idx: usize,
    /// The time at which the fault began.
    pub onset: Timestamp,
    /// The policy that sets the limit.
    pub policy: &'a PolicyKey,
}

/// The logic of one check.
pub trait Rule: Sync {
    /// The `reason` of its Events.
    fn reason(&self) -> &'static str;

    /// Whether the check can fail on this container.
    fn covers(&self, view: &View<'_>, container_idx: usize) -> bool {
        view.roles.of(container_idx) == Role::Sidecar
    }

    /// The other check that reports the same fault of a container. While both fire, one of them repeats its Event, and
    /// one Event reports the recovery.
    fn same_fault_as(&self) -> Option<Check> {
        None
    }

    /// How long the fault must last before the violation fires (`for` in the API). Zero fires at once.
    fn hold_for(&self, _view: &View<'_>, _container_idx: usize) -> SignedDuration {
        SignedDuration::ZERO
    }

    /// How long the fault must be gone before the violation resolves.
    fn keep_firing_for(&self, view: &View<'_>) -> SignedDuration;

    /// Adds the covered containers that fail now.
    fn find(&self, view: &View<'_>, faults: &mut Vec<Fault>);

    /// The cause, for the status of the policy. Contains no durations, so that the status does not change while the Pod
    /// does not change.
    fn detail(&self, context: &MessageContext<'_>) -> String;

    /// The note of the Event: the fault, its onset, the limit and its policy, the cause, the effect.
    fn note(&self, context: &MessageContext<'_>) -> String;

    /// The state of the container after recovery. It follows the name of the container in a sentence.
    fn recovered(&self, context: &MessageContext<'_>) -> String;

    /// A text that differs between two episodes of the same container. It is computed from the Pod only.
    fn episode(&self, context: &MessageContext<'_>) -> String;
}

/// The rule of a check on workloads or images. It finds nothing in a single Pod: the index keeps the facts, and the module of the
/// check writes the messages about them.
pub trait SubjectRule: Sync {
    /// The `reason` of its Events.
    const REASON: &'static str;
}

impl<T: SubjectRule> Rule for T {
    fn reason(&self) -> &'static str {
        T::REASON
    }

    fn covers(&self, _view: &View<'_>, _container_idx: usize) -> bool {
        false
    }

    fn keep_firing_for(&self, _view: &View<'_>) -> SignedDuration {
        SignedDuration::ZERO
    }

    fn find(&self, _view: &View<'_>, _faults: &mut Vec<Fault>) {}

    fn detail(&self, _context: &MessageContext<'_>) -> String {
        String::new()
    }

    fn note(&self, _context: &MessageContext<'_>) -> String {
        String::new()
    }

    fn recovered(&self, _context: &MessageContext<'_>) -> String {
        String::new()
    }

    fn episode(&self, _context: &MessageContext<'_>) -> String {
        String::new()
    }
}

/// The note of the Event for a violation that resolved `duration` after its onset.
pub fn recovery_note(check: Check, context: &MessageContext<'_>, duration: SignedDuration) -> String {
    let state = rule(check).recovered(context);
    let duration = super::time::Human(duration);
    format!(
        "{} {state} after {duration} ({} under {}).",
        context.label(),
        check.as_str(),
        context.policy
    )
}
