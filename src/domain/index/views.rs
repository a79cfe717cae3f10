//! Read access to the index: the status of a policy, and the data of the metrics.

use jiff::Timestamp;

use super::{
    Index, StartupDurations,
    check_states::earliest_onset,
    counts::Failing,
    drift,
    entry::{PolicyEntry, PolicyId},
    policy_limits::Standing,
    series::PolicySeries,
    work::Work,
};
use crate::domain::{
    checks::{MessageContext, View, rule},
    histogram::Histogram,
    observation::Workload,
    policy::{Check, Mode, PolicyKey, PolicyLimits, Severity},
    summary::{LISTED_VIOLATIONS, Report, ReportCondition, ReportedViolation, Summary},
    tracker::Tracked,
    violation::{ContainerSubject, Subject, Violation},
};

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
    /// Whether work on the Pods, workloads or images of a policy remains.
    pub(super) fn is_worked_on(&self, id: PolicyId) -> bool {
        self.work.contains(&Work::Policy(id))
            || self.missing.has_work_for(id)
            || self.image_states.has_work_for(id)
    }

    /// The status of a policy. `None` for an unknown policy, until the list that contains the policy is complete, until all
    /// Pods of the first lists have been evaluated, and until an edit has reached the last Pod.
    pub fn report(&self, key: &PolicyKey) -> Option<Report> {
        let id = *self.ids.get(key)?;
        let entry = self.policies.get(&id)?;
        let synced = self.watches.is_synced(&key.namespace);
        let lacks_namespaces = entry.needs_namespaces() && !self.watches.namespaces_synced;
        let waits = entry.standing == Standing::Waiting;
        if !synced || lacks_namespaces || waits || self.is_worked_on(id) {
            return None;
        }
        let summary = entry.counts.summary();
        let visible = entry.violations.iter().filter(|violation| violation.visible);
        let listed = visible.take(LISTED_VIOLATIONS);
        let violations: Vec<_> = listed
            .map(|violation| ReportedViolation {
                violation: violation.clone(),
                detail: self.detail(id, entry, violation).unwrap_or_default(),
            })
            .collect();
        let listed = u32::try_from(violations.len()).unwrap_or(u32::MAX);
        let omitted = (summary.firing + summary.pending).saturating_sub(listed);
        Some(Report {
            generation: entry.generation,
            conditions: conditions(entry, &summary, entry.counts.failing(), self.ranked.limits),
            summary,
            checks: entry.counts.checks(),
            violations,
            omitted,
            images: entry.images.summary(),
        })
    }

    /// The cause of a violation, as in the status of its policy. `None` if the Pod or the policy is gone.
    pub fn cause(&self, violation: &Violation) -> Option<String> {
        let id = *self.ids.get(&violation.policy)?;
        self.detail(id, self.policies.get(&id)?, violation)
    }

    fn detail(&self, id: PolicyId, entry: &PolicyEntry, violation: &Violation) -> Option<String> {
        let subject = match &violation.subject {
            Subject::Container(subject) => subject,
            Subject::Workload(subject) => return self.missing.detail(id, entry, subject),
            Subject::Image(subject) => return Some(drift::detail(&entry.images, &subject.repository)),
        };
        let (view, container_idx, tracked) = self.found(id, violation.check, subject)?;
        let detail = rule(violation.check).detail(&MessageContext {
            view: &view,
            container_idx,
            onset: violation.onset,
            policy: &entry.key,
        });
        let hint = tracked.and_then(|tracked| tracked.rollout_hint(view.pod));
        Some(with_hint(detail, hint))
    }

    /// The earliest onset that the Pod of a violation allows, if nothing shows when its fault began.
    pub fn earliest_onset(&self, violation: &Violation) -> Option<Timestamp> {
        let id = *self.ids.get(&violation.policy)?;
        let subject = violation.subject.as_container()?;
        let (view, _, tracked) = self.found(id, violation.check, subject)?;
        earliest_onset(&view, tracked?)
    }

    /// The Pod of a violation as its check sees it, the container, and the state of the violation.
    fn found(
        &self,
        id: PolicyId,
        check: Check,
        subject: &ContainerSubject,
    ) -> Option<(View<'_>, usize, Option<&Tracked>)> {
        let pod = self.pods.get(&self.pod_id(&subject.namespace, &subject.uid)?)?;
        let container_idx = pod.observation.shape.position(&subject.container)?;
        let view = pod.view(pod.matches.get(id)?, self.latest);
        let mut tracked = pod.tracked(id).iter();
        let tracked =
            tracked.find(|tracked| usize::from(tracked.container) == container_idx && tracked.check == check);
        Some((view, container_idx, tracked))
    }

    /// The number of known Pods, evaluated or not.
    pub fn tracked_pods(&self) -> usize {
        self.pods.len()
    }

    /// All policies that have not been deleted.
    pub(super) fn entries(&self) -> impl Iterator<Item = &PolicyEntry> + Clone {
        self.policies
            .values()
            .map(Box::as_ref)
            .filter(|entry| !entry.deleted)
    }

    /// All policies.
    pub fn policies(&self) -> impl Iterator<Item = PolicySeries> {
        self.entries().map(PolicySeries::of)
    }

    /// All violations, pending and firing, visible or not.
    pub fn violations(&self) -> impl Iterator<Item = &Violation> {
        self.entries().flat_map(|entry| &entry.violations)
    }

    /// All restart series: one for each policy, workload, sidecar and reason with at least one restart.
    pub fn restarts(&self) -> impl Iterator<Item = RestartView<'_>> {
        self.entries().flat_map(|entry| {
            entry
                .restarts
                .iter()
                .map(|(namespace, reason, (workload, container), count)| RestartView {
                    policy: &entry.key,
                    namespace,
                    workload,
                    container,
                    reason,
                    count,
                })
        })
    }

    /// The durations of resolved violations.
    pub fn durations(&self) -> &Histogram {
        &self.durations
    }

    /// The durations of the starts of sidecars.
    pub fn startups(&self) -> &StartupDurations {
        self.startups.durations()
    }

    /// The number of container statuses whose name is not in the spec.
    pub fn stray_statuses(&self) -> u64 {
        self.stray_statuses
    }

    /// The number of restarts and flaps that were removed from histories because their namespace has too many.
    pub fn dropped_history_entries(&self) -> u64 {
        self.histories.dropped
    }
}

/// Adds a hint to the cause of a violation.
pub(super) fn with_hint(mut cause: String, hint: Option<String>) -> String {
    if let Some(hint) = hint {
        cause.push_str("; ");
        cause.push_str(&hint);
    }
    cause
}

fn condition(
    kind: &'static str,
    status: Option<bool>,
    reason: &'static str,
    message: String,
) -> ReportCondition {
    ReportCondition {
        kind,
        status,
        reason,
        message,
    }
}

fn conditions(
    entry: &PolicyEntry,
    summary: &Summary,
    failing: Failing,
    limits: PolicyLimits,
) -> [ReportCondition; 3] {
    let suspended = entry.spec().is_some_and(|spec| spec.mode == Mode::Off);
    let ready = ready(entry, suspended, limits);
    let idle = match entry.spec() {
        _ if !entry.is_active() => Some((
            "TooManyPolicies",
            "The namespace has too many SidecarPolicies: nothing is evaluated",
        )),
        Some(_) if suspended => Some(("Suspended", "mode is Off: nothing is evaluated")),
        Some(_) => None,
        None => Some(("Invalid", "The policy has never been valid: nothing is evaluated")),
    };
    if let Some((reason, message)) = idle {
        let unknown = |kind| condition(kind, None, reason, message.to_owned());
        return [ready, unknown("SidecarsHealthy"), unknown("TargetsFound")];
    }
    let Summary { pods, sidecars, .. } = *summary;
    let healthy = if failing.pods == 0 && failing.workloads == 0 && failing.images == 0 {
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

/// The condition that says whether the policy is evaluated. Its messages contain no number that other policies change.
fn ready(entry: &PolicyEntry, suspended: bool, limits: PolicyLimits) -> ReportCondition {
    let (status, reason, message) = match &entry.invalid {
        _ if !entry.is_active() => {
            let limit = limits.per_namespace;
            let message = format!(
                "The namespace has more than {limit} SidecarPolicies, and only the {limit} oldest are evaluated \
                 (--max-policies-per-namespace): delete this one or an older one"
            );
            (false, "TooManyPolicies", message)
        }
        Some(error) if entry.spec().is_some() => {
            let message = format!("{error}. The last valid version stays in use.");
            (false, "Invalid", message)
        }
        Some(error) => (false, "Invalid", error.to_string()),
        None if suspended => (true, "Suspended", "mode is Off: nothing is evaluated".to_owned()),
        None if entry.capped.is_empty() => {
            let message = "The policy is valid and being evaluated".to_owned();
            (true, "Evaluating", message)
        }
        None => {
            let checks: Vec<&str> = entry.capped.iter().map(|check| check.as_str()).collect();
            let message = format!(
                "The policy is valid and being evaluated. The severity of {} is lowered to {:?}, the highest for \
                 SidecarPolicies (--max-tenant-severity)",
                checks.join(", "),
                limits.severity
            );
            (true, "Evaluating", message)
        }
    };
    condition("Ready", Some(status), reason, message)
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
            .spec()
            .map_or(Severity::Info, |spec| spec.checks.common(counts.check).severity);
        by_check.push((std::cmp::Reverse(severity), counts.check, counts.firing));
    }
    by_check.sort_unstable();
    let checks: Vec<String> = by_check
        .iter()
        .map(|(severity, check, n)| format!("{} {n} ({:?})", check.as_str(), severity.0))
        .collect();
    let containers = match (failing.sidecars, failing.others) {
        (0, 0) => String::new(),
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
            let subject = &violation.subject;
            let name = format!(
                "{} {}{}",
                subject.workload(),
                subject.container(),
                subject.image()
            );
            format!("; worst: {}", name.trim_start())
        })
        .unwrap_or_default();
    let containers = match failing.pods {
        0 => String::new(),
        pods => format!("{containers} in {pods} of {} Pods fail", summary.pods),
    };
    let workloads = match failing.workloads {
        0 => String::new(),
        1 => "1 workload lacks a sidecar".to_owned(),
        workloads => format!("{workloads} workloads lack a sidecar"),
    };
    let images = match failing.images {
        0 => String::new(),
        1 => "1 image fails".to_owned(),
        images => format!("{images} images fail"),
    };
    let parts = [containers, workloads, images]
        .into_iter()
        .filter(|part| !part.is_empty());
    let parts: Vec<String> = parts.collect();
    format!("{}: {}{worst}", parts.join(", "), checks.join(", "))
}
