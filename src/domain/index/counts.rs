//! Counts of Pods, containers and violations. Each change updates them; they are never recomputed from all Pods.

use crate::domain::{
    observation::{ContainerKind, Observation},
    policy::Check,
    roles::{Role, Roles},
    summary::{CheckCounts, Summary},
    tracker::Tracked,
    violation::{Subject, Violation},
};

/// The number of Pods, containers and violations of a policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pods: u32,
    without_readiness_probe: u32,
    /// Containers by class, in the order of [`ContainerClass::ALL`].
    containers: [u32; ContainerClass::ALL.len()],
    /// Visible pending and firing violations by check, in the order of [`Check::ALL`].
    violations: [(u32, u32); Check::ALL.len()],
    /// Firing violations that are exempt by check, in the order of [`Check::ALL`].
    exempted: [u32; Check::ALL.len()],
    failing: Failing,
}

/// The number of sidecars, other containers, Pods and workloads with a firing violation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Failing {
    pub(super) sidecars: u32,
    pub(super) others: u32,
    pub(super) pods: u32,
    /// Workloads that lack a sidecar.
    pub(super) workloads: u32,
    /// Images that fail a check.
    pub(super) images: u32,
}

/// A class of containers that the metrics count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContainerClass {
    /// `sidecar` or `main`.
    pub role: &'static str,
    /// The container is a native sidecar.
    pub native: bool,
    /// The container is ready.
    pub ready: bool,
}

impl ContainerClass {
    /// Every class.
    pub const ALL: [Self; 6] = [
        Self::new("sidecar", true, true),
        Self::new("sidecar", true, false),
        Self::new("sidecar", false, true),
        Self::new("sidecar", false, false),
        Self::new("main", false, true),
        Self::new("main", false, false),
    ];

    const fn new(role: &'static str, native: bool, ready: bool) -> Self {
        Self { role, native, ready }
    }
}

impl Counts {
    /// Adds a Pod, if it is evaluated, and its violations.
    pub(super) fn add(&mut self, pod: &Observation, roles: &Roles, tracked: &[Tracked]) {
        self.count(pod, roles, tracked, |n| *n += 1);
    }

    /// Removes a Pod. Its observation, roles and violations must be the same as when it was added.
    pub(super) fn remove(&mut self, pod: &Observation, roles: &Roles, tracked: &[Tracked]) {
        self.count(pod, roles, tracked, |n| *n -= 1);
    }

    fn count(&mut self, pod: &Observation, roles: &Roles, tracked: &[Tracked], change: impl Fn(&mut u32)) {
        self.count_violations(roles, tracked, &change);
        if !pod.is_evaluated() {
            return;
        }
        change(&mut self.pods);
        for (container_idx, (container, status)) in pod.shape.containers.iter().zip(&pod.statuses).enumerate()
        {
            let role = match roles.of(container_idx) {
                Role::Sidecar => "sidecar",
                Role::Main => "main",
                Role::Init | Role::Ignored => continue,
            };
            let native = container.kind == ContainerKind::Native;
            let ready = status.as_ref().is_some_and(|status| status.ready);
            let class = ContainerClass::new(role, native, ready);
            let class_idx = ContainerClass::ALL.iter().position(|c| *c == class);
            if let Some(n) = class_idx.and_then(|class_idx| self.containers.get_mut(class_idx)) {
                change(n);
            }
            if role == "sidecar" && !container.probes.readiness {
                change(&mut self.without_readiness_probe);
            }
        }
    }

    #[allow(clippy::indexing_slicing, reason = "the array has an entry per check")]
    fn count_violations(&mut self, roles: &Roles, tracked: &[Tracked], change: &impl Fn(&mut u32)) {
        for violation in tracked.iter().filter(|violation| violation.is_shown()) {
            let (pending, firing) = &mut self.violations[violation.check as usize];
            change(if violation.is_firing() { firing } else { pending });
        }
        let firing = tracked.iter().filter(|violation| violation.is_firing());
        for violation in firing.clone().filter(|violation| violation.is_exempt()) {
            change(&mut self.exempted[violation.check as usize]);
        }
        let announced = firing.filter(|violation| !violation.is_exempt());
        let mut previous = None;
        for container in announced.map(|violation| violation.container) {
            // Violations are ordered by container.
            if previous.replace(container) == Some(container) {
                continue;
            }
            let Failing { sidecars, others, .. } = &mut self.failing;
            let is_sidecar = roles.of(usize::from(container)) == Role::Sidecar;
            change(if is_sidecar { sidecars } else { others });
        }
        if previous.is_some() {
            change(&mut self.failing.pods);
        }
    }

    /// The number of firing violations that are exempt, by check.
    pub(super) fn exempted(&self) -> [(Check, u32); Check::ALL.len()] {
        pairs(Check::ALL, self.exempted)
    }

    /// Adds the violation of a workload or an image.
    pub(super) fn add_subject(&mut self, violation: &Violation) {
        self.count_subject(violation, |n| *n += 1);
    }

    /// Removes the violation of a workload or an image, which must be the same as when it was added.
    pub(super) fn remove_subject(&mut self, violation: &Violation) {
        self.count_subject(violation, |n| *n -= 1);
    }

    #[allow(clippy::indexing_slicing, reason = "the array has an entry per check")]
    fn count_subject(&mut self, violation: &Violation, change: impl Fn(&mut u32)) {
        let (pending, firing) = &mut self.violations[violation.check as usize];
        if violation.firing {
            change(firing);
            change(match violation.subject {
                Subject::Image(_) => &mut self.failing.images,
                Subject::Container(_) | Subject::Workload(_) => &mut self.failing.workloads,
            });
        } else if violation.visible {
            change(pending);
        }
    }

    /// The number of containers and Pods with a firing violation.
    pub(super) fn failing(&self) -> Failing {
        self.failing
    }

    /// The counts for the status.
    pub(super) fn summary(&self) -> Summary {
        let total = |role| {
            self.containers()
                .into_iter()
                .filter(|(c, _)| c.role == role)
                .map(|(_, n)| n)
                .sum()
        };
        Summary {
            pods: self.pods,
            sidecars: total("sidecar"),
            mains: total("main"),
            firing: self.violations.iter().map(|(_, firing)| firing).sum(),
            pending: self.violations.iter().map(|(pending, _)| pending).sum(),
            without_readiness_probe: self.without_readiness_probe,
        }
    }

    /// The checks that have violations.
    pub(super) fn checks(&self) -> Vec<CheckCounts> {
        let counts = Check::ALL.into_iter().zip(self.violations);
        let counts = counts.map(|(check, (pending, firing))| CheckCounts {
            check,
            firing,
            pending,
        });
        counts
            .filter(|counts| counts.firing + counts.pending > 0)
            .collect()
    }

    /// The containers by class.
    pub(super) fn containers(&self) -> [(ContainerClass, u32); ContainerClass::ALL.len()] {
        pairs(ContainerClass::ALL, self.containers)
    }
}

/// Joins each key with its value.
pub(super) fn pairs<K, V: Default, const N: usize>(keys: [K; N], values: [V; N]) -> [(K, V); N] {
    let mut values = values.into_iter();
    keys.map(|key| (key, values.next().unwrap_or_default()))
}

/// The upper bounds of the durations of violations, from 5 seconds to a day.
pub const VIOLATION_DURATIONS: [f64; 12] = [
    5.0, 15.0, 60.0, 150.0, 300.0, 600.0, 1_800.0, 3_600.0, 7_200.0, 21_600.0, 43_200.0, 86_400.0,
];
