//! Recordings of real kubelets, and the violations expected in them.
//!
//! They are in `tests/traces`, where `README.md` describes the format. `SIDEWATCH_TRACES` names another directory.

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
    traces: BTreeMap<String, BTreeMap<String, Expectation>>,
}

#[derive(Clone, Deserialize)]
struct Expectation {
    end: f64,
    violations: Vec<Violation>,
}

/// A violation that fired. All times are seconds since the recorder started.
#[derive(Clone, Debug, Deserialize)]
pub struct Violation {
    /// The namespace of the Pod.
    pub namespace: String,
    /// The name of the Pod.
    pub pod: String,
    /// The container at fault.
    pub container: String,
    /// The name of the check.
    pub check: String,
    /// The start of the fault.
    pub onset: f64,
    /// The time at which the violation fires.
    pub firing: f64,
    /// The time at which it is resolved. `None` if it still fires at the end.
    pub resolved: Option<f64>,
    /// Whether a correct run may omit this violation.
    #[serde(default)]
    pub optional: bool,
}

/// A watch event of a recording.
#[derive(Deserialize)]
pub struct Line {
    /// Seconds since the recorder started.
    pub t: f64,
    /// The wall clock of the recorder.
    pub wall: Timestamp,
    /// `ADDED`, `MODIFIED` or `DELETED`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The Pod.
    pub object: serde_json::Value,
}

/// A recording, and the violations expected in it under one policy.
#[derive(Clone)]
pub struct Recording {
    /// The name of its file, without `.jsonl`.
    pub name: String,
    file: PathBuf,
    /// The name of the policy.
    pub policy: String,
    /// The spec of the policy.
    pub spec: serde_json::Value,
    /// The second at which the run ends.
    pub end: f64,
    /// The expected violations.
    pub violations: Vec<Violation>,
    /// The tolerance of times, in seconds.
    pub tolerance: f64,
}

/// Returns every recording, once for each of its policies.
pub fn all() -> Vec<Recording> {
    let directory = std::env::var_os("SIDEWATCH_TRACES").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/traces"),
        PathBuf::from,
    );
    let file = directory.join("expected.json");
    let text = std::fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let expected: Expected = serde_json::from_slice(&text).expect("expected.json has the documented form");
    let (policies, tolerance) = (expected.policies, expected.tolerance_seconds);
    let mut recordings = Vec::new();
    for (name, expectations) in expected.traces {
        assert!(!expectations.is_empty(), "{name} has no expectation");
        for (policy, Expectation { end, violations }) in expectations {
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
    /// Returns the file.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Returns the instant at which the recorder started, and the events.
    pub fn lines(&self) -> (Timestamp, Vec<Line>) {
        let text = std::fs::read_to_string(&self.file)
            .unwrap_or_else(|error| panic!("{}: {error}", self.file.display()));
        let line = |text| serde_json::from_str(text).expect("a line of a recording has the documented form");
        let lines: Vec<Line> = text.lines().map(line).collect();
        let first = lines.first().expect("a recording has events");
        (first.wall - SignedDuration::from_secs_f64(first.t), lines)
    }

    /// Returns the expected violations that `found` lacks, and the unexpected violations in `found`.
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
                Some(index) => drop(unmatched.remove(index)),
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
