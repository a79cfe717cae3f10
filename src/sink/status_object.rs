//! Converts a [`Report`](summary::Report) to the `status` of the API, and compares it with an applied one.

use jiff::{Timestamp, Unit};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use serde_json::{Value, json};

use crate::{
    api::{
        CheckStatus, ImageStatus, MAX_DETAIL, MAX_REPOSITORY, MAX_VERSION, PolicyStatus, Severity, Summary,
        VersionStatus, Violation, ViolationState,
    },
    domain::{policy, summary},
    telemetry::logging::printable,
};

/// Limits of the schema, in characters.
pub(super) const MAX_LABEL: usize = 63;
pub(super) const MAX_NAME: usize = 253;
const MAX_UID: usize = 128;
const MAX_WORKLOAD: usize = 317;
pub(super) const MAX_MESSAGE: usize = 32_768;

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
        images,
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
        images: images.repositories.iter().map(image).collect(),
        images_omitted: images.omitted,
    }
}

/// Reports whether an applied status still has checks, violations or images that were not applied. Server-side apply keeps
/// them if another field manager owns them. Conditions of other types stay.
pub(super) fn has_foreign_entries(wanted: &PolicyStatus, applied: &PolicyStatus) -> bool {
    let is_wanted = |entry: &CheckStatus| wanted.checks.iter().any(|check| check.check == entry.check);
    let only_foreign = wanted.violations.is_empty() && !applied.violations.is_empty();
    let only_foreign = only_foreign || wanted.images.is_empty() && !applied.images.is_empty();
    only_foreign || !applied.checks.iter().all(is_wanted)
}

/// Returns a merge patch of `status` that removes these entries: it replaces these lists. Null removes a list.
pub(super) fn without_foreign_entries(wanted: &PolicyStatus) -> Value {
    let checks = (!wanted.checks.is_empty()).then_some(&wanted.checks);
    let violations = (!wanted.violations.is_empty()).then_some(&wanted.violations);
    let images = (!wanted.images.is_empty()).then_some(&wanted.images);
    json!({ "checks": checks, "violations": violations, "images": images })
}

pub(super) fn condition(
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
    let subject = &violation.subject;
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
        namespace: bounded(subject.namespace(), MAX_LABEL),
        workload: bounded(&subject.workload().to_string(), MAX_WORKLOAD),
        pod: bounded(subject.pod(), MAX_NAME),
        pod_uid: bounded(subject.uid(), MAX_UID),
        container: bounded(subject.container(), MAX_LABEL),
        image: bounded(subject.image(), MAX_REPOSITORY),
        native: subject.is_native(),
        since: time(violation.onset),
        detail: bounded(detail, MAX_DETAIL),
    }
}

fn image(images: &summary::RepositoryImages) -> ImageStatus {
    let summary::RepositoryImages {
        repository,
        versions,
        omitted,
        omitted_pods: _,
    } = images;
    let versions = versions.iter().map(|version| VersionStatus {
        version: bounded(&version.version, MAX_VERSION),
        pods: version.pods,
    });
    ImageStatus {
        repository: bounded(repository, MAX_REPOSITORY),
        versions: versions.collect(),
        versions_omitted: *omitted,
    }
}

/// Rounds a time down to whole seconds, the precision of the API, so that a read returns the status that was written. A
/// time before 1970 becomes 1970, because the API requires a year of four digits.
pub(super) fn time(at: Timestamp) -> Time {
    let whole = jiff::TimestampRound::new()
        .smallest(Unit::Second)
        .mode(jiff::RoundMode::Floor);
    let at = at.max(Timestamp::UNIX_EPOCH);
    Time(at.round(whole).unwrap_or(at))
}

/// Cuts a text to the limit of the schema, which counts characters, and replaces control characters. Users of the
/// cluster choose parts of most texts, and the API server refuses the whole status for one invalid text.
pub(super) fn bounded(text: &str, max_chars: usize) -> String {
    text.chars().take(max_chars).map(printable).collect()
}

#[cfg(test)]
pub(super) mod tests;
