//! The checks of a policy: a struct for each, with exactly the fields that the check uses.

use super::{
    common::{Mode, Severity},
    duration::Duration,
    schema::{between, kubernetes_dialect},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The checks and their limits.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
#[schemars(transform = kubernetes_dialect)]
pub struct Checks {
    /// A sidecar is not ready although its Pod is initialized. Services send no traffic to such a Pod.
    pub not_ready: NotReady,
    /// A main container is ready but a sidecar is not.
    pub main_ready_sidecar_not_ready: MainReadySidecarNotReady,
    /// A container restarts too often.
    pub frequent_restarts: FrequentRestarts,
    /// An init container, native sidecars included, blocks the startup of its Pod.
    pub startup_blocked: StartupBlocked,
    /// A sidecar among the regular containers keeps running after the main containers have finished, so the Job cannot
    /// complete.
    pub job_held_open: JobHeldOpen,
    /// A sidecar was OOM-killed.
    #[serde(rename = "oomKilled")]
    pub oom_killed: OomKilled,
    /// A sidecar changes from ready to unready too often without a restart.
    pub flapping: Flapping,
    /// Pods of a workload lack a sidecar that spec.expected says they must have. Without entries, nothing is checked.
    pub sidecar_missing: SidecarMissing,
    /// The Pods of the policy run more than one version of a sidecar image. Off unless this field is set, for example to {}.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "VersionDrift")]
    pub version_drift: Option<VersionDrift>,
}

/// Limits of the check NotReady.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
#[schemars(transform = kubernetes_dialect)]
pub struct NotReady {
    /// How Sidewatch reports a violation: Alert, Observe (no Events) or "Off" (nothing). The policy's mode applies if
    /// it is stricter.
    pub mode: Mode,
    /// How long a sidecar may be unready before the violation fires. Between 0s (at once) and 24h.
    #[schemars(extend("x-kubernetes-validations" = between("notReady.for", "0s", "24h", "5m")))]
    pub r#for: Duration,
    /// How long the sidecar must be ready before a firing violation resolves. Between 0s and 24h.
    #[schemars(extend("x-kubernetes-validations" = between("notReady.keepFiringFor", "0s", "24h", "2m")))]
    pub keep_firing_for: Duration,
    /// The severity of a violation: Info, Warning or Critical.
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
    /// How Sidewatch reports a violation: Alert, Observe (no Events) or "Off" (nothing). The policy's mode applies if
    /// it is stricter.
    pub mode: Mode,
    /// How long a sidecar may be unready while a main container is ready before the violation fires. Between 0s (at once)
    /// and 24h.
    #[schemars(extend("x-kubernetes-validations" = between("mainReadySidecarNotReady.for", "0s", "24h", "2m")))]
    pub r#for: Duration,
    /// How long the fault must be gone before a firing violation resolves. Between 0s and 24h.
    #[schemars(extend(
        "x-kubernetes-validations" = between("mainReadySidecarNotReady.keepFiringFor", "0s", "24h", "2m")
    ))]
    pub keep_firing_for: Duration,
    /// The severity of a violation: Info, Warning or Critical.
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
    /// How Sidewatch reports a violation: Alert, Observe (no Events) or "Off" (nothing). The policy's mode applies if
    /// it is stricter.
    pub mode: Mode,
    /// The number of restarts within window that is a violation. Between 1 and 1000.
    #[schemars(range(min = 1, max = 1000))]
    pub count: u32,
    /// The time in which restarts are counted. Between 10s and 24h. The kubelet restarts a failing container only every five
    /// minutes after a while. A container that is down is reported until its restarts are older than four windows, so a window
    /// of less than 5m loses it then.
    #[schemars(extend("x-kubernetes-validations" = between("frequentRestarts.window", "10s", "24h", "15m")))]
    pub window: Duration,
    /// The limit for restarts that are too far apart for count and window.
    pub slow: SlowRestarts,
    /// How long the fault must be gone before a firing violation resolves. Between 0s and 24h.
    #[schemars(extend("x-kubernetes-validations" = between("frequentRestarts.keepFiringFor", "0s", "24h", "10m")))]
    pub keep_firing_for: Duration,
    /// The containers whose restarts count: Sidecars, or AllContainers (also main and init containers).
    pub scope: RestartScope,
    /// The severity of a violation: Info, Warning or Critical.
    pub severity: Severity,
}

impl Default for FrequentRestarts {
    fn default() -> Self {
        Self {
            mode: Mode::Alert,
            count: 3,
            window: Duration::new("15m"),
            slow: SlowRestarts::default(),
            keep_firing_for: Duration::new("10m"),
            scope: RestartScope::Sidecars,
            severity: Severity::Warning,
        }
    }
}

/// The limit for restarts that are at least ten minutes apart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
#[schemars(transform = kubernetes_dialect)]
pub struct SlowRestarts {
    /// The number of such restarts within window that is a violation. Between 1 and 1000.
    #[schemars(range(min = 1, max = 1000))]
    pub count: u32,
    /// The time in which they are counted. Between 10s and 24h. The fault ends earlier if no restart follows within twice the
    /// longest time between two of them.
    #[schemars(extend("x-kubernetes-validations" = between("frequentRestarts.slow.window", "10s", "24h", "6h")))]
    pub window: Duration,
}

impl Default for SlowRestarts {
    fn default() -> Self {
        Self {
            count: 6,
            window: Duration::new("6h"),
        }
    }
}

/// Limits of the check StartupBlocked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
#[schemars(transform = kubernetes_dialect)]
pub struct StartupBlocked {
    /// How Sidewatch reports a violation: Alert, Observe (no Events) or "Off" (nothing). The policy's mode applies if
    /// it is stricter.
    pub mode: Mode,
    /// How long a sidecar may take to start, or an init container may fail repeatedly, before the violation fires.
    /// Between 0s (at once) and 24h.
    #[schemars(extend("x-kubernetes-validations" = between("startupBlocked.for", "0s", "24h", "5m")))]
    pub r#for: Duration,
    /// How long a plain init container that does not fail repeatedly may run before the violation fires. Between 0s (at
    /// once) and 24h.
    #[schemars(extend("x-kubernetes-validations" = between("startupBlocked.initContainersFor", "0s", "24h", "30m")))]
    pub init_containers_for: Duration,
    /// How long nothing may block the startup before a firing violation resolves. Between 0s and 24h.
    #[schemars(extend("x-kubernetes-validations" = between("startupBlocked.keepFiringFor", "0s", "24h", "2m")))]
    pub keep_firing_for: Duration,
    /// The severity of a violation: Info, Warning or Critical.
    pub severity: Severity,
}

impl Default for StartupBlocked {
    fn default() -> Self {
        Self {
            mode: Mode::Alert,
            r#for: Duration::new("5m"),
            init_containers_for: Duration::new("30m"),
            keep_firing_for: Duration::new("0s"),
            severity: Severity::Warning,
        }
    }
}

/// Limits of the check JobHeldOpen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
#[schemars(transform = kubernetes_dialect)]
pub struct JobHeldOpen {
    /// How Sidewatch reports a violation: Alert, Observe (no Events) or "Off" (nothing). The policy's mode applies if
    /// it is stricter.
    pub mode: Mode,
    /// How long a sidecar may run after the last main container has finished before the violation fires. Between 0s (at once) and 24h.
    #[schemars(extend("x-kubernetes-validations" = between("jobHeldOpen.for", "0s", "24h", "5m")))]
    pub r#for: Duration,
    /// How long the fault must be gone before a firing violation resolves. Between 0s and 24h.
    #[schemars(extend("x-kubernetes-validations" = between("jobHeldOpen.keepFiringFor", "0s", "24h", "2m")))]
    pub keep_firing_for: Duration,
    /// The severity of a violation: Info, Warning or Critical.
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
    /// How Sidewatch reports a violation: Alert, Observe (no Events) or "Off" (nothing). The policy's mode applies if
    /// it is stricter.
    pub mode: Mode,
    /// How long the violation fires after the last OOM kill. Between 0s and 24h.
    #[schemars(extend("x-kubernetes-validations" = between("oomKilled.keepFiringFor", "0s", "24h", "10m")))]
    pub keep_firing_for: Duration,
    /// The severity of a violation: Info, Warning or Critical.
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
    /// How Sidewatch reports a violation: Alert, Observe (no Events) or "Off" (nothing). The policy's mode applies if
    /// it is stricter.
    pub mode: Mode,
    /// The number of changes from ready to unready within window that is a violation. Between 1 and 1000.
    #[schemars(range(min = 1, max = 1000))]
    pub count: u32,
    /// The time in which these changes are counted. Between 10s and 24h.
    #[schemars(extend("x-kubernetes-validations" = between("flapping.window", "10s", "24h", "30m")))]
    pub window: Duration,
    /// How long the fault must be gone before a firing violation resolves. Between 0s and 24h.
    #[schemars(extend("x-kubernetes-validations" = between("flapping.keepFiringFor", "0s", "24h", "2m")))]
    pub keep_firing_for: Duration,
    /// The severity of a violation: Info, Warning or Critical.
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

/// Settings of the check SidecarMissing. Each entry of spec.expected has its own limit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
#[schemars(transform = kubernetes_dialect)]
pub struct SidecarMissing {
    /// How Sidewatch reports a violation: Alert, Observe (no Events) or "Off" (nothing). The policy's mode applies if
    /// it is stricter.
    pub mode: Mode,
    /// The severity of a violation: Info, Warning or Critical.
    pub severity: Severity,
}

impl Default for SidecarMissing {
    fn default() -> Self {
        Self {
            mode: Mode::Alert,
            severity: Severity::Warning,
        }
    }
}

/// Settings of the check VersionDrift, which is off unless the policy has them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
#[schemars(transform = kubernetes_dialect)]
pub struct VersionDrift {
    /// How Sidewatch reports a violation: Alert, Observe (no Events) or "Off" (nothing). The policy's mode applies if
    /// it is stricter.
    pub mode: Mode,
    /// How long more than one version may run before the violation fires. Between 0s (at once) and 720h.
    #[schemars(extend("x-kubernetes-validations" = between("versionDrift.for", "0s", "720h", "168h")))]
    pub r#for: Duration,
    /// The severity of a violation: Info, Warning or Critical.
    pub severity: Severity,
}

impl Default for VersionDrift {
    fn default() -> Self {
        Self {
            mode: Mode::Alert,
            r#for: Duration::new("168h"),
            severity: Severity::Warning,
        }
    }
}

/// The containers whose restarts count.
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
    /// A container restarts too often.
    FrequentRestarts,
    /// An init container blocks the startup of its Pod.
    StartupBlocked,
    /// A sidecar keeps a Job from completing.
    JobHeldOpen,
    /// A sidecar was OOM-killed.
    #[serde(rename = "OOMKilled")]
    OomKilled,
    /// A sidecar changes from ready to unready too often.
    Flapping,
    /// Pods of a workload lack a sidecar.
    SidecarMissing,
    /// A sidecar image runs in several versions.
    VersionDrift,
}
