//! What the outside may read of the index: a policy's status, and the series of the metrics.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::{ContainerClass, Durations, Index, entry::PolicyEntry};
use crate::domain::{
    checks::{MessageContext, View, rule},
    observation::Workload,
    policy::{Check, Mode, PolicyKey, Severity},
    roles::Role,
    summary::{LISTED_VIOLATIONS, Report, ReportCondition, Summary, Violation},
};

/// A policy as the metrics show it.
#[derive(Clone, Debug)]
pub struct PolicyView<'a> {
    /// Which policy.
    pub key: &'a PolicyKey,
    /// Its present spec is valid.
    pub ready: bool,
    /// The mode of the version at work.
    pub mode: Mode,
    /// Evaluated Pods that match.
    pub pods: u32,
    /// Containers by class.
    pub containers: [(ContainerClass, u32); ContainerClass::ALL.len()],
    /// How many violations have fired, by check.
    pub fired: [(Check, u64); Check::ALL.len()],
}

/// A violation as the metrics show it.
#[derive(Clone, Copy, Debug)]
pub struct ViolationView<'a> {
    /// The policy that it is under.
    pub policy: &'a PolicyKey,
    /// The failing check.
    pub check: Check,
    /// How bad it is.
    pub severity: Severity,
    /// What may be done about it: the stricter of the policy's mode and the check's.
    pub mode: Mode,
    /// Whether it fires, or is pending.
    pub firing: bool,
    /// The Pod's namespace.
    pub namespace: &'a str,
    /// The Pod's workload.
    pub workload: &'a Workload,
    /// The Pod's name.
    pub pod: &'a str,
    /// The container's name.
    pub container: &'a str,
    /// Whether it is a native sidecar.
    pub native: bool,
    /// Since when the fault is there.
    pub onset: Timestamp,
}

/// Restarts of one sidecar of a workload.
#[derive(Clone, Copy, Debug)]
pub struct RestartView<'a> {
    /// The policy that calls the container a sidecar.
    pub policy: &'a PolicyKey,
    /// The namespace of the workload.
    pub namespace: &'a str,
    /// The workload.
    pub workload: &'a Workload,
    /// The container's name.
    pub container: &'a str,
    /// Why the run ended: `OOMKilled`, `Error`, `Completed` or `Other`.
    pub reason: &'static str,
    /// How many.
    pub count: u64,
}

impl Index {
    /// The status of a policy; `None` while we do not know all that it speaks of, or the policy at all.
    pub fn report(&self, key: &PolicyKey) -> Option<Report> {
        let entry = self.policies.get(self.ids.get(key)?)?;
        let synced = self.watches.is_synced(&key.namespace);
        if !synced || entry.needs_namespaces() && !self.watches.namespaces_synced {
            return None;
        }
        let summary = entry.counts.summary();
        let listed = entry.active.iter().take(LISTED_VIOLATIONS);
        let violations: Vec<Violation> = listed
            .map(|(key, active)| Violation {
                check: key.check,
                firing: active.firing,
                severity: key.severity.0,
                namespace: key.namespace.clone(),
                workload: key.workload.to_string(),
                pod: key.pod.clone(),
                container: key.container.clone(),
                native: active.native,
                since: active.onset,
                detail: self.detail(entry, key, active).unwrap_or_default(),
            })
            .collect();
        let omitted = entry.active.len().saturating_sub(violations.len());
        Some(Report {
            generation: entry.generation,
            conditions: conditions(entry, &summary, self.failing(entry)),
            summary,
            checks: entry.counts.checks(),
            violations,
            omitted: u32::try_from(omitted).unwrap_or(u32::MAX),
        })
    }

    fn detail(
        &self,
        entry: &PolicyEntry,
        key: &super::entry::ActiveKey,
        active: &super::entry::Active,
    ) -> Option<String> {
        let pod = self.namespaces.get(&key.namespace)?.pods.get(&key.uid)?;
        let id = self.ids.get(&entry.key)?;
        let matched = pod.matched.iter().find(|matched| matched.policy == *id)?;
        let view = View {
            pod: &pod.observation,
            roles: &matched.roles,
            policy: entry.policy.as_ref()?,
            history: pod.history.as_deref(),
            now: self.latest,
        };
        Some(rule(key.check).detail(&MessageContext {
            view: &view,
            at: active.at,
            onset: active.onset,
            policy: &entry.key,
        }))
    }

    /// How many sidecars, other containers and Pods have a firing violation.
    fn failing(&self, entry: &PolicyEntry) -> Failing {
        let (mut sidecars, mut others, mut pods) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for (key, active) in entry.active.iter().filter(|(_, active)| active.firing) {
            let pod = self
                .namespaces
                .get(&key.namespace)
                .and_then(|namespace| namespace.pods.get(&key.uid));
            let matched = pod.and_then(|pod| {
                pod.matched
                    .iter()
                    .find(|m| self.ids.get(&entry.key) == Some(&m.policy))
            });
            let is_sidecar = matched.is_some_and(|matched| matched.roles.of(active.at) == Role::Sidecar);
            pods.insert(&key.uid);
            if is_sidecar { &mut sidecars } else { &mut others }.insert((&key.uid, &key.container));
        }
        Failing {
            sidecars: sidecars.len(),
            others: others.len(),
            pods: pods.len(),
        }
    }

    /// How many Pods are known, evaluated or not.
    pub fn tracked_pods(&self) -> usize {
        self.namespaces
            .values()
            .map(|namespace| namespace.pods.len())
            .sum()
    }

    /// Every policy.
    pub fn policies(&self) -> impl Iterator<Item = PolicyView<'_>> {
        self.policies.values().map(|entry| {
            let mut fired = Check::ALL.map(|check| (check, 0));
            for ((_, shown), n) in fired.iter_mut().zip(entry.fired) {
                *shown = n;
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

    /// Every violation, pending or firing.
    pub fn violations(&self) -> impl Iterator<Item = ViolationView<'_>> {
        self.policies.values().flat_map(|entry| {
            let mode = |check| {
                entry
                    .policy
                    .as_ref()
                    .map_or(Mode::Off, |policy| policy.mode_of(check))
            };
            entry.active.iter().map(move |(key, active)| ViolationView {
                policy: &entry.key,
                check: key.check,
                severity: key.severity.0,
                mode: mode(key.check),
                firing: active.firing,
                namespace: &key.namespace,
                workload: &key.workload,
                pod: &key.pod,
                container: &key.container,
                native: active.native,
                onset: active.onset,
            })
        })
    }

    /// Every restart series: one per policy, workload, sidecar and reason that had a restart.
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

    /// How long resolved violations lasted.
    pub fn durations(&self) -> &Durations {
        &self.durations
    }

    /// How many statuses named a container which the spec lacks.
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
        Some(message) if entry.policy.is_some() => {
            let message = format!("{message}. The last valid version stays at work.");
            condition("Ready", Some(false), "Invalid", message)
        }
        Some(message) => condition("Ready", Some(false), "Invalid", message.clone()),
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
        let severity = entry
            .policy
            .as_ref()
            .map_or(Severity::Info, |policy| policy.settings(counts.check).severity);
        by_check.push((std::cmp::Reverse(severity), counts.check, counts.firing));
    }
    by_check.sort_unstable();
    let checks: Vec<String> = by_check
        .iter()
        .map(|(severity, check, n)| format!("{} {n} ({:?})", check.as_str(), severity.0))
        .collect();
    let who = match (failing.sidecars, failing.others) {
        (sidecars, 0) => format!("{sidecars} of {} sidecars", summary.sidecars),
        (0, others) => format!("{others} other containers"),
        (sidecars, others) => format!(
            "{sidecars} of {} sidecars and {others} other containers",
            summary.sidecars
        ),
    };
    let worst = entry.active.iter().find(|(_, active)| active.firing);
    let worst = worst
        .map(|(key, _)| format!("; worst: {} {}", key.workload, key.container))
        .unwrap_or_default();
    format!(
        "{who} in {} of {} Pods fail: {}{worst}",
        failing.pods,
        summary.pods,
        checks.join(", ")
    )
}
