//! Policies as the API server fills them in.

use crate::domain::{
    policy::{
        Check, CheckSettings, ListedViolation, Mode, Policy, PolicyKey, PolicyKind, RestartScope, Severity,
        SidecarRules,
    },
    selector::{Operator, Requirement, Selector},
};

use super::{at, minutes, seconds};

/// What `spec: {}` means.
pub(crate) fn policy() -> Policy {
    let settings = |severity, hold_for, keep_firing_for, count, window| CheckSettings {
        mode: Mode::Alert,
        severity,
        hold_for,
        keep_firing_for,
        count,
        window,
    };
    let none = seconds(0);
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
        checks: [
            settings(Severity::Warning, minutes(5), minutes(2), 0, none),
            settings(Severity::Warning, minutes(2), minutes(2), 0, none),
            settings(Severity::Critical, none, minutes(10), 3, minutes(15)),
            settings(Severity::Critical, minutes(5), none, 0, none),
            settings(Severity::Warning, minutes(5), none, 0, none),
            settings(Severity::Warning, none, minutes(10), 0, none),
            settings(Severity::Warning, none, minutes(2), 6, minutes(30)),
        ],
        restart_scope: RestartScope::Sidecars,
        init_containers_for: minutes(30),
        repeat_period: minutes(50),
        recovery_events: true,
        runbook_url: "".into(),
    }
}

impl Policy {
    /// Any change.
    pub(crate) fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// A change of the settings of one check.
    pub(crate) fn check(self, check: Check, change: impl FnOnce(&mut CheckSettings)) -> Self {
        self.with(|policy| change(&mut policy.checks[check as usize]))
    }

    /// Every other check off.
    pub(crate) fn only(self, check: Check) -> Self {
        let off = |policy: Self, other| policy.check(other, |settings| settings.mode = Mode::Off);
        let others = Check::ALL.into_iter().filter(|other| *other != check);
        others.fold(self, off)
    }
}

/// The `SidecarPolicy` of that name in the namespace `pay`.
pub(crate) fn key(name: &str) -> PolicyKey {
    PolicyKey {
        kind: PolicyKind::SidecarPolicy,
        namespace: "pay".into(),
        name: name.into(),
    }
}

/// The `ClusterSidecarPolicy` of that name.
pub(crate) fn cluster_key(name: &str) -> PolicyKey {
    PolicyKey {
        kind: PolicyKind::ClusterSidecarPolicy,
        namespace: "".into(),
        name: name.into(),
    }
}

/// A selector that demands one value of one label.
pub(crate) fn one_of(label: &str, value: &str) -> Selector {
    let operator = Operator::In(vec![value.into()]);
    let key = label.into();
    [Requirement { key, operator }].into_iter().collect()
}

/// What a status lists of `web-1`.
pub(crate) fn listed(check: Check, container: &str, firing: bool, since: i64) -> ListedViolation {
    ListedViolation {
        check,
        firing,
        namespace: "pay".into(),
        pod: "web-1".into(),
        container: container.into(),
        since: at(since),
    }
}
