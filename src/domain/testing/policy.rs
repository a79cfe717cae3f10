//! Policies as the API server completes them.

use jiff::SignedDuration;

use crate::domain::{
    checks::{Checks, Common},
    observation::Workload,
    policy::{
        Check, InvalidField, InvalidSpec, Mode, Policy, PolicyKey, PolicyKind, PolicyUpdate, Severity,
        SidecarRules,
    },
    selector::{Operator, Requirement, Selector},
    violation::{ContainerSubject, StoredViolation, Subject, SubjectKey, Violation, ViolationKey},
};

use super::{at, minutes, seconds};

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

/// The settings of one check, for [`Policy::check`]. A limit that the check lacks is zero and has no effect.
pub(crate) struct CheckSettings {
    pub(crate) mode: Mode,
    pub(crate) severity: Severity,
    pub(crate) hold_for: SignedDuration,
    pub(crate) keep_firing_for: SignedDuration,
    pub(crate) count: u32,
    pub(crate) window: SignedDuration,
}

/// Changes these limits of a check as part of its [`CheckSettings`].
macro_rules! change_limits {
    ($change:ident, $settings:ident, $limits:expr, $($limit:ident),*) => {{
        $($settings.$limit = $limits.$limit;)*
        $change(&mut $settings);
        $($limits.$limit = $settings.$limit;)*
    }};
}

impl Policy {
    /// Changes the policy.
    pub(crate) fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// Changes the settings of one check. Tests of the checks on workloads and images change the fields of the policy.
    pub(crate) fn check(mut self, check: Check, change: impl FnOnce(&mut CheckSettings)) -> Self {
        let Common { mode, severity } = self.checks.common(check);
        let mut settings = CheckSettings {
            mode,
            severity,
            hold_for: SignedDuration::ZERO,
            keep_firing_for: SignedDuration::ZERO,
            count: 0,
            window: SignedDuration::ZERO,
        };
        let checks = &mut self.checks;
        match check {
            Check::NotReady => {
                change_limits!(
                    change,
                    settings,
                    checks.not_ready.limits,
                    hold_for,
                    keep_firing_for
                );
            }
            Check::MainReadySidecarNotReady => {
                let limits = &mut checks.main_ready_sidecar_not_ready.limits;
                change_limits!(change, settings, limits, hold_for, keep_firing_for);
            }
            Check::StartupBlocked => {
                change_limits!(
                    change,
                    settings,
                    checks.startup_blocked.limits,
                    hold_for,
                    keep_firing_for
                );
            }
            Check::JobHeldOpen => {
                change_limits!(
                    change,
                    settings,
                    checks.job_held_open.limits,
                    hold_for,
                    keep_firing_for
                );
            }
            Check::FrequentRestarts => {
                let limits = &mut checks.frequent_restarts.limits;
                change_limits!(change, settings, limits, keep_firing_for, count, window);
            }
            Check::Flapping => {
                change_limits!(
                    change,
                    settings,
                    checks.flapping.limits,
                    keep_firing_for,
                    count,
                    window
                );
            }
            Check::OOMKilled => change_limits!(change, settings, checks.oom_killed.limits, keep_firing_for),
            Check::SidecarMissing | Check::VersionDrift => change(&mut settings),
        }
        *self.checks.common_mut(check) = Common {
            mode: settings.mode,
            severity: settings.severity,
        };
        self
    }

    /// Sets how long a fault under this check must last.
    pub(crate) fn hold_for(self, check: Check, hold_for: SignedDuration) -> Self {
        self.check(check, |settings| settings.hold_for = hold_for)
    }

    /// Disables all other checks.
    pub(crate) fn only(self, check: Check) -> Self {
        let off = |policy: Self, other| policy.check(other, |settings| settings.mode = Mode::Off);
        let others = Check::ALL.into_iter().filter(|other| *other != check);
        others.fold(self, off)
    }
}

/// A spec with an invalid field.
pub(crate) fn invalid(problem: &'static str) -> Result<Policy, InvalidSpec> {
    let (field, problem) = ("spec.expected".to_owned(), InvalidField::Expected(problem));
    Err(InvalidSpec::Field { field, problem })
}

/// A spec that cannot be decoded.
pub(crate) fn undecodable() -> Result<Policy, InvalidSpec> {
    Err(InvalidSpec::Undecodable("no".to_owned()))
}

/// The policy with only this check, which fires when a fault has lasted for this number of seconds.
pub(crate) fn only(check: Check, hold_for: i64) -> Policy {
    policy().only(check).hold_for(check, seconds(hold_for))
}

/// The first version of a policy that was created at second 0.
pub(crate) fn policy_update(key: PolicyKey, spec: Result<Policy, InvalidSpec>) -> PolicyUpdate {
    PolicyUpdate {
        uid: format!("uid-of-{key}").into(),
        key,
        created: at(0),
        generation: 1,
        spec,
        stored: Vec::new(),
    }
}

/// The key of a `SidecarPolicy` in the namespace `pay`.
pub(crate) fn key(name: &str) -> PolicyKey {
    key_in("pay", name)
}

/// The key of a `SidecarPolicy` in another namespace.
pub(crate) fn key_in(namespace: &str, name: &str) -> PolicyKey {
    PolicyKey {
        kind: PolicyKind::SidecarPolicy,
        namespace: namespace.into(),
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
