//! The checks of a policy: [`register`] maps each check of the API to its check in the domain.

use super::{DURATION, LONG, WINDOW, duration, field, mode};
use crate::{
    api::{self, CheckName},
    domain::{
        checks::{
            self, Check, Checks, Common, Settings, flapping, frequent_restarts, job_held_open,
            main_ready_sidecar_not_ready, not_ready, oom_killed, sidecar_missing, startup_blocked,
            version_drift,
        },
        policy::{InvalidField, InvalidSpec, Severity},
    },
};

/// Converts the settings of a check in the API to those in the domain.
trait Decode {
    /// The limits of the check in the domain.
    type Limits;

    /// Converts the settings. `path` is the path of their field.
    fn decode(&self, path: &str) -> Result<Settings<Self::Limits>, InvalidSpec>;
}

/// Generates the conversions between [`CheckName`] and [`Check`], and [`decode`]. Each line has the name of a check in
/// the API, its name in the domain, its field in both, and the path of the field.
macro_rules! register {
    ($($name:ident = $check:ident: $field:ident, $path:literal;)+) => {
        impl From<CheckName> for Check {
            fn from(name: CheckName) -> Self {
                match name {
                    $(CheckName::$name => Self::$check,)+
                }
            }
        }

        impl From<Check> for CheckName {
            fn from(check: Check) -> Self {
                match check {
                    $(Check::$check => Self::$name,)+
                }
            }
        }

        /// Decodes the settings of all checks, from `spec.checks`.
        pub(super) fn decode(checks: &api::Checks) -> Result<Checks, InvalidSpec> {
            let api::Checks { $($field),+ } = checks;
            Ok(checks::Checks {
                $($field: $field.decode(concat!("spec.checks.", $path))?,)+
            })
        }
    };
}

register! {
    NotReady = NotReady: not_ready, "notReady";
    MainReadySidecarNotReady = MainReadySidecarNotReady: main_ready_sidecar_not_ready, "mainReadySidecarNotReady";
    FrequentRestarts = FrequentRestarts: frequent_restarts, "frequentRestarts";
    StartupBlocked = StartupBlocked: startup_blocked, "startupBlocked";
    JobHeldOpen = JobHeldOpen: job_held_open, "jobHeldOpen";
    OomKilled = OOMKilled: oom_killed, "oomKilled";
    Flapping = Flapping: flapping, "flapping";
    SidecarMissing = SidecarMissing: sidecar_missing, "sidecarMissing";
    VersionDrift = VersionDrift: version_drift, "versionDrift";
}

// Each `decode` destructures the API type, so that a new field does not compile until it is decoded.

impl Decode for api::NotReady {
    type Limits = not_ready::Limits;

    fn decode(&self, path: &str) -> Result<Settings<Self::Limits>, InvalidSpec> {
        let Self {
            mode,
            r#for,
            keep_firing_for,
            severity,
        } = self;
        Ok(Settings {
            common: common(*mode, *severity),
            limits: not_ready::Limits {
                hold_for: duration(path, "for", r#for, DURATION)?,
                keep_firing_for: duration(path, "keepFiringFor", keep_firing_for, DURATION)?,
            },
        })
    }
}

impl Decode for api::MainReadySidecarNotReady {
    type Limits = main_ready_sidecar_not_ready::Limits;

    fn decode(&self, path: &str) -> Result<Settings<Self::Limits>, InvalidSpec> {
        let Self {
            mode,
            r#for,
            keep_firing_for,
            severity,
        } = self;
        Ok(Settings {
            common: common(*mode, *severity),
            limits: main_ready_sidecar_not_ready::Limits {
                hold_for: duration(path, "for", r#for, DURATION)?,
                keep_firing_for: duration(path, "keepFiringFor", keep_firing_for, DURATION)?,
            },
        })
    }
}

impl Decode for api::FrequentRestarts {
    type Limits = frequent_restarts::Limits;

    fn decode(&self, path: &str) -> Result<Settings<Self::Limits>, InvalidSpec> {
        let Self {
            mode,
            count: n,
            window,
            slow,
            keep_firing_for,
            scope,
            severity,
        } = self;
        let slow_path = format!("{path}.slow");
        Ok(Settings {
            common: common(*mode, *severity),
            limits: frequent_restarts::Limits {
                count: count(path, *n)?,
                window: duration(path, "window", window, WINDOW)?,
                slow: frequent_restarts::Slow {
                    count: count(&slow_path, slow.count)?,
                    window: duration(&slow_path, "window", &slow.window, WINDOW)?,
                },
                keep_firing_for: duration(path, "keepFiringFor", keep_firing_for, DURATION)?,
                scope: match scope {
                    api::RestartScope::Sidecars => frequent_restarts::Scope::Sidecars,
                    api::RestartScope::AllContainers => frequent_restarts::Scope::AllContainers,
                },
            },
        })
    }
}

impl Decode for api::StartupBlocked {
    type Limits = startup_blocked::Limits;

    fn decode(&self, path: &str) -> Result<Settings<Self::Limits>, InvalidSpec> {
        let Self {
            mode,
            r#for,
            init_containers_for,
            keep_firing_for,
            severity,
        } = self;
        Ok(Settings {
            common: common(*mode, *severity),
            limits: startup_blocked::Limits {
                hold_for: duration(path, "for", r#for, DURATION)?,
                init_containers_for: duration(path, "initContainersFor", init_containers_for, DURATION)?,
                keep_firing_for: duration(path, "keepFiringFor", keep_firing_for, DURATION)?,
            },
        })
    }
}

impl Decode for api::JobHeldOpen {
    type Limits = job_held_open::Limits;

    fn decode(&self, path: &str) -> Result<Settings<Self::Limits>, InvalidSpec> {
        let Self {
            mode,
            r#for,
            keep_firing_for,
            severity,
        } = self;
        Ok(Settings {
            common: common(*mode, *severity),
            limits: job_held_open::Limits {
                hold_for: duration(path, "for", r#for, DURATION)?,
                keep_firing_for: duration(path, "keepFiringFor", keep_firing_for, DURATION)?,
            },
        })
    }
}

impl Decode for api::OomKilled {
    type Limits = oom_killed::Limits;

    fn decode(&self, path: &str) -> Result<Settings<Self::Limits>, InvalidSpec> {
        let Self {
            mode,
            keep_firing_for,
            severity,
        } = self;
        Ok(Settings {
            common: common(*mode, *severity),
            limits: oom_killed::Limits {
                keep_firing_for: duration(path, "keepFiringFor", keep_firing_for, DURATION)?,
            },
        })
    }
}

impl Decode for api::Flapping {
    type Limits = flapping::Limits;

    fn decode(&self, path: &str) -> Result<Settings<Self::Limits>, InvalidSpec> {
        let Self {
            mode,
            count: n,
            window,
            keep_firing_for,
            severity,
        } = self;
        Ok(Settings {
            common: common(*mode, *severity),
            limits: flapping::Limits {
                count: count(path, *n)?,
                window: duration(path, "window", window, WINDOW)?,
                keep_firing_for: duration(path, "keepFiringFor", keep_firing_for, DURATION)?,
            },
        })
    }
}

impl Decode for api::SidecarMissing {
    type Limits = sidecar_missing::Limits;

    fn decode(&self, _path: &str) -> Result<Settings<Self::Limits>, InvalidSpec> {
        let Self { mode, severity } = self;
        Ok(Settings {
            common: common(*mode, *severity),
            limits: sidecar_missing::Limits,
        })
    }
}

/// The check is off unless the policy names it.
impl Decode for Option<api::VersionDrift> {
    type Limits = version_drift::Limits;

    fn decode(&self, path: &str) -> Result<Settings<Self::Limits>, InvalidSpec> {
        let Some(api::VersionDrift {
            mode,
            r#for,
            severity,
        }) = self
        else {
            return Ok(Settings::default());
        };
        Ok(Settings {
            common: common(*mode, *severity),
            limits: version_drift::Limits {
                hold_for: duration(path, "for", r#for, LONG)?,
            },
        })
    }
}

fn common(check_mode: api::Mode, severity: api::Severity) -> Common {
    Common {
        mode: mode(check_mode),
        severity: match severity {
            api::Severity::Info => Severity::Info,
            api::Severity::Warning => Severity::Warning,
            api::Severity::Critical => Severity::Critical,
        },
    }
}

/// Validates the number of restarts or changes at which a check fails.
fn count(path: &str, n: u32) -> Result<u32, InvalidSpec> {
    number(path, "count", n, (1, "1"))
}

/// Validates a number of at most 1000.
fn number(path: &str, name: &str, n: u32, (min, min_text): (u32, &'static str)) -> Result<u32, InvalidSpec> {
    if (min..=1000).contains(&n) {
        return Ok(n);
    }
    let problem = InvalidField::OutOfRange {
        value: n.to_string(),
        min: min_text,
        max: "1000",
    };
    Err(field(format!("{path}.{name}"), problem))
}
