//! A policy as the evaluation reads it: parsed, bounded, with every default filled in.
//!
//! In: what `wire::policy` makes of a `SidecarPolicy` or `ClusterSidecarPolicy`. A value of [`Policy`] can be
//! evaluated as it is; nothing here can fail any more.

use std::{collections::BTreeSet, sync::Arc};

use jiff::{SignedDuration, Timestamp};

use super::{pattern::Glob, pattern::Pattern, selector::Selector};

/// Which of the two kinds a policy is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PolicyKind {
    /// `SidecarPolicy`: sees its own namespace.
    SidecarPolicy,
    /// `ClusterSidecarPolicy`: sees the namespaces that its selector matches.
    ClusterSidecarPolicy,
}

impl PolicyKind {
    /// The kind as the API spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SidecarPolicy => "SidecarPolicy",
            Self::ClusterSidecarPolicy => "ClusterSidecarPolicy",
        }
    }
}

/// The identity of a policy across its versions. Displays as `SidecarPolicy pay/mesh`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PolicyKey {
    /// The kind.
    pub kind: PolicyKind,
    /// The namespace; empty for a `ClusterSidecarPolicy`.
    pub namespace: Arc<str>,
    /// The name.
    pub name: Arc<str>,
}

impl std::fmt::Display for PolicyKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.kind {
            PolicyKind::SidecarPolicy => write!(f, "{} {}/{}", self.kind.as_str(), self.namespace, self.name),
            PolicyKind::ClusterSidecarPolicy => write!(f, "{} {}", self.kind.as_str(), self.name),
        }
    }
}

/// One version of a policy object, as a watch brings it.
#[derive(Clone, Debug)]
pub struct PolicyUpdate {
    /// Which policy.
    pub key: PolicyKey,
    /// `metadata.uid`.
    pub uid: Arc<str>,
    /// `metadata.generation`.
    pub generation: i64,
    /// The spec, or why it cannot be evaluated, in a sentence that names the field.
    pub spec: Result<Policy, String>,
    /// The violations that the object's own status lists. Read only when the policy is first seen.
    pub listed: Vec<ListedViolation>,
}

/// A violation as a policy's status lists it: what an operator left behind for the next one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedViolation {
    /// The failing check.
    pub check: Check,
    /// Whether it fires, or is pending.
    pub firing: bool,
    /// The Pod's namespace.
    pub namespace: Arc<str>,
    /// The Pod's name.
    pub pod: Arc<str>,
    /// The container's name.
    pub container: Arc<str>,
    /// The onset.
    pub since: Timestamp,
}

/// A spec that can be evaluated.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// What the policy may do about what it finds.
    pub mode: Mode,
    /// Which namespaces it sees. A `SidecarPolicy` sees its own whatever stands here.
    pub namespaces: Selector,
    /// Which Pods of these it looks at.
    pub pods: Selector,
    /// What makes a container a sidecar.
    pub sidecars: SidecarRules,
    /// The names of the main containers; empty means every regular container that is not a sidecar.
    pub mains: BTreeSet<Box<str>>,
    /// The settings of the checks, in the order of [`Check::ALL`].
    pub checks: [CheckSettings; Check::ALL.len()],
    /// FrequentRestarts: which containers it looks at.
    pub restart_scope: RestartScope,
    /// StartupBlocked: how long a plain init container may hold the Pod.
    pub init_containers_for: SignedDuration,
    /// How often the Event of a firing violation is repeated.
    pub repeat_period: SignedDuration,
    /// Whether a recovery is worth an Event.
    pub recovery_events: bool,
    /// Where the people on call read on; may be empty.
    pub runbook_url: Box<str>,
}

impl Policy {
    /// The settings of one check.
    pub fn settings(&self, check: Check) -> &CheckSettings {
        let [not_ready, main_ready, restarts, startup, job, oom, flapping] = &self.checks;
        match check {
            Check::NotReady => not_ready,
            Check::MainReadySidecarNotReady => main_ready,
            Check::FrequentRestarts => restarts,
            Check::StartupBlocked => startup,
            Check::JobHeldOpen => job,
            Check::OOMKilled => oom,
            Check::Flapping => flapping,
        }
    }

    /// The mode of one check: the stricter of the policy's and its own.
    pub fn mode_of(&self, check: Check) -> Mode {
        self.mode.max(self.settings(check).mode)
    }
}

/// What a policy or a check may do about what it finds; later is stricter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Mode {
    /// Events, status and metrics.
    #[default]
    Alert,
    /// Status and metrics.
    Observe,
    /// Nothing is evaluated.
    Off,
}

/// How bad a violation is; later is worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Worth a look in working hours.
    Warning,
    /// Worth waking someone.
    Critical,
}

/// Which containers FrequentRestarts looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestartScope {
    /// Sidecars.
    Sidecars,
    /// Sidecars, mains and plain init containers.
    AllContainers,
}

/// The settings that the checks share; a check reads those that it has in the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckSettings {
    /// What the check may do, together with the policy's mode.
    pub mode: Mode,
    /// How bad its violations are.
    pub severity: Severity,
    /// How long the fault must last before it fires (`for`); zero fires at once.
    pub hold_for: SignedDuration,
    /// How long the fault must be gone before it resolves.
    pub keep_firing_for: SignedDuration,
    /// How many restarts or transitions make a fault.
    pub count: u32,
    /// Within which time they must fall.
    pub window: SignedDuration,
}

/// What makes a container a sidecar, and what does not.
#[derive(Clone, Debug, PartialEq)]
pub struct SidecarRules {
    /// Native sidecars are sidecars.
    pub native: bool,
    /// The built-in catalogue counts.
    pub well_known: bool,
    /// Exact names of regular containers.
    pub names: BTreeSet<Box<str>>,
    /// A pattern over the names of regular containers.
    pub name_pattern: Option<Pattern>,
    /// Globs over the image repositories of regular containers.
    pub images: Vec<Glob>,
    /// Exact names that are no sidecars, native ones included.
    pub exclude_names: BTreeSet<Box<str>>,
    /// A pattern over names that are no sidecars.
    pub exclude_pattern: Option<Pattern>,
}

/// One kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Check {
    /// A sidecar of an initialized Pod is not ready.
    NotReady,
    /// A main container is ready and a sidecar is not.
    MainReadySidecarNotReady,
    /// A container restarts too often.
    FrequentRestarts,
    /// An init container, native or plain, keeps the app from starting.
    StartupBlocked,
    /// A classic sidecar outlives the mains and holds the Job open.
    JobHeldOpen,
    /// A sidecar was killed for memory.
    OOMKilled,
    /// A sidecar goes from ready to unready again and again.
    Flapping,
}

impl Check {
    /// Every check, in the order of the API.
    pub const ALL: [Self; 7] = [
        Self::NotReady,
        Self::MainReadySidecarNotReady,
        Self::FrequentRestarts,
        Self::StartupBlocked,
        Self::JobHeldOpen,
        Self::OOMKilled,
        Self::Flapping,
    ];

    /// The name in the API, the status and the metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotReady => "NotReady",
            Self::MainReadySidecarNotReady => "MainReadySidecarNotReady",
            Self::FrequentRestarts => "FrequentRestarts",
            Self::StartupBlocked => "StartupBlocked",
            Self::JobHeldOpen => "JobHeldOpen",
            Self::OOMKilled => "OOMKilled",
            Self::Flapping => "Flapping",
        }
    }

    /// The check of that name, when there is one.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|check| check.as_str() == name)
    }
}
