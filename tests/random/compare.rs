//! Two runs of one story, side by side: what the operator shows, and the Events that it left.

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
    plan::{Kind, Plan, UNWRITTEN},
    policies::{KEEP, Stored},
};

/// Policy, namespace, Pod, container, check.
type Key = (String, String, String, String, Check);
/// Whether it fires, how bad it is, what may be done about it, its onset.
type Violation = (bool, Severity, Mode, Timestamp);

/// What the operator shows at a moment.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Picture {
    violations: BTreeMap<Key, Violation>,
    /// The statuses by policy, without the times of their conditions.
    pub(crate) statuses: BTreeMap<&'static str, Value>,
    /// How many violations fired since the operator began, by policy and check.
    fired: BTreeMap<(String, Check), u64>,
    /// Restarts since the operator began, by policy and series.
    restarts: BTreeMap<String, u64>,
    pods: usize,
}

impl Picture {
    pub(crate) fn of<'a>(index: &Index, policies: impl Iterator<Item = &'a Stored>) -> Self {
        let violations = index.violations().map(|v| {
            let policy = v.policy.name.to_string();
            let key = (
                policy,
                v.namespace.to_owned(),
                v.pod.to_owned(),
                v.container.to_owned(),
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
                .map(|policy| (policy.name, reported(&index.report(&policy.key()).unwrap())))
                .collect(),
            fired: fired.collect(),
            restarts: restarts.collect(),
            pods: index.tracked_pods(),
        }
    }

    /// That two runs show the same of one policy.
    pub(crate) fn assert_same_of(&self, policy: &str, other: &Self) {
        let of = |picture: &Self| -> BTreeMap<Key, Violation> {
            picture
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

    /// That two runs show the same. Counters begin anew with an operator, and so are compared only where it lives through
    /// the story.
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

/// A report as a status shows it.
fn reported(report: &Report) -> Value {
    let conditions = report.conditions.iter().map(|c| {
        let status = c
            .status
            .map_or("Unknown", |holds| if holds { "True" } else { "False" });
        json!([c.kind, status, c.reason, c.message])
    });
    let violations = report.violations.iter().map(|v| {
        let severity = format!("{:?}", v.severity);
        json!([
            v.check.as_str(),
            v.firing,
            severity,
            *v.namespace,
            v.workload,
            *v.pod,
            *v.container,
            v.native,
            v.since.as_second(),
            v.detail
        ])
    });
    let checks = report
        .checks
        .iter()
        .map(|c| json!([c.check.as_str(), c.firing, c.pending]));
    let s = &report.summary;
    json!({
        "generation": report.generation, "omitted": report.omitted,
        "conditions": conditions.collect::<Value>(), "violations": violations.collect::<Value>(),
        "checks": checks.collect::<Value>(),
        "summary": [s.pods, s.sidecars, s.mains, s.firing, s.pending, s.without_readiness_probe],
    })
}

/// A status in the same form.
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
    let s = status.summary.as_ref().unwrap();
    json!({
        "generation": status.observed_generation, "omitted": status.violations_omitted,
        "conditions": conditions.collect::<Value>(), "violations": violations.collect::<Value>(),
        "checks": checks.collect::<Value>(),
        "summary": [s.pods, s.sidecars, s.mains, s.firing, s.pending, s.without_readiness_probe],
    })
}

/// An Event as the API server holds it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Told {
    pub(crate) pod_uid: String,
    field_path: String,
    pub(crate) reason: String,
    warning: bool,
    note: String,
    at: Timestamp,
    pub(crate) count: u32,
}

impl Told {
    pub(crate) fn new(event: &Event, count: u32) -> Self {
        Self {
            pod_uid: event.pod_uid.to_string(),
            field_path: event.field_path.clone(),
            reason: event.reason.to_owned(),
            warning: event.warning,
            note: event.note.clone(),
            at: event.at,
            count,
        }
    }

    /// From an object of the API server.
    pub(crate) fn read(object: &Value) -> Self {
        let text = |place: &str| object.pointer(place).unwrap().as_str().unwrap().to_owned();
        Self {
            pod_uid: text("/regarding/uid"),
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

/// That a disturbed run left the Events of the undisturbed one, but for
/// * their time and words, where something was noticed late: what begins to fire while nobody looks is told when somebody
///   does, and a recovery may come as much later as its beginning was noticed late;
/// * how often a new episode raised an old Event, which only one process knows;
/// * what an operator could not write before it ended, when its status already told of it.
pub(crate) fn assert_same_events(
    expected: &BTreeMap<String, Told>,
    found: &BTreeMap<String, Told>,
    plan: &Plan,
) {
    for (name, told) in found {
        assert!(
            expected.contains_key(name),
            "an Event that nothing asked for: {name} {told:?}"
        );
    }
    for (name, told) in expected {
        let lost = lost(plan, told.at);
        let Some(found) = found.get(name) else {
            assert!(lost.is_some(), "an Event is missing: {name} {told:?}");
            continue;
        };
        let like_told = Told {
            count: found.count,
            ..told.clone()
        };
        if *found != like_told {
            let late = if told.warning {
                noticed(plan, told.at)
            } else {
                recovered(plan, told.at)
            };
            let in_time = late.is_some_and(|(from, to)| (from..=to).contains(&found.at));
            let again = lost.is_some_and(|end| found.at == end);
            assert!(in_time || again, "{name} is {found:?} instead of {told:?}");
            let but_for_time = Told {
                note: found.note.clone(),
                at: found.at,
                ..like_told
            };
            assert_eq!(*found, but_for_time, "{name}");
        }
        if plan.restarts {
            assert!(
                found.count <= told.count,
                "{name} was raised too often: {found:?}, {told:?}"
            );
        } else {
            assert_eq!(found.count, told.count, "{name}");
        }
    }
}

/// When it is told that something began to fire at a moment at which nobody looked.
fn noticed(plan: &Plan, moment: Timestamp) -> Option<(Timestamp, Timestamp)> {
    let end = plan.blind(moment.duration_since(at(0)).as_secs())?.end;
    Some((at(end), at(end)))
}

/// When it is told that something resolved at a moment, if its end may have come while nobody looked.
fn recovered(plan: &Plan, moment: Timestamp) -> Option<(Timestamp, Timestamp)> {
    let blind = plan.blinds.iter().rev().find(|blind| at(blind.begin) <= moment)?;
    let latest = at(blind.end + KEEP);
    (moment <= latest).then_some((moment, latest))
}

/// Where an operator ended soon after this moment, while writes did not get through: when its successor began to look.
fn lost(plan: &Plan, moment: Timestamp) -> Option<Timestamp> {
    let end = plan.blinds.iter().find(|blind| {
        let is_end = matches!(blind.kind, Kind::Restarted { .. });
        let since = plan.unwritten_since(blind.begin);
        let was_ill = since < blind.begin - UNWRITTEN;
        is_end && was_ill && (at(since)..=at(blind.begin)).contains(&moment)
    });
    end.map(|blind| at(blind.end))
}
