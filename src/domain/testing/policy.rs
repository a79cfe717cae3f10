//! Policies as the API server completes them.

use jiff::SignedDuration;

use crate::domain::{
    checks::{Checks, Common},
    observation::Workload,
    policy::{Check, InvalidSpec, Mode, Policy, PolicyKey, PolicyKind, Severity, SidecarRules},
    selector::{Operator, Requirement, Selector},
    violation::{ContainerSubject, StoredViolation, Subject, SubjectKey, Violation, ViolationKey},
};

use super::{at, minutes};

/// The policy of `spec: {}`.
pub(crate) fn policy() -> Policy {
    Policy {
        mode: Mode::Alert,
        namespaces: Selector::default(),
        pods: Selector::default(),
        sidecars: SidecarRules {
            native: true,
            well_known: true,
            names: [].into(),
            name_pattern: None,
            images: Vec::new(),
            exclude_names: [].into(),
            exclude_pattern: None,
        },
        mains: [].into(),
        expected: Vec::new(),
        checks: Checks::default(),
        repeat_period: minutes(50),
        exemptions: None,
        recovery_events: true,
        runbook_url: "".into(),
    }
}

/// The settings of one check, for [`Policy::check`]. Fields that the check lacks are zero and are not written back.
pub(crate) struct CheckSettings {
    pub(crate) mode: Mode,
    pub(crate) severity: Severity,
    pub(crate) hold_for: SignedDuration,
    pub(crate) keep_firing_for: SignedDuration,
    pub(crate) count: u32,
    pub(crate) window: SignedDuration,
}

/// The limits that several checks have.
#[derive(Default)]
struct Limits<'a> {
    hold_for: Option<&'a mut SignedDuration>,
    keep_firing_for: Option<&'a mut SignedDuration>,
    rate: Option<(&'a mut u32, &'a mut SignedDuration)>,
}

macro_rules! limits {
    ($settings:expr, hold) => {
        Limits {
            hold_for: Some(&mut $settings.limits.hold_for),
            keep_firing_for: Some(&mut $settings.limits.keep_firing_for),
            rate: None,
        }
    };
    ($settings:expr, rate) => {
        Limits {
            hold_for: None,
            keep_firing_for: Some(&mut $settings.limits.keep_firing_for),
            rate: Some((&mut $settings.limits.count, &mut $settings.limits.window)),
        }
    };
}

fn limits(checks: &mut Checks, check: Check) -> Limits<'_> {
    match check {
        Check::NotReady => limits!(checks.not_ready, hold),
        Check::MainReadySidecarNotReady => limits!(checks.main_ready_sidecar_not_ready, hold),
        Check::StartupBlocked => limits!(checks.startup_blocked, hold),
        Check::JobHeldOpen => limits!(checks.job_held_open, hold),
        Check::FrequentRestarts => limits!(checks.frequent_restarts, rate),
        Check::Flapping => limits!(checks.flapping, rate),
        Check::OOMKilled => Limits {
            keep_firing_for: Some(&mut checks.oom_killed.limits.keep_firing_for),
            ..Limits::default()
        },
        // Tests of other checks change the fields of the policy.
        #[allow(unreachable_patterns, reason = "a new check needs no line here")]
        Check::SidecarMissing | Check::VersionDrift | Check::CommonCause => Limits::default(),
    }
}

impl Policy {
    /// Changes the policy.
    pub(crate) fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// Changes the settings of one check.
    pub(crate) fn check(mut self, check: Check, change: impl FnOnce(&mut CheckSettings)) -> Self {
        let Common { mode, severity } = self.checks.common(check);
        let Limits {
            mut hold_for,
            mut keep_firing_for,
            mut rate,
        } = limits(&mut self.checks, check);
        let mut settings = CheckSettings {
            mode,
            severity,
            hold_for: hold_for.as_deref().copied().unwrap_or_default(),
            keep_firing_for: keep_firing_for.as_deref().copied().unwrap_or_default(),
            count: rate.as_ref().map_or(0, |(count, _)| **count),
            window: rate.as_ref().map_or(SignedDuration::ZERO, |(_, window)| **window),
        };
        change(&mut settings);
        if let Some(hold_for) = &mut hold_for {
            **hold_for = settings.hold_for;
        }
        if let Some(keep_firing_for) = &mut keep_firing_for {
            **keep_firing_for = settings.keep_firing_for;
        }
        if let Some((count, window)) = &mut rate {
            (**count, **window) = (settings.count, settings.window);
        }
        *self.checks.common_mut(check) = Common {
            mode: settings.mode,
            severity: settings.severity,
        };
        self
    }

    /// Disables all other checks.
    pub(crate) fn only(self, check: Check) -> Self {
        let off = |policy: Self, other| policy.check(other, |settings| settings.mode = Mode::Off);
        let others = Check::ALL.into_iter().filter(|other| *other != check);
        others.fold(self, off)
    }
}

/// A spec that cannot be decoded.
pub(crate) fn invalid(message: &str) -> Result<Policy, InvalidSpec> {
    Err(InvalidSpec::Undecodable(message.to_owned()))
}

/// The key of a `SidecarPolicy` in the namespace `pay`.
pub(crate) fn key(name: &str) -> PolicyKey {
    PolicyKey {
        kind: PolicyKind::SidecarPolicy,
        namespace: "pay".into(),
        name: name.into(),
    }
}

/// The key of a `ClusterSidecarPolicy`.
pub(crate) fn cluster_key(name: &str) -> PolicyKey {
    PolicyKey {
        kind: PolicyKind::ClusterSidecarPolicy,
        namespace: "".into(),
        name: name.into(),
    }
}

/// A selector that requires one value of one label.
pub(crate) fn one_of(label: &str, value: &str) -> Selector {
    let operator = Operator::In(vec![value.into()]);
    let key = label.into();
    [Requirement { key, operator }].into_iter().collect()
}

/// A violation of `web-1` in the status of `SidecarPolicy pay/mesh`.
pub(crate) fn stored(check: Check, container: &str, firing: bool, onset: i64) -> StoredViolation {
    let subject = SubjectKey::Container {
        namespace: "pay".into(),
        pod: "web-1".into(),
        uid: None,
        container: container.into(),
    };
    stored_about(check, subject, firing, onset)
}

/// A violation in the status of `SidecarPolicy pay/mesh`.
pub(crate) fn stored_about(check: Check, subject: SubjectKey, firing: bool, onset: i64) -> StoredViolation {
    StoredViolation {
        key: ViolationKey {
            policy: key("mesh"),
            check,
            subject,
        },
        firing,
        onset: at(onset),
    }
}

/// A firing violation of a native sidecar of `web-1`, critical, with a fraction of a second in its onset.
pub(crate) fn violation(check: Check, container: &str) -> Violation {
    let workload = Workload {
        kind: "Deployment".into(),
        name: "web".into(),
    };
    Violation {
        policy: key("mesh"),
        check,
        severity: Severity::Critical,
        mode: Mode::Alert,
        subject: Subject::Container(ContainerSubject {
            namespace: "pay".into(),
            workload: workload.into(),
            pod: "web-1".into(),
            container: container.into(),
            uid: "uid-of-web-1".into(),
            native: true,
        }),
        firing: true,
        visible: true,
        onset: "2026-11-20T10:42:07.9Z".parse().unwrap(),
    }
}

impl Violation {
    /// The container of a violation.
    pub(crate) fn container(&self) -> &ContainerSubject {
        self.subject.as_container().expect("a violation of a container")
    }
}
