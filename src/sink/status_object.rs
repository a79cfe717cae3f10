//! Converts a [`Report`](summary::Report) to the `status` of the API, and compares it with an observed one.

use jiff::{Timestamp, Unit};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use crate::{
    api::{CheckStatus, MAX_DETAIL, PolicyStatus, Severity, Summary, Violation, ViolationState},
    domain::{policy, summary, violation::Subject},
};

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
        message: wanted.message.clone(),
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
        namespace: subject.namespace.to_string(),
        workload: subject.workload.to_string(),
        pod: subject.pod.to_string(),
        container: subject.container.to_string(),
        native: subject.native,
        since: time(violation.onset),
        // It contains reasons that anyone with write access to Pod statuses chooses. A longer text would make the API
        // server refuse the whole status.
        detail: detail.chars().take(MAX_DETAIL).collect(),
    }
}

/// Rounds a time down to whole seconds, the precision of the API, so that the status reads back as it was written.
fn time(at: Timestamp) -> Time {
    let whole = jiff::TimestampRound::new()
        .smallest(Unit::Second)
        .mode(jiff::RoundMode::Floor);
    Time(at.round(whole).unwrap_or(at))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
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
    fn a_detail_is_cut_to_the_limit_of_the_schema() {
        let mut report = report(1);
        report.violations[0].detail = "\u{e4}".repeat(MAX_DETAIL + 1);
        let wanted = status(&report, None, at("2026-11-20T10:42:08Z"));
        assert_eq!(wanted.violations[0].detail.chars().count(), MAX_DETAIL);
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
