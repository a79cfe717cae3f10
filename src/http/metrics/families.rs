//! The metric families about Pods and policies. They are computed at each render, so no series outlives its object.
//!
//! Severity, mode and state are in lower case, as is usual in Alertmanager routes. Checks, kinds and names are written
//! as in the API.

use super::encoder::{Encoder, Family, Kind, count, family};
use crate::domain::{
    index::series::{Bounded, ImageSeries, PolicySeries, Row, Series, ViolationKind, WorkloadContainer},
    pattern::Repository,
    policy::{Mode, PolicyKey, Severity},
    violation::Violation,
};

const VIOLATION_LABELS: &[&str] = &[
    "check",
    "container",
    "mode",
    "namespace",
    "native",
    "pod",
    "policy",
    "policy_kind",
    "policy_namespace",
    "severity",
    "state",
    "workload",
    "workload_kind",
];
const POLICY_LABELS: &[&str] = &["policy", "policy_kind", "policy_namespace"];

static WORKLOAD_VIOLATIONS: Family = family(
    Kind::Gauge,
    "sidewatch_workload_violations",
    "Pods of a workload whose container violates a check of a policy.",
    &[
        "check",
        "container",
        "image",
        "mode",
        "namespace",
        "native",
        "policy",
        "policy_kind",
        "policy_namespace",
        "repository",
        "severity",
        "state",
        "workload",
        "workload_kind",
    ],
);
static VIOLATION: Family = family(
    Kind::Gauge,
    "sidewatch_violation",
    "A firing violation of one Pod; the value is always 1. The number of series is limited.",
    VIOLATION_LABELS,
);
static VIOLATION_ONSET: Family = family(
    Kind::Gauge,
    "sidewatch_violation_onset_timestamp_seconds",
    "The time at which the fault of a firing violation began.",
    VIOLATION_LABELS,
);
static VIOLATIONS_OMITTED: Family = family(
    Kind::Gauge,
    "sidewatch_violation_series_omitted",
    "Firing violations without a series of sidewatch_violation.",
    &[],
);
static COLLAPSED: Family = family(
    Kind::Gauge,
    "sidewatch_collapsed_namespaces",
    "Namespaces whose series of the metric in the label are merged, because there are too many.",
    &["metric"],
);
static POLICY_PODS: Family = family(
    Kind::Gauge,
    "sidewatch_policy_pods",
    "Evaluated Pods that the policy selects.",
    POLICY_LABELS,
);
static POLICY_CONTAINERS: Family = family(
    Kind::Gauge,
    "sidewatch_policy_containers",
    "Containers of the Pods that the policy selects.",
    &[
        "native",
        "policy",
        "policy_kind",
        "policy_namespace",
        "ready",
        "role",
    ],
);
static POLICIES_OVER_LIMIT: Family = family(
    Kind::Gauge,
    "sidewatch_policies_over_limit",
    "SidecarPolicies that are not evaluated, because their namespace has too many.",
    &[],
);
static POLICY_READY: Family = family(
    Kind::Gauge,
    "sidewatch_policy_ready",
    "Whether the current spec of the policy is valid (1) or not (0).",
    POLICY_LABELS,
);
static VIOLATIONS: Family = family(
    Kind::Counter,
    "sidewatch_violations_total",
    "Violations that began to fire.",
    &["check", "policy", "policy_kind", "policy_namespace"],
);
static EXEMPTED: Family = family(
    Kind::Gauge,
    "sidewatch_exempted_violations",
    "Firing violations that SidecarExemptions hide; they are in no other series.",
    &["check", "policy", "policy_kind", "policy_namespace"],
);
static RESTARTS: Family = family(
    Kind::Counter,
    "sidewatch_sidecar_restarts_total",
    "Restarts of sidecars by workload and reason of the exit.",
    &[
        "container",
        "namespace",
        "policy",
        "policy_kind",
        "policy_namespace",
        "reason",
        "workload",
        "workload_kind",
    ],
);
static IMAGES: Family = family(
    Kind::Gauge,
    "sidewatch_sidecar_images",
    "Evaluated Pods by the version of a sidecar image.",
    &[
        "policy",
        "policy_kind",
        "policy_namespace",
        "repository",
        "version",
    ],
);
static DURATION: Family = family(
    Kind::Histogram,
    "sidewatch_violation_duration_seconds",
    "Duration of resolved violations, from onset to resolution.",
    &[],
);
static STARTUP: Family = family(
    Kind::Histogram,
    "sidewatch_sidecar_startup_seconds",
    "Time from the moment at which a sidecar could start until it was started, and until it was ready.",
    &["container", "until"],
);
static TRACKED_PODS: Family = family(
    Kind::Gauge,
    "sidewatch_tracked_pods",
    "Pods in the index, selected by a policy or not.",
    &[],
);
static STRAY_STATUSES: Family = family(
    Kind::Counter,
    "sidewatch_stray_statuses_total",
    "Container statuses whose name is not in the spec of the Pod.",
    &[],
);
static HISTORY_ENTRIES_DROPPED: Family = family(
    Kind::Counter,
    "sidewatch_history_entries_dropped_total",
    "Restarts and flaps that were forgotten because their namespace has too many.",
    &[],
);

/// Writes the series of a copy of the index.
pub(super) fn write_series(encoder: &mut Encoder<'_>, series: &Series) {
    let Series {
        policies,
        excess_policies,
        workloads,
        violations,
        omitted,
        restarts,
        images,
        durations,
        startups,
        tracked_pods,
        stray_statuses,
        dropped_history_entries,
    } = series;
    write_workloads(encoder, workloads);
    write_violations(encoder, violations);
    encoder.single(&VIOLATIONS_OMITTED, count(*omitted as u64));
    write_policies(encoder, policies);
    encoder.single(&POLICIES_OVER_LIMIT, count(*excess_policies as u64));
    let mut family = encoder.family(&RESTARTS);
    for row in &restarts.rows {
        let [policy, kind, namespace] = merged_policy_values(row.policy.as_ref());
        let (workload, workload_kind, container) = match &row.subject {
            Some((workload, container)) => (&*workload.name, &*workload.kind, &**container),
            None => ("", "", ""),
        };
        let values = [
            container,
            &row.namespace,
            policy,
            kind,
            namespace,
            row.kind,
            workload,
            workload_kind,
        ];
        family.add(values, count(row.count));
    }
    write_images(encoder, images);
    let mut family = encoder.family(&COLLAPSED);
    family.add([WORKLOAD_VIOLATIONS.name], count(workloads.collapsed as u64));
    family.add([RESTARTS.name], count(restarts.collapsed as u64));
    family.add([IMAGES.name], count(images.collapsed as u64));
    encoder.family(&DURATION).histogram(&[], durations);
    let mut family = encoder.family(&STARTUP);
    for (container, histograms) in startups.iter() {
        family.histogram(&[container, "started"], &histograms.started);
        family.histogram(&[container, "ready"], &histograms.ready);
    }
    encoder.single(&TRACKED_PODS, count(*tracked_pods as u64));
    encoder.single(&STRAY_STATUSES, count(*stray_statuses));
    encoder.single(&HISTORY_ENTRIES_DROPPED, count(*dropped_history_entries));
}

fn write_workloads(encoder: &mut Encoder<'_>, workloads: &Bounded<ViolationKind, WorkloadContainer>) {
    let mut family = encoder.family(&WORKLOAD_VIOLATIONS);
    for row in &workloads.rows {
        let Row {
            policy,
            kind,
            namespace,
            subject,
            count: pods,
        } = row;
        let [policy, policy_kind, policy_namespace] = merged_policy_values(policy.as_ref());
        let (workload, workload_kind, container, image, native) = match subject {
            Some(subject) => (
                &*subject.workload.name,
                &*subject.workload.kind,
                &*subject.container,
                &*subject.image,
                bool_value(subject.native),
            ),
            None => ("", "", "", "", ""),
        };
        let repository = Repository::of(image);
        let repository = if image.is_empty() { "" } else { repository.full() };
        let values = [
            kind.check.as_str(),
            container,
            image,
            mode_value(kind.mode),
            namespace,
            native,
            policy,
            policy_kind,
            policy_namespace,
            repository,
            severity_value(kind.severity),
            state_value(kind.firing),
            workload,
            workload_kind,
        ];
        family.add(values, count(*pods));
    }
}

fn write_images(encoder: &mut Encoder<'_>, images: &ImageSeries) {
    let mut family = encoder.family(&IMAGES);
    for row in &images.rows {
        let [policy, kind, namespace] = policy_values(&row.policy);
        family.add(
            [policy, kind, namespace, &row.repository, &row.version],
            f64::from(row.pods),
        );
    }
}

fn write_violations(encoder: &mut Encoder<'_>, violations: &[Violation]) {
    let mut family = encoder.family(&VIOLATION);
    for violation in violations {
        family.add(violation_values(violation), 1.0);
    }
    let mut family = encoder.family(&VIOLATION_ONSET);
    for violation in violations {
        let onset = violation.onset.as_duration().as_secs_f64();
        family.add(violation_values(violation), onset);
    }
}

fn violation_values(violation: &Violation) -> [&str; VIOLATION_LABELS.len()] {
    let Violation {
        policy,
        check,
        severity,
        mode,
        subject,
        firing,
        visible: _,
        onset: _,
    } = violation;
    let [policy, policy_kind, policy_namespace] = policy_values(policy);
    [
        check.as_str(),
        subject.container_or_image(),
        mode_value(*mode),
        subject.namespace(),
        bool_value(subject.is_native()),
        subject.pod(),
        policy,
        policy_kind,
        policy_namespace,
        severity_value(*severity),
        state_value(*firing),
        &subject.workload().name,
        &subject.workload().kind,
    ]
}

fn write_policies(encoder: &mut Encoder<'_>, policies: &[PolicySeries]) {
    let mut family = encoder.family(&POLICY_PODS);
    // A suspended policy is intended to select no Pod.
    for policy in policies.iter().filter(|policy| policy.mode != Mode::Off) {
        family.add(policy_values(&policy.key), f64::from(policy.pods));
    }
    let mut family = encoder.family(&POLICY_CONTAINERS);
    for policy in policies {
        let [name, kind, namespace] = policy_values(&policy.key);
        for (class, n) in policy.containers {
            let (native, ready) = (bool_value(class.native), bool_value(class.ready));
            family.add([native, name, kind, namespace, ready, class.role], f64::from(n));
        }
    }
    let mut family = encoder.family(&POLICY_READY);
    for policy in policies {
        family.add(policy_values(&policy.key), f64::from(u8::from(policy.ready)));
    }
    let mut family = encoder.family(&VIOLATIONS);
    for policy in policies {
        let [name, kind, namespace] = policy_values(&policy.key);
        for (check, n) in policy.fired {
            family.add([check.as_str(), name, kind, namespace], count(n));
        }
    }
    let mut family = encoder.family(&EXEMPTED);
    for policy in policies {
        let [name, kind, namespace] = policy_values(&policy.key);
        for (check, n) in policy.exempted.into_iter().filter(|(_, n)| *n > 0) {
            family.add([check.as_str(), name, kind, namespace], f64::from(n));
        }
    }
}

fn policy_values(policy: &PolicyKey) -> [&str; POLICY_LABELS.len()] {
    [&policy.name, policy.kind.as_str(), &policy.namespace]
}

/// The labels of a policy, or empty ones for a series that all policies share.
fn merged_policy_values(policy: Option<&PolicyKey>) -> [&str; POLICY_LABELS.len()] {
    policy.map_or([""; POLICY_LABELS.len()], policy_values)
}

const fn severity_value(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => "info",
        Severity::Warning => "warning",
        Severity::Critical => "critical",
    }
}

const fn mode_value(mode: Mode) -> &'static str {
    match mode {
        Mode::Alert => "alert",
        Mode::Observe => "observe",
        Mode::Off => "off",
    }
}

const fn state_value(firing: bool) -> &'static str {
    if firing { "firing" } else { "pending" }
}

const fn bool_value(value: bool) -> &'static str {
    if value { "true" } else { "false" }
}
