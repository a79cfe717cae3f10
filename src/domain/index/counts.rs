//! Counts of Pods, containers and violations. Each change updates them; they are never recomputed from all Pods.

use jiff::SignedDuration;

use crate::domain::{
    observation::{ContainerKind, Observation},
    policy::Check,
    roles::{Role, Roles},
    summary::{CheckCounts, Summary},
    tracker::Tracked,
};

/// The number of Pods, containers and violations of a policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pods: u32,
    without_readiness_probe: u32,
    /// Containers by class, in the order of [`ContainerClass::ALL`].
    containers: [u32; ContainerClass::ALL.len()],
    /// Pending and firing violations by check, in the order of [`Check::ALL`].
    violations: [(u32, u32); Check::ALL.len()],
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
    /// Adds a Pod, if it is evaluated.
    pub(super) fn add(&mut self, pod: &Observation, roles: &Roles) {
        self.count(pod, roles, |n| *n += 1);
    }

    /// Removes a Pod. Its observation and roles must be the same as when it was added.
    pub(super) fn remove(&mut self, pod: &Observation, roles: &Roles) {
        self.count(pod, roles, |n| *n -= 1);
    }

    fn count(&mut self, pod: &Observation, roles: &Roles, change: impl Fn(&mut u32)) {
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

    /// Adds a violation.
    pub(super) fn add_violation(&mut self, violation: &Tracked) {
        *self.violation(violation) += 1;
    }

    /// Removes a violation. Its state must be the same as when it was added.
    pub(super) fn remove_violation(&mut self, violation: &Tracked) {
        *self.violation(violation) -= 1;
    }

    #[allow(clippy::indexing_slicing, reason = "the array has an entry per check")]
    fn violation(&mut self, violation: &Tracked) -> &mut u32 {
        let (pending, firing) = &mut self.violations[violation.check as usize];
        if violation.is_firing() { firing } else { pending }
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
        let mut counts = ContainerClass::ALL.map(|class| (class, 0));
        for ((_, count), n) in counts.iter_mut().zip(self.containers) {
            *count = n;
        }
        counts
    }
}

/// A histogram of the durations of violations that fired and resolved, from onset to resolution, in seconds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Durations {
    /// The number of durations up to each bound and above the previous one. The last entry counts durations above all
    /// bounds.
    pub counts: [u64; Self::BOUNDS.len() + 1],
    /// The sum of all durations.
    pub sum: f64,
}

impl Durations {
    /// The upper bounds, from 5 seconds to a day.
    pub const BOUNDS: [f64; 12] = [
        5.0, 15.0, 60.0, 150.0, 300.0, 600.0, 1_800.0, 3_600.0, 7_200.0, 21_600.0, 43_200.0, 86_400.0,
    ];

    pub(super) fn observe(&mut self, duration: SignedDuration) {
        let seconds = duration.as_secs_f64().max(0.0);
        let bucket = Self::BOUNDS
            .iter()
            .position(|bound| seconds <= *bound)
            .unwrap_or(Self::BOUNDS.len());
        if let Some(count) = self.counts.get_mut(bucket) {
            *count += 1;
        }
        self.sum += seconds;
    }
}
