//! Converts a [`Report`](summary::Report) to the `status` of the API, and compares it with an observed one.

use jiff::{Timestamp, Unit};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use serde_json::{Value, json};

use crate::{
    api::{CheckStatus, MAX_DETAIL, PolicyStatus, Severity, Summary, Violation, ViolationState},
    domain::{policy, summary, violation::Subject},
    telemetry::logging::printable,
};

/// Limits of the schema, in characters.
const MAX_LABEL: usize = 63;
const MAX_NAME: usize = 253;
const MAX_UID: usize = 128;
const MAX_WORKLOAD: usize = 317;
const MAX_MESSAGE: usize = 32_768;
/// Added to the message of the condition Ready when entries were refused.
const INCOMPLETE: &str = "The API server refused entries of this status: install the CRDs of this version";

/// Converts a report. A condition whose status is unchanged keeps its `lastTransitionTime`.
pub(super) fn status(
    report: &summary::Report,
    observed: Option<&PolicyStatus>,
    now: Timestamp,
) -> PolicyStatus {
    let summary::Report {
        generation,
        conditions,
        summary,
        checks,
        violations,
        omitted,
    } = report;
    let before = observed
        .map(|status| status.conditions.as_slice())
        .unwrap_or_default();
    PolicyStatus {
        observed_generation: Some(*generation),
        conditions: conditions
            .iter()
            .map(|c| condition(c, *generation, before, now))
            .collect(),
        summary: Some(Summary {
            pods: summary.pods,
            sidecars: summary.sidecars,
            mains: summary.mains,
            firing: summary.firing,
            pending: summary.pending,
            without_readiness_probe: summary.without_readiness_probe,
        }),
        checks: checks
            .iter()
            .map(|counts| CheckStatus {
                check: counts.check.into(),
                firing: counts.firing,
                pending: counts.pending,
            })
            .collect(),
        violations: violations.iter().map(violation).collect(),
        violations_omitted: *omitted,
    }
}

/// Reports whether the observed status equals the wanted one. Conditions of other writers do not count.
pub(super) fn is_current(wanted: &PolicyStatus, observed: Option<&PolicyStatus>) -> bool {
    let Some(observed) = observed else { return false };
    let PolicyStatus {
        observed_generation,
        conditions,
        summary,
        checks,
        violations,
        violations_omitted,
    } = wanted;
    *observed_generation == observed.observed_generation
        && conditions
            .iter()
            .all(|condition| observed.conditions.contains(condition))
        && *summary == observed.summary
        && *checks == observed.checks
        && *violations == observed.violations
        && *violations_omitted == observed.violations_omitted
}

/// Reports whether an applied status still has checks or violations that were not applied. Server-side apply keeps them if
/// another field manager owns them. Conditions of other types stay.
pub(super) fn has_foreign_entries(wanted: &PolicyStatus, applied: &PolicyStatus) -> bool {
    let is_wanted = |entry: &CheckStatus| wanted.checks.iter().any(|check| check.check == entry.check);
    let only_foreign = wanted.violations.is_empty() && !applied.violations.is_empty();
    only_foreign || !applied.checks.iter().all(is_wanted)
}

/// Returns a merge patch of `status` that removes these entries: it replaces both lists. Null removes a list.
pub(super) fn without_foreign_entries(wanted: &PolicyStatus) -> Value {
    let checks = (!wanted.checks.is_empty()).then_some(&wanted.checks);
    let violations = (!wanted.violations.is_empty()).then_some(&wanted.violations);
    json!({ "checks": checks, "violations": violations })
}

fn condition(
    wanted: &summary::ReportCondition,
    generation: i64,
    before: &[Condition],
    now: Timestamp,
) -> Condition {
    let status = match wanted.status {
        Some(true) => "True",
        Some(false) => "False",
        None => "Unknown",
    };
    let before = before
        .iter()
        .find(|c| c.type_ == wanted.kind && c.status == status);
    Condition {
        type_: wanted.kind.to_owned(),
        status: status.to_owned(),
        reason: wanted.reason.to_owned(),
        message: bounded(&wanted.message, MAX_MESSAGE),
        observed_generation: Some(generation),
        last_transition_time: before.map_or_else(|| time(now), |c| c.last_transition_time.clone()),
    }
}

fn violation(reported: &summary::ReportedViolation) -> Violation {
    let summary::ReportedViolation { violation, detail } = reported;
    let Subject::Container(subject) = &violation.subject;
    Violation {
        check: violation.check.into(),
        state: if violation.firing {
            ViolationState::Firing
        } else {
            ViolationState::Pending
        },
        severity: match violation.severity {
            policy::Severity::Info => Severity::Info,
            policy::Severity::Warning => Severity::Warning,
            policy::Severity::Critical => Severity::Critical,
        },
        namespace: bounded(&subject.namespace, MAX_LABEL),
        workload: bounded(&subject.workload.to_string(), MAX_WORKLOAD),
        pod: bounded(&subject.pod, MAX_NAME),
        pod_uid: bounded(&subject.uid, MAX_UID),
        container: bounded(&subject.container, MAX_LABEL),
        native: subject.native,
        since: time(violation.onset),
        detail: bounded(detail, MAX_DETAIL),
    }
}

/// Rounds a time down to whole seconds, the precision of the API, so that a read returns the status that was written. A
/// time before 1970 becomes 1970, because the API requires a year of four digits.
fn time(at: Timestamp) -> Time {
    let whole = jiff::TimestampRound::new()
        .smallest(Unit::Second)
        .mode(jiff::RoundMode::Floor);
    let at = at.max(Timestamp::UNIX_EPOCH);
    Time(at.round(whole).unwrap_or(at))
}

/// Cuts a text to the limit of the schema, which counts characters, and replaces control characters. Users of the
/// cluster choose parts of most texts, and the API server refuses the whole status for one invalid text.
fn bounded(text: &str, max_chars: usize) -> String {
    text.chars().take(max_chars).map(printable).collect()
}

/// Returns the status without the entries that the API server refused, or `None` if no entry is left to remove.
///
/// `invalid_fields` are the fields that a response 422 lists, such as `status.violations[0].workload`. If it lists no
/// entry, all entries are removed. The counts and conditions stay, and the condition Ready reports that the status is
/// incomplete. An older CRD, for example, refuses the name of a new check.
pub(super) fn without_refused(status: &PolicyStatus, invalid_fields: &[String]) -> Option<PolicyStatus> {
    if status.violations.is_empty() && status.checks.is_empty() {
        return None;
    }
    let is_named = |list: &str, index: usize| {
        let entry = format!("status.{list}[{index}]");
        invalid_fields.iter().any(|field| field.starts_with(&entry))
    };
    let mut reduced = status.clone();
    reduced.violations = kept(&status.violations, |index| !is_named("violations", index));
    reduced.checks = kept(&status.checks, |index| !is_named("checks", index));
    if reduced == *status {
        reduced.violations.clear();
        reduced.checks.clear();
    }
    let removed = status.violations.len() - reduced.violations.len();
    let removed = u32::try_from(removed).unwrap_or(u32::MAX);
    reduced.violations_omitted = status.violations_omitted.saturating_add(removed);
    if let Some(ready) = reduced.conditions.iter_mut().find(|c| c.type_ == "Ready")
        && !ready.message.contains(INCOMPLETE)
    {
        ready.message = bounded(&format!("{}. {INCOMPLETE}", ready.message), MAX_MESSAGE);
    }
    Some(reduced)
}

fn kept<T: Clone>(entries: &[T], is_kept: impl Fn(usize) -> bool) -> Vec<T> {
    let entries = entries.iter().enumerate();
    entries
        .filter(|(index, _)| is_kept(*index))
        .map(|(_, entry)| entry.clone())
        .collect()
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::domain::observation::Workload;
    use crate::domain::summary::{CheckCounts, Report, ReportCondition, ReportedViolation};

    pub(in crate::sink) fn report(firing: u32) -> Report {
        let condition = |kind, status| ReportCondition {
            kind,
            status,
            reason: "Reason",
            message: format!("{firing} fail"),
        };
        Report {
            generation: 3,
            conditions: [
                condition("Ready", Some(true)),
                condition("SidecarsHealthy", Some(firing == 0)),
                condition("TargetsFound", None),
            ],
            summary: summary::Summary {
                pods: 4,
                firing,
                ..summary::Summary::default()
            },
            checks: vec![CheckCounts {
                check: policy::Check::OOMKilled,
                firing,
                pending: 0,
            }],
            violations: vec![ReportedViolation {
                violation: crate::domain::testing::violation(policy::Check::OOMKilled, "fluent-bit"),
                detail: "limit 64Mi".to_owned(),
            }],
            omitted: 0,
        }
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_status_reads_back_as_it_was_written() {
        let wanted = status(&report(1), None, at("2026-11-20T10:42:08.123Z"));
        let text = serde_json::to_string(&wanted).unwrap();
        assert!(
            text.contains(r#""since":"2026-11-20T10:42:07Z""#),
            "whole seconds: {text}"
        );
        assert!(text.contains(r#""check":"OOMKilled""#), "{text}");
        let mut observed: PolicyStatus = serde_json::from_str(&text).unwrap();
        assert!(is_current(&wanted, Some(&observed)), "nothing to write");
        let mut foreign = observed.conditions[0].clone();
        foreign.type_ = "Reviewed".to_owned();
        observed.conditions.insert(0, foreign);
        assert!(
            is_current(&wanted, Some(&observed)),
            "a condition of another writer"
        );
        assert!(!is_current(&wanted, None), "a policy without status");
    }

    #[test]
    fn checks_and_violations_that_were_not_applied_are_foreign() {
        let wanted = status(&report(1), None, at("2026-11-20T10:42:08Z"));
        assert!(!has_foreign_entries(&wanted, &wanted));
        let mut applied = wanted.clone();
        applied.conditions[0].type_ = "Reviewed".to_owned();
        assert!(
            !has_foreign_entries(&wanted, &applied),
            "a condition of another writer"
        );
        applied.checks.push(CheckStatus {
            check: policy::Check::Flapping.into(),
            firing: 3,
            pending: 0,
        });
        assert!(has_foreign_entries(&wanted, &applied), "a check");
        let mut none = wanted.clone();
        none.violations.clear();
        assert!(has_foreign_entries(&none, &wanted), "violations");
    }

    #[test]
    fn a_detail_is_cut_to_the_limit_of_the_schema() {
        let mut report = report(1);
        report.violations[0].detail = "\u{e4}".repeat(MAX_DETAIL + 1);
        let wanted = status(&report, None, at("2026-11-20T10:42:08Z"));
        assert_eq!(wanted.violations[0].detail.chars().count(), MAX_DETAIL);
    }

    #[test]
    fn a_status_is_valid_whatever_a_pod_contains() {
        let mut report = report(1);
        report.conditions[1].message = "m\u{1b}".repeat(40_000);
        let Subject::Container(subject) = &mut report.violations[0].violation.subject;
        subject.namespace = "n".repeat(400).into();
        subject.workload = Arc::new(Workload {
            kind: "K".repeat(400).into(),
            name: "web".into(),
        });
        subject.pod = "p".repeat(400).into();
        subject.container = "c\n".repeat(400).into();
        report.violations[0].violation.onset = Timestamp::MIN;
        report.violations[0].detail = "\u{e4}\u{202e}".repeat(MAX_DETAIL);
        let wanted = status(&report, None, at("2026-11-20T10:42:08Z"));
        let violation = &wanted.violations[0];
        let table = [
            (&violation.namespace, 63),
            (&violation.workload, 317),
            (&violation.pod, 253),
            (&violation.container, 63),
            (&violation.detail, MAX_DETAIL),
            (&wanted.conditions[1].message, 32_768),
        ];
        for (text, limit) in table {
            assert_eq!(text.chars().count(), limit);
            assert!(text.chars().all(|c| !c.is_control() && c != '\u{202e}'), "{text}");
        }
        assert_eq!(violation.since.0, Timestamp::UNIX_EPOCH, "a year of four digits");
    }

    #[test]
    fn refused_entries_are_removed_and_counted() {
        let mut report = report(1);
        report.violations = vec![report.violations[0].clone(); 3];
        let wanted = status(&report, None, at("2026-11-20T10:42:08Z"));
        let fields = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let table = [
            (&["status.violations[1].workload"][..], 2, 1, 1, "one violation"),
            (
                &["status.violations[0].x", "status.violations[2]"],
                1,
                1,
                2,
                "two violations",
            ),
            (&["status.checks[0].check"], 3, 0, 0, "a check"),
            (
                &["status.summary"],
                0,
                0,
                3,
                "a field that is not an entry: all entries",
            ),
            (&[], 0, 0, 3, "no field: all entries"),
        ];
        for (names, violations, checks, omitted, why) in table {
            let reduced = without_refused(&wanted, &fields(names)).unwrap();
            assert_eq!(reduced.violations.len(), violations, "{why}");
            assert_eq!(reduced.checks.len(), checks, "{why}");
            assert_eq!(reduced.violations_omitted, omitted, "{why}");
            assert!(
                reduced.conditions[0].message.contains("CRDs"),
                "{why}: the Ready condition says so"
            );
        }
        report.violations.clear();
        report.checks.clear();
        let empty = status(&report, None, at("2026-11-20T10:42:08Z"));
        assert_eq!(without_refused(&empty, &[]), None, "nothing left to remove");
    }

    #[test]
    fn a_transition_time_changes_only_with_the_status() {
        let observed = status(&report(1), None, at("2026-11-20T10:00:00Z"));
        let times = |report: &Report| {
            let status = status(report, Some(&observed), at("2026-11-20T11:00:00Z"));
            status
                .conditions
                .iter()
                .map(|c| c.last_transition_time.0.to_string())
                .collect::<Vec<_>>()
        };
        assert_eq!(
            times(&report(2)),
            ["2026-11-20T10:00:00Z"; 3],
            "only messages changed"
        );
        let healthy = [
            "2026-11-20T10:00:00Z",
            "2026-11-20T11:00:00Z",
            "2026-11-20T10:00:00Z",
        ];
        assert_eq!(times(&report(0)), healthy, "SidecarsHealthy became True");
    }
}
