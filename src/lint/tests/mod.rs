//! Tests of the rules: tables of bad and good Pods.

mod edits;
mod exemptions;
mod jobs;
mod places;
mod probes;
mod sidecars;
mod start_and_stop;
mod suppressions;

use std::collections::BTreeSet;

use jiff::Timestamp;
use testkit::lint_fixtures::{self, Fixtures};

use super::{Linter, finding::Finding};

/// The time of the run.
fn now() -> Timestamp {
    "2026-03-01T12:00:00Z".parse().unwrap()
}

/// Returns an object with a Pod spec in flow style. Containers that start with their name and have no image get one, because
/// a container without an image is a patch.
fn object(kind: &str, spec: &str) -> String {
    lint_fixtures::object(kind, &with_images(spec))
}

fn with_images(spec: &str) -> String {
    let mut parts = spec.split("{name: ");
    let mut text = parts.next().unwrap_or_default().to_owned();
    let mut rest = &spec[text.len()..];
    for part in parts {
        let mut depth = 0;
        let end = rest.find(|c: char| {
            depth += i32::from(c == '{') - i32::from(c == '}');
            depth == 0
        });
        let has_image = rest[..end.unwrap_or(rest.len())].contains("image: ");
        text += if has_image {
            "{name: "
        } else {
            "{image: 'own/image:1.0', name: "
        };
        text += part;
        rest = &rest["{name: ".len() + part.len()..];
    }
    text
}

/// Returns all findings in a text that can be parsed.
fn lint(text: &str) -> Vec<Finding> {
    let mut linter = Linter::new(BTreeSet::new(), Vec::new(), Vec::new(), now()).unwrap();
    let report = linter.lint(text);
    assert!(report.errors.is_empty(), "{:?}\n{text}", report.errors);
    assert!(linter.templates > 0, "no Pod template in\n{text}");
    report.findings
}

/// Returns the findings of one rule, as `Severity path`.
fn found(code: &str, text: &str) -> Vec<String> {
    let findings = lint(text).into_iter().filter(|finding| finding.code == code);
    findings
        .map(|finding| format!("{} {}", finding.severity.as_str(), finding.path))
        .collect()
}

/// Asserts that each bad Pod spec has one finding of a rule, and that the good ones have none.
fn assert_rule<B: AsRef<str>, G: AsRef<str>>(code: &str, kind: &str, bad: &[(B, &str)], good: &[G]) {
    assert_bad(code, kind, bad);
    assert_good(code, kind, good);
}

/// Asserts that each Pod spec has one finding of a rule. `expected` is its severity and its path in the Pod spec.
fn assert_bad<S: AsRef<str>>(code: &str, kind: &str, bad: &[(S, &str)]) {
    let prefix = match kind {
        "Pod" => "spec.",
        "CronJob" => "spec.jobTemplate.spec.template.spec.",
        _ => "spec.template.spec.",
    };
    for (spec, expected) in bad {
        let text = object(kind, spec.as_ref());
        let (severity, path) = expected.split_once(' ').unwrap();
        let expected = format!("{severity} {prefix}{path}");
        assert_eq!(found(code, &text), [expected], "{code} in\n{text}");
    }
}

/// Asserts that the Pod specs have no finding of a rule.
fn assert_good<S: AsRef<str>>(code: &str, kind: &str, good: &[S]) {
    for spec in good {
        let text = object(kind, spec.as_ref());
        assert_eq!(found(code, &text), [""; 0], "{code} in\n{text}");
    }
}

/// Asserts the findings of a rule in the Pod specs that the tests of admission use too.
fn assert_fixtures(fixtures: &Fixtures) {
    for kind in fixtures.kinds {
        assert_rule(fixtures.code, kind, fixtures.bad, fixtures.good);
    }
}
