//! The checks of a policy and their limits: a struct each, so that each has exactly the fields that mean something to it.

use super::{
    duration::Duration,
    policy::Mode,
    schema::{between, kubernetes_dialect},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The checks and their limits.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
#[schemars(transform = kubernetes_dialect)]
pub struct Checks {
    /// A sidecar is not ready while its Pod should work. Such a Pod is out of its Services.
    pub not_ready: NotReady,
    /// A main container is ready but a sidecar is not: the app works without its helper.
    pub main_ready_sidecar_not_ready: MainReadySidecarNotReady,
    /// A container restarts again and again.
    pub frequent_restarts: FrequentRestarts,
    /// An init container, native sidecars included, does not let its Pod start.
    pub startup_blocked: StartupBlocked,
    /// A sidecar among the regular containers keeps running after the work is done, so the Job cannot complete.
    pub job_held_open: JobHeldOpen,
    /// A sidecar was killed for memory.
    #[serde(rename = "oomKilled")]
    pub oom_killed: OomKilled,
    /// A sidecar goes from ready to unready again and again without a restart.
    pub flapping: Flapping,
}

/// Limits of the check NotReady.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
#[schemars(transform = kubernetes_dialect)]
pub struct NotReady {
    /// What comes of a violation: Alert, Observe (no Events) or "Off". The policy's mode holds where it is stricter.
    pub mode: Mode,
    /// How long a sidecar may be unready before the violation fires. Between 0s (at once) and 24h.
    #[schemars(extend("x-kubernetes-validations" = between("notReady.for", "0s", "24h", "5m")))]
    pub r#for: Duration,
    /// How long the sidecar must be ready before a firing violation is resolved. Between 0s and 24h.
    #[schemars(extend("x-kubernetes-validations" = between("notReady.keepFiringFor", "0s", "24h", "2m")))]
    pub keep_firing_for: Duration,
    /// How bad a violation is: Info, Warning or Critical.
    pub severity: Severity,
}

impl Default for NotReady {
    fn default() -> Self {
        Self {
            mode: Mode::Alert,
            r#for: Duration::new("5m"),
            keep_firing_for: Duration::new("2m"),
            severity: Severity::Warning,
        }
    }
}

/// Limits of the check MainReadySidecarNotReady.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
#[schemars(transform = kubernetes_dialect)]
pub struct MainReadySidecarNotReady {
    /// What comes of a violation: Alert, Observe (no Events) or "Off". The policy's mode holds where it is stricter.
    pub mode: Mode,
    /// How long a sidecar may be unready beside a ready main container before the violation fires. Between 0s (at once)
    /// and 24h.
    #[schemars(extend("x-kubernetes-validations" = between("mainReadySidecarNotReady.for", "0s", "24h", "2m")))]
    pub r#for: Duration,
    /// How long the fault must be gone before a firing violation is resolved. Between 0s and 24h.
    #[schemars(extend(
        "x-kubernetes-validations" = between("mainReadySidecarNotReady.keepFiringFor", "0s", "24h", "2m")
    ))]
    pub keep_firing_for: Duration,
    /// How bad a violation is: Info, Warning or Critical.
    pub severity: Severity,
}

impl Default for MainReadySidecarNotReady {
    fn default() -> Self {
        Self {
            mode: Mode::Alert,
            r#for: Duration::new("2m"),
            keep_firing_for: Duration::new("2m"),
            severity: Severity::Warning,
        }
    }
}

/// Limits of the check FrequentRestarts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
#[schemars(transform = kubernetes_dialect)]
pub struct FrequentRestarts {
    /// What comes of a violation: Alert, Observe (no Events) or "Off". The policy's mode holds where it is stricter.
    pub mode: Mode,
    /// How many restarts within window make a violation. Between 1 and 1000.
    #[schemars(range(min = 1, max = 1000))]
    pub count: u32,
    /// The time in which restarts are counted. Between 10s and 24h.
    #[schemars(extend("x-kubernetes-validations" = between("frequentRestarts.window", "10s", "24h", "15m")))]
    pub window: Duration,
    /// How long the fault must be gone before a firing violation is resolved. Between 0s and 24h.
    #[schemars(extend("x-kubernetes-validations" = between("frequentRestarts.keepFiringFor", "0s", "24h", "10m")))]
    pub keep_firing_for: Duration,
    /// Whose restarts count: Sidecars, or AllContainers (main and init containers too).
    pub scope: RestartScope,
    /// How bad a violation is: Info, Warning or Critical.
    pub severity: Severity,
}

impl Default for FrequentRestarts {
    fn default() -> Self {
        Self {
            mode: Mode::Alert,
            count: 3,
            window: Duration::new("15m"),
            keep_firing_for: Duration::new("10m"),
            scope: RestartScope::Sidecars,
            severity: Severity::Critical,
        }
    }
}

/// Limits of the check StartupBlocked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
#[schemars(transform = kubernetes_dialect)]
pub struct StartupBlocked {
    /// What comes of a violation: Alert, Observe (no Events) or "Off". The policy's mode holds where it is stricter.
    pub mode: Mode,
    /// How long a native sidecar may take to start before the violation fires. Between 0s (at once) and 24h.
    #[schemars(extend("x-kubernetes-validations" = between("startupBlocked.for", "0s", "24h", "5m")))]
    pub r#for: Duration,
    /// How long a plain init container may run before the violation fires. Between 0s (at once) and 24h.
    #[schemars(extend("x-kubernetes-validations" = between("startupBlocked.initContainersFor", "0s", "24h", "30m")))]
    pub init_containers_for: Duration,
    /// How long the way must be free before a firing violation is resolved. Between 0s and 24h.
    #[schemars(extend("x-kubernetes-validations" = between("startupBlocked.keepFiringFor", "0s", "24h", "2m")))]
    pub keep_firing_for: Duration,
    /// How bad a violation is: Info, Warning or Critical.
    pub severity: Severity,
}

impl Default for StartupBlocked {
    fn default() -> Self {
        Self {
            mode: Mode::Alert,
            r#for: Duration::new("5m"),
            init_containers_for: Duration::new("30m"),
            keep_firing_for: Duration::new("0s"),
            severity: Severity::Critical,
        }
    }
}

/// Limits of the check JobHeldOpen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
#[schemars(transform = kubernetes_dialect)]
pub struct JobHeldOpen {
    /// What comes of a violation: Alert, Observe (no Events) or "Off". The policy's mode holds where it is stricter.
    pub mode: Mode,
    /// How long a sidecar may run on after the last main container finished. Between 0s (at once) and 24h.
    #[schemars(extend("x-kubernetes-validations" = between("jobHeldOpen.for", "0s", "24h", "5m")))]
    pub r#for: Duration,
    /// How long the fault must be gone before a firing violation is resolved. Between 0s and 24h.
    #[schemars(extend("x-kubernetes-validations" = between("jobHeldOpen.keepFiringFor", "0s", "24h", "2m")))]
    pub keep_firing_for: Duration,
    /// How bad a violation is: Info, Warning or Critical.
    pub severity: Severity,
}

impl Default for JobHeldOpen {
    fn default() -> Self {
        Self {
            mode: Mode::Alert,
            r#for: Duration::new("5m"),
            keep_firing_for: Duration::new("0s"),
            severity: Severity::Warning,
        }
    }
}

/// Limits of the check OOMKilled.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
#[schemars(transform = kubernetes_dialect)]
pub struct OomKilled {
    /// What comes of a violation: Alert, Observe (no Events) or "Off". The policy's mode holds where it is stricter.
    pub mode: Mode,
    /// How long the violation fires after the last kill. Between 0s and 24h.
    #[schemars(extend("x-kubernetes-validations" = between("oomKilled.keepFiringFor", "0s", "24h", "10m")))]
    pub keep_firing_for: Duration,
    /// How bad a violation is: Info, Warning or Critical.
    pub severity: Severity,
}

impl Default for OomKilled {
    fn default() -> Self {
        Self {
            mode: Mode::Alert,
            keep_firing_for: Duration::new("10m"),
            severity: Severity::Warning,
        }
    }
}

/// Limits of the check Flapping.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
#[schemars(transform = kubernetes_dialect)]
pub struct Flapping {
    /// What comes of a violation: Alert, Observe (no Events) or "Off". The policy's mode holds where it is stricter.
    pub mode: Mode,
    /// How many times from ready to unready within window make a violation. Between 1 and 1000.
    #[schemars(range(min = 1, max = 1000))]
    pub count: u32,
    /// The time in which they are counted. Between 10s and 24h.
    #[schemars(extend("x-kubernetes-validations" = between("flapping.window", "10s", "24h", "30m")))]
    pub window: Duration,
    /// How long the fault must be gone before a firing violation is resolved. Between 0s and 24h.
    #[schemars(extend("x-kubernetes-validations" = between("flapping.keepFiringFor", "0s", "24h", "2m")))]
    pub keep_firing_for: Duration,
    /// How bad a violation is: Info, Warning or Critical.
    pub severity: Severity,
}

impl Default for Flapping {
    fn default() -> Self {
        Self {
            mode: Mode::Alert,
            count: 6,
            window: Duration::new("30m"),
            keep_firing_for: Duration::new("2m"),
            severity: Severity::Warning,
        }
    }
}

/// How bad a violation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Severity {
    /// Good to know.
    Info,
    /// Somebody should look at it today.
    Warning,
    /// Somebody should look at it now.
    Critical,
}

/// Whose restarts count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RestartScope {
    /// Sidecars only.
    Sidecars,
    /// Sidecars, main containers and plain init containers.
    AllContainers,
}

/// The name of a check, as the status lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum CheckName {
    /// A sidecar is not ready.
    NotReady,
    /// A main container is ready but a sidecar is not.
    MainReadySidecarNotReady,
    /// A container restarts again and again.
    FrequentRestarts,
    /// An init container does not let its Pod start.
    StartupBlocked,
    /// A sidecar keeps a Job from completing.
    JobHeldOpen,
    /// A sidecar was killed for memory.
    #[serde(rename = "OOMKilled")]
    OomKilled,
    /// A sidecar goes from ready to unready again and again.
    Flapping,
}
