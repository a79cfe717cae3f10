//! Recordings of real kubelets, and what must be found in them. The form is told in `tests/traces/README.md`.
//!
//! They are in `tests/traces`; `SIDEWATCH_TRACES` names another directory of the same form.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test support that panics where its expectation fails"
)]
#![allow(
    dead_code,
    unreachable_pub,
    reason = "included by several tests, each of which uses its part"
)]

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

#[derive(Deserialize)]
struct Expected {
    tolerance_seconds: f64,
    policies: BTreeMap<String, serde_json::Value>,
    traces: BTreeMap<String, BTreeMap<String, Verdict>>,
}

#[derive(Clone, Deserialize)]
struct Verdict {
    end: f64,
    violations: Vec<Violation>,
}

/// A violation that fired. All times are seconds since the recorder started.
#[derive(Clone, Debug, Deserialize)]
pub struct Violation {
    pub namespace: String,
    pub pod: String,
    pub container: String,
    pub check: String,
    pub onset: f64,
    pub firing: f64,
    /// Without it, it still fires at the end.
    pub resolved: Option<f64>,
    /// It may be there or not.
    #[serde(default)]
    pub optional: bool,
}

/// One watch event.
#[derive(Deserialize)]
pub struct Line {
    pub t: f64,
    pub wall: Timestamp,
    #[serde(rename = "type")]
    pub kind: String,
    pub object: serde_json::Value,
}

/// A recording with what must be found in it under one policy.
#[derive(Clone)]
pub struct Recording {
    pub name: String,
    file: PathBuf,
    pub policy: String,
    /// The spec of that policy.
    pub spec: serde_json::Value,
    /// Until when time goes on after the last event.
    pub end: f64,
    pub violations: Vec<Violation>,
    pub tolerance: f64,
}

/// Every recording under each of its policies.
pub fn all() -> Vec<Recording> {
    let directory = std::env::var_os("SIDEWATCH_TRACES").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/traces"),
        PathBuf::from,
    );
    let file = directory.join("expected.json");
    let text = std::fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let expected: Expected = serde_json::from_slice(&text).expect("expected.json has the documented form");
    let (policies, tolerance) = (expected.policies, expected.tolerance_seconds);
    let mut recordings = Vec::new();
    for (name, verdicts) in expected.traces {
        assert!(!verdicts.is_empty(), "{name} without a verdict proves nothing");
        for (policy, Verdict { end, violations }) in verdicts {
            recordings.push(Recording {
                file: directory.join(format!("{name}.jsonl")),
                spec: policies[&policy].clone(),
                name: name.clone(),
                policy,
                end,
                violations,
                tolerance,
            });
        }
    }
    assert!(!recordings.is_empty(), "{} names no trace", file.display());
    recordings
}

impl Recording {
    /// The events, and the instant at which the recorder started.
    pub fn lines(&self) -> (Timestamp, Vec<Line>) {
        let text = std::fs::read_to_string(&self.file)
            .unwrap_or_else(|error| panic!("{}: {error}", self.file.display()));
        let line = |text| serde_json::from_str(text).expect("a line of a recording has the documented form");
        let lines: Vec<Line> = text.lines().map(line).collect();
        let first = lines.first().expect("a recording without events proves nothing");
        (first.wall - SignedDuration::from_secs_f64(first.t), lines)
    }

    /// What is missing in `found`, and what should not be there.
    pub fn differences(&self, found: &[Violation]) -> Vec<String> {
        let close = |a: f64, b: f64| (a - b).abs() <= self.tolerance;
        let same = |e: &Violation, f: &Violation| {
            (&e.namespace, &e.pod, &e.container, &e.check) == (&f.namespace, &f.pod, &f.container, &f.check)
                && close(e.onset, f.onset)
                && close(e.firing, f.firing)
                && match (e.resolved, f.resolved) {
                    (None, None) => true,
                    (Some(a), Some(b)) => close(a, b),
                    _ => false,
                }
        };
        let mut unmatched: Vec<&Violation> = found.iter().collect();
        let mut differences = Vec::new();
        for violation in &self.violations {
            match unmatched.iter().position(|found| same(violation, found)) {
                Some(place) => drop(unmatched.remove(place)),
                None if violation.optional => {}
                None => differences.push(format!("missing {violation:?}")),
            }
        }
        differences.extend(
            unmatched
                .into_iter()
                .map(|violation| format!("not expected {violation:?}")),
        );
        differences
    }
}
