//! Conversion, comparison and limits of statuses.

use std::sync::Arc;

use super::*;
use crate::domain::observation::Workload;
use crate::domain::summary::{
    CheckCounts, Images, Report, ReportCondition, ReportedViolation, RepositoryImages, VersionPods,
};
use crate::domain::violation::Subject;

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

pub(in crate::sink) fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

#[test]
fn a_status_reads_back_as_it_was_written() {
    let wanted = status(
        &report(1),
        &Writers::default(),
        None,
        at("2026-11-20T10:42:08.123Z"),
    );
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
fn checks_violations_and_images_that_were_not_applied_are_foreign() {
    let wanted = status(&report(1), &Writers::default(), None, at("2026-11-20T10:42:08Z"));
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
fn the_versions_of_images_are_compared() {
    let wanted = status(&report(1), &Writers::default(), None, at("2026-11-20T10:42:08Z"));
    let image = &wanted.images[0];
    assert_eq!(
        (&*image.repository, image.versions_omitted),
        ("docker.io/fluent/fluent-bit", 2)
    );
    assert_eq!(
        (&*image.versions[0].version, image.versions[0].pods),
        ("3.1.9", 4)
    );
    let changes: [fn(&mut PolicyStatus); 3] = [
        |status| status.images[0].versions[0].pods = 5,
        |status| status.images[0].versions_omitted = 0,
        |status| status.images_omitted = 0,
    ];
    for change in changes {
        let mut observed = wanted.clone();
        change(&mut observed);
        assert!(!is_current(&wanted, Some(&observed)));
    }
    let mut empty = report(0);
    empty.images = Images::default();
    let empty = status(&empty, &Writers::default(), None, at("2026-11-20T10:42:08Z"));
    let text = serde_json::to_string(&empty).unwrap();
    assert!(
        !text.contains("images"),
        "CRDs of older versions do not declare the fields: {text}"
    );
}

#[test]
fn a_detail_is_cut_to_the_limit_of_the_schema() {
    let mut report = report(1);
    report.violations[0].detail = "\u{e4}".repeat(MAX_DETAIL + 1);
    let wanted = status(&report, &Writers::default(), None, at("2026-11-20T10:42:08Z"));
    assert_eq!(wanted.violations[0].detail.chars().count(), MAX_DETAIL);
}

#[test]
fn a_status_is_valid_whatever_a_pod_contains() {
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
    let wanted = status(&report, &Writers::default(), None, at("2026-11-20T10:42:08Z"));
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
    let observed = status(&report(1), &Writers::default(), None, at("2026-11-20T10:00:00Z"));
    let times = |report: &Report| {
        let status = status(
            report,
            &Writers::default(),
            Some(&observed),
            at("2026-11-20T11:00:00Z"),
        );
        status
            .conditions
            .iter()
            .map(|c| c.last_transition_time.0.to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        times(&report(2)),
        ["2026-11-20T10:00:00Z"; 4],
        "only messages changed"
    );
    let healthy = [
        "2026-11-20T10:00:00Z",
        "2026-11-20T11:00:00Z",
        "2026-11-20T10:00:00Z",
        "2026-11-20T10:00:00Z",
    ];
    assert_eq!(times(&report(0)), healthy, "SidecarsHealthy became True");
}

#[test]
fn other_installations_are_a_condition_that_names_its_writer() {
    let at = at("2026-11-20T10:42:08Z");
    let conflict = |own: &str, other: &str, is_heartbeat| Writers {
        own: own.to_owned(),
        active: vec![other.to_owned()],
        is_heartbeat,
        ..Writers::default()
    };
    let exclusive = |status: &PolicyStatus| {
        let condition = status.conditions.iter().find(|c| c.type_ == EXCLUSIVE).unwrap();
        (condition.status.clone(), condition.message.clone())
    };
    let alone = status(&report(0), &Writers::default(), None, at);
    assert_eq!(exclusive(&alone).0, "True");
    assert!(!reports_conflict(Some(&alone)) && !reports_conflict(None));

    let first = status(&report(0), &conflict("a/x", "b/x", false), Some(&alone), at);
    let (value, message) = exclusive(&first);
    assert_eq!(value, "False");
    assert!(
        message.contains("Written by the installation a/x and also by b/x"),
        "{message}"
    );
    assert!(reports_conflict(Some(&first)));
    assert!(!is_current(&first, Some(&alone)));

    let second = status(&report(0), &conflict("b/x", "a/x", false), Some(&first), at);
    assert!(
        is_current(&second, Some(&first)),
        "the message of the other one stays"
    );
    let heartbeat = status(&report(0), &conflict("b/x", "a/x", true), Some(&first), at);
    assert!(exclusive(&heartbeat).1.contains("by the installation b/x"));
    let again = status(&report(0), &conflict("b/x", "a/x", true), Some(&heartbeat), at);
    assert!(is_current(&again, Some(&heartbeat)), "its own message stays");

    let after = status(&report(0), &Writers::default(), Some(&heartbeat), at);
    assert_eq!(exclusive(&after).0, "True");
    assert!(!is_current(&after, Some(&heartbeat)));
}
