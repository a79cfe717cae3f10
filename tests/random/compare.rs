//! Comparison of two runs: the states of the operators, and the Events that they wrote.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};
use sidewatch::{
    api::PolicyStatus,
    domain::{
        effects::Event,
        index::Index,
        policy::{Check, Mode, Severity},
        summary::Report,
    },
};

use testkit::kubelet::at;

use crate::{
    plan::Plan,
    policies::{KEEP, StoredPolicy},
};

/// Policy, namespace, Pod, container, check.
type Key = (String, String, String, String, Check);
/// Whether it fires, severity, mode, onset.
type Violation = (bool, Severity, Mode, Timestamp);

/// The state of the operator at one moment.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Observed {
    violations: BTreeMap<Key, Violation>,
    /// The statuses by policy, without the times of their conditions.
    pub(crate) statuses: BTreeMap<&'static str, Value>,
    /// The number of violations that fired since the operator started, by policy and check.
    fired: BTreeMap<(String, Check), u64>,
    /// The number of restarts since the operator started, by policy and series.
    restarts: BTreeMap<String, u64>,
    pods: usize,
}

impl Observed {
    pub(crate) fn of<'a>(index: &Index, policies: impl Iterator<Item = &'a StoredPolicy>) -> Self {
        let violations = index.violations().map(|v| {
            let policy = v.policy.name.to_string();
            let key = (
                policy,
                v.subject.namespace().to_string(),
                v.subject.pod().to_owned(),
                v.subject.container().to_string(),
                v.check,
            );
            (key, (v.firing, v.severity, v.mode, v.onset))
        });
        let fired = index.policies().flat_map(|policy| {
            let name = policy.key.name.to_string();
            policy.fired.map(|(check, n)| ((name.clone(), check), n))
        });
        let restarts = index.restarts().map(|r| {
            let (policy, workload) = (&r.policy.name, r.workload);
            (
                format!("{policy} {}/{workload} {} {}", r.namespace, r.container, r.reason),
                r.count,
            )
        });
        Self {
            violations: violations.collect(),
            statuses: policies
                .map(|policy| {
                    (
                        policy.name,
                        report_as_status(&index.report(&policy.key()).unwrap()),
                    )
                })
                .collect(),
            fired: fired.collect(),
            restarts: restarts.collect(),
            pods: index.tracked_pods(),
        }
    }

    /// Asserts that two runs show the same for one policy.
    pub(crate) fn assert_same_of(&self, policy: &str, other: &Self) {
        let of = |observed: &Self| -> BTreeMap<Key, Violation> {
            observed
                .violations
                .clone()
                .into_iter()
                .filter(|(key, _)| key.0 == policy)
                .collect()
        };
        assert_eq!(of(self), of(other), "violations under {policy}");
        assert_eq!(
            self.statuses[policy], other.statuses[policy],
            "the status of {policy}"
        );
    }

    /// Asserts that two runs show the same. Counters start at zero with each operator, so they are compared only without
    /// restarts.
    pub(crate) fn assert_same(&self, other: &Self, restarts: bool) {
        assert_eq!(self.violations, other.violations, "violations");
        assert_eq!(self.statuses, other.statuses, "statuses");
        assert_eq!(self.pods, other.pods, "tracked Pods");
        if !restarts {
            assert_eq!(self.fired, other.fired, "violations that fired");
            assert_eq!(self.restarts, other.restarts, "restarts");
        }
    }
}

/// A report in the form of [`status`].
fn report_as_status(report: &Report) -> Value {
    let conditions = report.conditions.iter().map(|c| {
        let status = c
            .status
            .map_or("Unknown", |holds| if holds { "True" } else { "False" });
        json!([c.kind, status, c.reason, c.message])
    });
    let violations = report.violations.iter().map(|reported| {
        let v = &reported.violation;
        let subject = &v.subject;
        let severity = format!("{:?}", v.severity);
        json!([
            v.check.as_str(),
            v.firing,
            severity,
            **subject.namespace(),
            subject.workload().to_string(),
            subject.pod(),
            **subject.container(),
            subject.is_native(),
            v.onset.as_second(),
            reported.detail
        ])
    });
    let checks = report
        .checks
        .iter()
        .map(|c| json!([c.check.as_str(), c.firing, c.pending]));
    let images = report.images.repositories.iter().map(|image| {
        let versions = image.versions.iter();
        let versions = versions.map(|version| json!([*version.version, version.pods]));
        json!([*image.repository, image.omitted, versions.collect::<Value>()])
    });
    let s = &report.summary;
    json!({
        "generation": report.generation, "omitted": report.omitted,
        "conditions": conditions.collect::<Value>(), "violations": violations.collect::<Value>(),
        "checks": checks.collect::<Value>(),
        "images": images.collect::<Value>(), "imagesOmitted": report.images.omitted,
        "summary": [s.pods, s.sidecars, s.mains, s.firing, s.pending, s.without_readiness_probe],
    })
}

/// A status without the times of its conditions.
pub(crate) fn status(status: &PolicyStatus) -> Value {
    let text = |value: Value| value.as_str().unwrap().to_owned();
    let conditions = status
        .conditions
        .iter()
        .map(|c| json!([c.type_, c.status, c.reason, c.message]));
    let violations = status.violations.iter().map(|v| {
        let (check, severity) = (text(json!(v.check)), text(json!(v.severity)));
        let firing = text(json!(v.state)) == "Firing";
        json!([
            check,
            firing,
            severity,
            v.namespace,
            v.workload,
            v.pod,
            v.container,
            v.native,
            v.since.0.as_second(),
            v.detail
        ])
    });
    let checks = status
        .checks
        .iter()
        .map(|c| json!([c.check, c.firing, c.pending]));
    let images = status.images.iter().map(|image| {
        let versions = image.versions.iter();
        let versions = versions.map(|version| json!([version.version, version.pods]));
        json!([
            image.repository,
            image.versions_omitted,
            versions.collect::<Value>()
        ])
    });
    let s = status.summary.as_ref().unwrap();
    json!({
        "generation": status.observed_generation, "omitted": status.violations_omitted,
        "conditions": conditions.collect::<Value>(), "violations": violations.collect::<Value>(),
        "checks": checks.collect::<Value>(),
        "images": images.collect::<Value>(), "imagesOmitted": status.images_omitted,
        "summary": [s.pods, s.sidecars, s.mains, s.firing, s.pending, s.without_readiness_probe],
    })
}

/// An Event as the API server stores it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct StoredEvent {
    pub(crate) object_uid: String,
    field_path: String,
    pub(crate) reason: String,
    warning: bool,
    note: String,
    at: Timestamp,
    pub(crate) count: u32,
}

impl StoredEvent {
    pub(crate) fn new(event: &Event, count: u32) -> Self {
        Self {
            object_uid: event.regarding.uid.to_string(),
            field_path: event.regarding.field_path.clone(),
            reason: event.reason.to_owned(),
            warning: event.warning,
            note: event.note.clone(),
            at: event.at,
            count,
        }
    }

    /// Reads an object of the API server.
    pub(crate) fn read(object: &Value) -> Self {
        let text = |place: &str| object.pointer(place).unwrap().as_str().unwrap().to_owned();
        Self {
            object_uid: text("/regarding/uid"),
            field_path: text("/regarding/fieldPath"),
            reason: text("/reason"),
            warning: text("/type") == "Warning",
            note: text("/note"),
            at: text("/eventTime").parse().unwrap(),
            count: object
                .pointer("/series/count")
                .map_or(1, |count| u32::try_from(count.as_u64().unwrap()).unwrap()),
        }
    }
}

/// Asserts that a disturbed run left the same Events as the undisturbed run. Differences that are correct:
/// * time and note, if the operator observed something late: a violation that begins to fire in a gap has its Event at the end of
///   the gap, and its recovery may be as late as its onset was; after a stall, deadlines wait for the events of the watch;
/// * the number of occurrences in a series, which only one process knows;
/// * the episode of a recovery of Flapping that was due in a stall: a change of readiness in the stall is taken in before the
///   overdue deadline, and continues the fault.
pub(crate) fn assert_same_events(
    expected: &BTreeMap<String, StoredEvent>,
    found: &BTreeMap<String, StoredEvent>,
    plan: &Plan,
) {
    for (name, expected_event) in found {
        let continues = || expected.values().any(|due| continued(plan, due, expected_event));
        assert!(
            expected.contains_key(name) || continues(),
            "an unexpected Event: {name} {expected_event:?}"
        );
    }
    for (name, expected_event) in expected {
        if !found.contains_key(name) && found.values().any(|later| continued(plan, expected_event, later)) {
            continue;
        }
        let found = found.get(name);
        let found = found.unwrap_or_else(|| panic!("an Event is missing: {name} {expected_event:?}"));
        let expected_like = StoredEvent {
            count: found.count,
            ..expected_event.clone()
        };
        if *found != expected_like {
            let late = if expected_event.warning {
                noticed(plan, expected_event.at)
            } else {
                recovered(plan, expected_event.at)
            };
            let in_time = late.is_some_and(|(from, to)| (from..=to).contains(&found.at));
            assert!(in_time, "{name} is {found:?} instead of {expected_event:?}");
            let but_for_time = StoredEvent {
                note: found.note.clone(),
                at: found.at,
                ..expected_like
            };
            assert_eq!(*found, but_for_time, "{name}");
        }
        if plan.restarts {
            assert!(
                found.count <= expected_event.count,
                "{name} was raised too often: {found:?}, {expected_event:?}"
            );
        } else {
            assert_eq!(found.count, expected_event.count, "{name}");
        }
    }
}

/// Whether `later` is the recovery of a Flapping violation that was due as `due` in a stall.
fn continued(plan: &Plan, due: &StoredEvent, later: &StoredEvent) -> bool {
    let is_end =
        |event: &StoredEvent| event.reason == "SidecarRecovered" && event.note.contains("(Flapping ");
    let subject = |event: &StoredEvent| (event.object_uid.clone(), event.field_path.clone());
    let in_stall = |(begin, end): (i64, i64)| (at(begin)..=at(end)).contains(&due.at);
    is_end(due)
        && is_end(later)
        && subject(due) == subject(later)
        && due.at < later.at
        && plan.late_wakes().any(in_stall)
}

/// The period in which the Event of a violation is written if the violation begins to fire at this moment, in a gap or a stall.
fn noticed(plan: &Plan, moment: Timestamp) -> Option<(Timestamp, Timestamp)> {
    let second = moment.duration_since(at(0)).as_secs();
    let Some(gap) = plan.gap(second) else {
        return Some((moment, at(plan.late_wake(second)?)));
    };
    Some((at(gap.end), at(gap.end)))
}

/// The period in which the Event of a recovery at this moment is written, if a gap or a stall may have delayed it.
fn recovered(plan: &Plan, moment: Timestamp) -> Option<(Timestamp, Timestamp)> {
    let gaps = plan.gaps.iter().map(|gap| (gap.begin, gap.end));
    let periods = gaps
        .chain(plan.late_wakes())
        .map(|(begin, end)| (at(begin), at(end + KEEP)));
    let latest = periods.filter(|(begin, latest)| (*begin..=*latest).contains(&moment));
    Some((moment, latest.map(|(_, latest)| latest).max()?))
}
