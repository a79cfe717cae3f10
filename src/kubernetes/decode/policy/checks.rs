//! The checks of a policy. A setting that a check does not have in the API is zero here, and not read.

use jiff::SignedDuration;

use super::{HOLD, WINDOW, duration, mode};
use crate::{
    api,
    domain::policy::{Check, CheckSettings, RestartScope, Severity},
};

/// What `spec.checks` says.
pub(super) struct Parsed {
    /// In the order of [`Check::ALL`].
    pub(super) settings: [CheckSettings; Check::ALL.len()],
    pub(super) restart_scope: RestartScope,
    pub(super) init_containers_for: SignedDuration,
}

pub(super) fn parse(checks: &api::Checks) -> Result<Parsed, String> {
    let api::Checks {
        not_ready,
        main_ready_sidecar_not_ready,
        frequent_restarts,
        startup_blocked,
        job_held_open,
        oom_killed,
        flapping,
    } = checks;
    Ok(Parsed {
        settings: [
            Written::from(not_ready).parse()?,
            Written::from(main_ready_sidecar_not_ready).parse()?,
            Written::from(frequent_restarts).parse()?,
            Written::from(startup_blocked).parse()?,
            Written::from(job_held_open).parse()?,
            Written::from(oom_killed).parse()?,
            Written::from(flapping).parse()?,
        ],
        restart_scope: match frequent_restarts.scope {
            api::RestartScope::Sidecars => RestartScope::Sidecars,
            api::RestartScope::AllContainers => RestartScope::AllContainers,
        },
        init_containers_for: duration(
            "spec.checks.startupBlocked.initContainersFor",
            &startup_blocked.init_containers_for,
            HOLD,
        )?,
    })
}

/// The settings of one check as they are written, those that it has.
struct Written<'a> {
    name: &'static str,
    mode: api::Mode,
    severity: api::Severity,
    hold_for: Option<&'a api::Duration>,
    keep_firing_for: &'a api::Duration,
    rate: Option<(u32, &'a api::Duration)>,
}

impl Written<'_> {
    fn parse(self) -> Result<CheckSettings, String> {
        let field = |name: &str| format!("spec.checks.{}.{name}", self.name);
        let (count, window) = match self.rate {
            None => (0, SignedDuration::ZERO),
            Some((count @ 1..=1000, window)) => (count, duration(&field("window"), window, WINDOW)?),
            Some((count, _)) => {
                return Err(format!("{}: {count} is not between 1 and 1000", field("count")));
            }
        };
        Ok(CheckSettings {
            mode: mode(self.mode),
            severity: match self.severity {
                api::Severity::Info => Severity::Info,
                api::Severity::Warning => Severity::Warning,
                api::Severity::Critical => Severity::Critical,
            },
            hold_for: match self.hold_for {
                Some(written) => duration(&field("for"), written, HOLD)?,
                None => SignedDuration::ZERO,
            },
            keep_firing_for: duration(&field("keepFiringFor"), self.keep_firing_for, HOLD)?,
            count,
            window,
        })
    }
}

// Each destructures, so that a field which the API gains does not compile until it is read.

impl<'a> From<&'a api::NotReady> for Written<'a> {
    fn from(check: &'a api::NotReady) -> Self {
        let api::NotReady {
            mode,
            r#for,
            keep_firing_for,
            severity,
        } = check;
        Self {
            name: "notReady",
            mode: *mode,
            severity: *severity,
            hold_for: Some(r#for),
            keep_firing_for,
            rate: None,
        }
    }
}

impl<'a> From<&'a api::MainReadySidecarNotReady> for Written<'a> {
    fn from(check: &'a api::MainReadySidecarNotReady) -> Self {
        let api::MainReadySidecarNotReady {
            mode,
            r#for,
            keep_firing_for,
            severity,
        } = check;
        Self {
            name: "mainReadySidecarNotReady",
            mode: *mode,
            severity: *severity,
            hold_for: Some(r#for),
            keep_firing_for,
            rate: None,
        }
    }
}

impl<'a> From<&'a api::FrequentRestarts> for Written<'a> {
    fn from(check: &'a api::FrequentRestarts) -> Self {
        let api::FrequentRestarts {
            mode,
            count,
            window,
            keep_firing_for,
            scope: _,
            severity,
        } = check;
        Self {
            name: "frequentRestarts",
            mode: *mode,
            severity: *severity,
            hold_for: None,
            keep_firing_for,
            rate: Some((*count, window)),
        }
    }
}

impl<'a> From<&'a api::StartupBlocked> for Written<'a> {
    fn from(check: &'a api::StartupBlocked) -> Self {
        let api::StartupBlocked {
            mode,
            r#for,
            keep_firing_for,
            init_containers_for: _,
            severity,
        } = check;
        Self {
            name: "startupBlocked",
            mode: *mode,
            severity: *severity,
            hold_for: Some(r#for),
            keep_firing_for,
            rate: None,
        }
    }
}

impl<'a> From<&'a api::JobHeldOpen> for Written<'a> {
    fn from(check: &'a api::JobHeldOpen) -> Self {
        let api::JobHeldOpen {
            mode,
            r#for,
            keep_firing_for,
            severity,
        } = check;
        Self {
            name: "jobHeldOpen",
            mode: *mode,
            severity: *severity,
            hold_for: Some(r#for),
            keep_firing_for,
            rate: None,
        }
    }
}

impl<'a> From<&'a api::OomKilled> for Written<'a> {
    fn from(check: &'a api::OomKilled) -> Self {
        let api::OomKilled {
            mode,
            keep_firing_for,
            severity,
        } = check;
        Self {
            name: "oomKilled",
            mode: *mode,
            severity: *severity,
            hold_for: None,
            keep_firing_for,
            rate: None,
        }
    }
}

impl<'a> From<&'a api::Flapping> for Written<'a> {
    fn from(check: &'a api::Flapping) -> Self {
        let api::Flapping {
            mode,
            count,
            window,
            keep_firing_for,
            severity,
        } = check;
        Self {
            name: "flapping",
            mode: *mode,
            severity: *severity,
            hold_for: None,
            keep_firing_for,
            rate: Some((*count, window)),
        }
    }
}
