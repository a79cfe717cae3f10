//! Read access to the index: the status of a policy, and the data of the metrics.

use std::collections::BTreeSet;

use super::{
    ContainerClass, Durations, Index, Matched, PodEntry,
    entry::{PolicyEntry, PolicyId},
};
use crate::domain::{
    checks::{MessageContext, View, rule},
    observation::Workload,
    policy::{Check, Mode, PolicyKey, Severity},
    roles::Role,
    summary::{LISTED_VIOLATIONS, Report, ReportCondition, ReportedViolation, Summary},
    violation::{ContainerSubject, Subject, Violation},
};

/// The facts of a policy that the metrics show.
#[derive(Clone, Debug)]
pub struct PolicyView<'a> {
    /// The policy.
    pub key: &'a PolicyKey,
    /// Its current spec is valid.
    pub ready: bool,
    /// The mode of the version in use.
    pub mode: Mode,
    /// The number of evaluated Pods that it selects.
    pub pods: u32,
    /// The number of containers by class.
    pub containers: [(ContainerClass, u32); ContainerClass::ALL.len()],
    /// The number of violations that have fired, by check.
    pub fired: [(Check, u64); Check::ALL.len()],
}

/// The restarts of one sidecar of a workload.
#[derive(Clone, Copy, Debug)]
pub struct RestartView<'a> {
    /// The policy for which the container is a sidecar.
    pub policy: &'a PolicyKey,
    /// The namespace of the workload.
    pub namespace: &'a str,
    /// The workload.
    pub workload: &'a Workload,
    /// The container's name.
    pub container: &'a str,
    /// The reason of the exits: `OOMKilled`, `Error`, `Completed` or `Other`.
    pub reason: &'static str,
    /// The number of restarts.
    pub count: u64,
}

impl Index {
    /// The status of a policy. `None` for an unknown policy, and until the first lists of the objects that the policy
    /// selects are complete.
    pub fn report(&self, key: &PolicyKey) -> Option<Report> {
        let id = *self.ids.get(key)?;
        let entry = self.policies.get(&id)?;
        let synced = self.watches.is_synced(&key.namespace);
        if !synced || entry.needs_namespaces() && !self.watches.namespaces_synced {
            return None;
        }
        let summary = entry.counts.summary();
        let visible = entry.violations.iter().filter(|violation| violation.visible);
        let total = visible.clone().count();
        let listed = visible.take(LISTED_VIOLATIONS);
        let violations: Vec<_> = listed
            .map(|violation| ReportedViolation {
                violation: violation.clone(),
                detail: self.detail(id, entry, violation).unwrap_or_default(),
            })
            .collect();
        let omitted = total.saturating_sub(violations.len());
        Some(Report {
            generation: entry.generation,
            conditions: conditions(entry, &summary, self.failing(id, entry)),
            summary,
            checks: entry.counts.checks(),
            violations,
            omitted: u32::try_from(omitted).unwrap_or(u32::MAX),
        })
    }

    fn detail(&self, id: PolicyId, entry: &PolicyEntry, violation: &Violation) -> Option<String> {
        let Subject::Container(subject) = &violation.subject;
        let (pod, matched, container_idx) = self.container(id, subject)?;
        let view = View {
            pod: &pod.observation,
            roles: &matched.roles,
            policy: entry.policy.as_ref()?,
            history: pod.history.as_deref(),
            now: self.latest,
        };
        Some(rule(violation.check).detail(&MessageContext {
            view: &view,
            container_idx,
            onset: violation.onset,
            policy: &entry.key,
        }))
    }

    /// The Pod of a container, the state of the policy for that Pod, and the index of the container.
    fn container(&self, id: PolicyId, subject: &ContainerSubject) -> Option<(&PodEntry, &Matched, usize)> {
        let pod = self.namespaces.get(&subject.namespace)?.pods.get(&subject.uid)?;
        let matched = pod.matched.iter().find(|matched| matched.policy == id)?;
        let mut containers = pod.observation.shape.containers.iter();
        let container_idx = containers.position(|container| container.name == subject.container)?;
        Some((pod, matched, container_idx))
    }

    /// The number of sidecars, other containers and Pods with a firing violation.
    fn failing(&self, id: PolicyId, entry: &PolicyEntry) -> Failing {
        let (mut sidecars, mut others, mut pods) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for violation in entry.violations.iter().filter(|violation| violation.firing) {
            let Subject::Container(subject) = &violation.subject;
            let is_sidecar = self
                .container(id, subject)
                .is_some_and(|(_, matched, container_idx)| matched.roles.of(container_idx) == Role::Sidecar);
            pods.insert(&subject.uid);
            if is_sidecar { &mut sidecars } else { &mut others }.insert((&subject.uid, &subject.container));
        }
        Failing {
            sidecars: sidecars.len(),
            others: others.len(),
            pods: pods.len(),
        }
    }

    /// The number of known Pods, evaluated or not.
    pub fn tracked_pods(&self) -> usize {
        self.namespaces
            .values()
            .map(|namespace| namespace.pods.len())
            .sum()
    }

    /// All policies.
    pub fn policies(&self) -> impl Iterator<Item = PolicyView<'_>> {
        self.policies.values().map(|entry| {
            let mut fired = Check::ALL.map(|check| (check, 0));
            for ((_, count), n) in fired.iter_mut().zip(entry.fired) {
                *count = n;
            }
            PolicyView {
                key: &entry.key,
                ready: entry.invalid.is_none(),
                mode: entry.policy.as_ref().map_or(Mode::Off, |policy| policy.mode),
                pods: entry.counts.summary().pods,
                containers: entry.counts.containers(),
                fired,
            }
        })
    }

    /// All violations, pending and firing, visible or not.
    pub fn violations(&self) -> impl Iterator<Item = &Violation> {
        self.policies.values().flat_map(|entry| &entry.violations)
    }

    /// All restart series: one for each policy, workload, sidecar and reason with at least one restart.
    pub fn restarts(&self) -> impl Iterator<Item = RestartView<'_>> {
        self.policies.values().flat_map(|entry| {
            entry
                .restarts
                .iter()
                .map(|((namespace, workload, container, reason), count)| RestartView {
                    policy: &entry.key,
                    namespace,
                    workload,
                    container,
                    reason,
                    count: *count,
                })
        })
    }

    /// The durations of resolved violations.
    pub fn durations(&self) -> &Durations {
        &self.durations
    }

    /// The number of container statuses whose name is not in the spec.
    pub fn stray_statuses(&self) -> u64 {
        self.stray_statuses
    }
}

#[derive(Clone, Copy)]
struct Failing {
    sidecars: usize,
    others: usize,
    pods: usize,
}

fn conditions(entry: &PolicyEntry, summary: &Summary, failing: Failing) -> [ReportCondition; 3] {
    let condition = |kind, status, reason, message: String| ReportCondition {
        kind,
        status,
        reason,
        message,
    };
    let suspended = entry
        .policy
        .as_ref()
        .is_some_and(|policy| policy.mode == Mode::Off);
    let ready = match &entry.invalid {
        Some(error) if entry.policy.is_some() => {
            let message = format!("{error}. The last valid version stays in use.");
            condition("Ready", Some(false), "Invalid", message)
        }
        Some(error) => condition("Ready", Some(false), "Invalid", error.to_string()),
        None if suspended => condition(
            "Ready",
            Some(true),
            "Suspended",
            "mode is Off: nothing is evaluated".to_owned(),
        ),
        None => condition(
            "Ready",
            Some(true),
            "Evaluating",
            "The policy is valid and being evaluated".to_owned(),
        ),
    };
    let idle = match &entry.policy {
        Some(_) if suspended => Some(("Suspended", "mode is Off: nothing is evaluated")),
        Some(_) => None,
        None => Some(("Invalid", "The policy has never been valid: nothing is evaluated")),
    };
    if let Some((reason, message)) = idle {
        let unknown = |kind| condition(kind, None, reason, message.to_owned());
        return [ready, unknown("SidecarsHealthy"), unknown("TargetsFound")];
    }
    let Summary { pods, sidecars, .. } = *summary;
    let healthy = if failing.pods == 0 {
        let message = format!("None of {sidecars} sidecars in {pods} Pods fails");
        condition("SidecarsHealthy", Some(true), "NoViolations", message)
    } else {
        condition(
            "SidecarsHealthy",
            Some(false),
            "ViolationsFiring",
            failing_message(entry, summary, failing),
        )
    };
    let targets = if pods == 0 {
        let message = "No evaluated Pod matches the selectors: check podSelector and namespace".to_owned();
        condition("TargetsFound", Some(false), "NoPodsMatched", message)
    } else {
        condition(
            "TargetsFound",
            Some(true),
            "PodsMatched",
            format!("{pods} Pods match, with {sidecars} sidecars"),
        )
    };
    [ready, healthy, targets]
}

/// `2 of 44 sidecars in 2 of 42 Pods fail: FrequentRestarts 1 (Critical), NotReady 1 (Warning); worst: Deployment/web
/// istio-proxy`
fn failing_message(entry: &PolicyEntry, summary: &Summary, failing: Failing) -> String {
    let mut by_check: Vec<(std::cmp::Reverse<Severity>, Check, u32)> = Vec::new();
    for counts in entry
        .counts
        .checks()
        .into_iter()
        .filter(|counts| counts.firing > 0)
    {
        let severity = entry.policy.as_ref().map_or(Severity::Info, |policy| {
            policy.checks.common(counts.check).severity
        });
        by_check.push((std::cmp::Reverse(severity), counts.check, counts.firing));
    }
    by_check.sort_unstable();
    let checks: Vec<String> = by_check
        .iter()
        .map(|(severity, check, n)| format!("{} {n} ({:?})", check.as_str(), severity.0))
        .collect();
    let containers = match (failing.sidecars, failing.others) {
        (sidecars, 0) => format!("{sidecars} of {} sidecars", summary.sidecars),
        (0, others) => format!("{others} other containers"),
        (sidecars, others) => format!(
            "{sidecars} of {} sidecars and {others} other containers",
            summary.sidecars
        ),
    };
    let worst = entry.violations.iter().find(|violation| violation.firing);
    let worst = worst
        .map(|violation| {
            let Subject::Container(subject) = &violation.subject;
            format!("; worst: {} {}", subject.workload, subject.container)
        })
        .unwrap_or_default();
    format!(
        "{containers} in {} of {} Pods fail: {}{worst}",
        failing.pods,
        summary.pods,
        checks.join(", ")
    )
}
