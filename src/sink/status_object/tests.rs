//! Conversion, comparison and limits of statuses.

use std::sync::Arc;

use super::*;
use crate::{
    domain::{
        observation::Workload,
        summary::{
            CheckCounts, Images, Report, ReportCondition, ReportedViolation, RepositoryImages, VersionPods,
        },
        violation::Subject,
    },
    sink::StatusContent,
};

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
        images: Images {
            repositories: vec![RepositoryImages {
                repository: "docker.io/fluent/fluent-bit".into(),
                versions: vec![VersionPods {
                    version: "3.1.9".into(),
                    pods: 4,
                }],
                omitted: 2,
                omitted_pods: 3,
            }],
            omitted: 1,
            omitted_pods: 1,
        },
    }
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// The status of a new policy without other installations.
pub(in crate::sink) fn first_status(report: &Report) -> PolicyStatus {
    status(report, None, at("2026-11-20T10:42:08.123Z"))
}

#[test]
fn a_status_is_read_back_as_it_was_written() {
    let wanted = first_status(&report(1));
    let text = serde_json::to_string(&wanted).unwrap();
    assert!(
        text.contains(r#""since":"2026-11-20T10:42:07Z""#),
        "whole seconds: {text}"
    );
    assert!(text.contains(r#""check":"OOMKilled""#), "{text}");
    let mut observed: PolicyStatus = serde_json::from_str(&text).unwrap();
    assert!(wanted.is_current(Some(&observed)), "nothing to write");
    let mut foreign = observed.conditions[0].clone();
    foreign.type_ = "Reviewed".to_owned();
    observed.conditions.insert(0, foreign);
    assert!(
        wanted.is_current(Some(&observed)),
        "a condition of another writer"
    );
    assert!(!wanted.is_current(None), "a policy without a status");
}

#[test]
fn checks_violations_and_images_that_were_not_applied_are_foreign() {
    let wanted = first_status(&report(1));
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
    let mut none = wanted.clone();
    none.images.clear();
    assert!(has_foreign_entries(&none, &wanted), "images");
}

#[test]
fn every_field_is_compared() {
    let wanted = first_status(&report(1));
    let image = &wanted.images[0];
    assert_eq!(
        (&*image.repository, image.versions_omitted),
        ("docker.io/fluent/fluent-bit", 2)
    );
    assert_eq!(
        (&*image.versions[0].version, image.versions[0].pods),
        ("3.1.9", 4)
    );
    let changes: [fn(&mut PolicyStatus); 9] = [
        |status| status.observed_generation = None,
        |status| status.conditions[0].message.clear(),
        |status| status.summary = None,
        |status| status.checks.clear(),
        |status| status.violations.clear(),
        |status| status.violations_omitted = 1,
        |status| status.images[0].versions[0].pods = 5,
        |status| status.images[0].versions_omitted = 0,
        |status| status.images_omitted = 0,
    ];
    for change in changes {
        let mut observed = wanted.clone();
        change(&mut observed);
        assert!(!wanted.is_current(Some(&observed)), "{observed:?}");
    }
    let mut empty = report(0);
    empty.images = Images::default();
    let text = serde_json::to_string(&first_status(&empty)).unwrap();
    assert!(
        !text.contains("images"),
        "CRDs of older versions do not declare the fields: {text}"
    );
}

#[test]
fn texts_of_a_pod_are_within_the_limits_of_the_schema() {
    let mut report = report(1);
    report.conditions[1].message = "m\u{1b}".repeat(40_000);
    let Subject::Container(subject) = &mut report.violations[0].violation.subject else {
        panic!("a violation of a container");
    };
    subject.namespace = "n".repeat(400).into();
    subject.workload = Arc::new(Workload {
        kind: "K".repeat(400).into(),
        name: "web".into(),
    });
    subject.pod = "p".repeat(400).into();
    subject.container = "c\n".repeat(400).into();
    report.violations[0].violation.onset = Timestamp::MIN;
    report.violations[0].detail = "\u{e4}\u{202e}".repeat(MAX_DETAIL);
    let wanted = first_status(&report);
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
fn a_transition_time_changes_only_with_the_status() {
    let [before, now] = ["2026-11-20T10:00:00Z", "2026-11-20T11:00:00Z"].map(at);
    let observed = status(&report(1), None, before);
    let times = |report: &Report| -> Vec<Timestamp> {
        let status = status(report, Some(&observed), now);
        let conditions = status.conditions.iter();
        conditions.map(|c| c.last_transition_time.0).collect()
    };
    assert_eq!(times(&report(2)), [before; 3], "only messages changed");
    assert_eq!(
        times(&report(0)),
        [before, now, before],
        "SidecarsHealthy became True"
    );
}
