//! Replays recordings of a real kubelet through decoding and evaluation on a virtual clock: every trace that
//! `expected.json` names, under each of its policies, must give exactly the violations listed there and no other.
//!
//! The recordings are in `tests/traces`; `SIDEWATCH_TRACES` names another directory of the same form.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test without the standard harness, which clippy does not see as one"
)]

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    path::{Path, PathBuf},
};

use jiff::{SignedDuration, Timestamp};
use kube::core::DeserializeGuard;
use libtest_mimic::{Arguments, Failed, Trial};
use serde::Deserialize;
use serde_json::json;
use sidewatch::{
    api::SidecarPolicy,
    domain::{
        effects::{Change, Effects},
        index::Index,
        policy::PolicyKind,
    },
    inputs::{Input, SeenPolicy},
    reconciler::step,
    sink::status::Shown,
    watch::Tell,
    wire::{
        intern::Interner,
        pod::{LeanPod, observe},
        policy::policy_update,
    },
};

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

#[derive(Clone, Debug, Deserialize)]
struct Violation {
    namespace: String,
    pod: String,
    container: String,
    check: String,
    onset: f64,
    firing: f64,
    resolved: Option<f64>,
    #[serde(default)]
    optional: bool,
}

#[derive(Deserialize)]
struct Line {
    t: f64,
    #[serde(rename = "type")]
    kind: String,
    object: LeanPod,
}

fn main() {
    let arguments = Arguments::from_args();
    let directory = std::env::var_os("SIDEWATCH_TRACES").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/traces"),
        PathBuf::from,
    );
    let file = directory.join("expected.json");
    let text = std::fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let expected: Expected = serde_json::from_slice(&text).expect("expected.json has the documented form");
    let mut trials = Vec::new();
    for (trace, verdicts) in expected.traces {
        let path = directory.join(format!("{trace}.jsonl"));
        let (policies, tolerance) = (expected.policies.clone(), expected.tolerance_seconds);
        trials.push(Trial::test(trace, move || {
            assert!(!verdicts.is_empty(), "a trace without a verdict proves nothing");
            let mut differences = String::new();
            for (policy, verdict) in &verdicts {
                let found = replay(&path, &policies[policy], verdict.end);
                for difference in compare(&verdict.violations, &found, tolerance) {
                    let _ = writeln!(differences, "policy {policy}: {difference}");
                }
            }
            if differences.is_empty() {
                Ok(())
            } else {
                Err(Failed::from(differences))
            }
        }));
    }
    assert!(!trials.is_empty(), "{} names no trace", file.display());
    libtest_mimic::run(&arguments, trials).exit();
}

/// The instant `seconds` after the recorder started.
fn at(seconds: f64) -> Timestamp {
    let start: Timestamp = "2026-11-21T00:00:00Z".parse().unwrap();
    start + SignedDuration::from_secs_f64(seconds)
}

/// Seconds since the recorder started.
fn t(at: Timestamp) -> f64 {
    at.duration_since(self::at(0.0)).as_secs_f64()
}

/// What fires in a recording under one policy, up to `end`.
fn replay(path: &Path, spec: &serde_json::Value, end: f64) -> Vec<Violation> {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let (mut index, mut interner, mut found) =
        (Index::new([None], false), Interner::default(), Found::default());
    for tell in [
        Tell::Restarted {
            last_look: Timestamp::MIN,
        },
        Tell::Complete,
    ] {
        found.take(step(&mut index, Input::Pod(None, tell), at(0.0)));
    }
    let mut applied = false;
    for line in text.lines() {
        let line: Line = serde_json::from_str(line).expect("a line of a recording decodes");
        let now = at(line.t);
        let observation = observe(line.object, &mut interner).expect("a recorded Pod has a name and a UID");
        if !applied {
            applied = true;
            let policy = Input::Policy(
                PolicyKind::SidecarPolicy,
                None,
                Tell::Applied(Box::new(policy(&observation.namespace, spec))),
            );
            found.take(step(&mut index, policy, at(0.0)));
        }
        found.pass_time(&mut index, now);
        let tell = match line.kind.as_str() {
            "ADDED" | "MODIFIED" => Tell::Applied(observation),
            "DELETED" => Tell::Deleted(observation),
            other => panic!("a watch has no event {other}"),
        };
        found.take(step(&mut index, Input::Pod(None, tell), now));
    }
    found.pass_time(&mut index, at(end));
    found.0
}

/// The violations that fired so far; those without `resolved` still fire.
#[derive(Default)]
struct Found(Vec<Violation>);

impl Found {
    /// Lets every deadline fire at its own time.
    fn pass_time(&mut self, index: &mut Index, until: Timestamp) {
        while let Some(next) = index.next_deadline().filter(|next| *next <= until) {
            let effects = index.tick(next);
            self.take(effects);
        }
    }

    fn take(&mut self, effects: Effects) {
        for transition in effects.transitions {
            let is_same = |v: &&mut Violation| {
                v.resolved.is_none()
                    && (&*v.pod, &*v.container, &*v.check)
                        == (
                            &*transition.pod,
                            &*transition.container,
                            transition.check.as_str(),
                        )
            };
            match transition.to {
                Change::Pending | Change::Cleared => {}
                Change::Firing => self.0.push(Violation {
                    namespace: transition.namespace.to_string(),
                    pod: transition.pod.to_string(),
                    container: transition.container.to_string(),
                    check: transition.check.as_str().to_owned(),
                    onset: t(transition.onset),
                    firing: t(transition.at),
                    resolved: None,
                    optional: false,
                }),
                Change::Resolved | Change::Ended => {
                    if let Some(violation) = self.0.iter_mut().rev().find(is_same) {
                        violation.resolved = Some(t(transition.at));
                    }
                }
            }
        }
    }
}

/// What is missing and what should not be there.
fn compare(expected: &[Violation], found: &[Violation], tolerance: f64) -> Vec<String> {
    let close = |a: f64, b: f64| (a - b).abs() <= tolerance;
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
    for violation in expected {
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

/// The policy of this spec in a namespace, as the watch of policies would bring it.
fn policy(namespace: &str, spec: &serde_json::Value) -> SeenPolicy {
    let object: DeserializeGuard<SidecarPolicy> = serde_json::from_value(json!({
        "apiVersion": "sidewatch.dev/v1alpha1",
        "kind": "SidecarPolicy",
        "metadata": {"name": "replay", "namespace": namespace, "uid": "replay", "generation": 1},
        "spec": spec,
    }))
    .expect("a policy");
    let update = policy_update(&object).expect("it has a name and a UID");
    SeenPolicy {
        update,
        shown: Shown {
            uid: "replay".into(),
            version: 0,
            status: None,
        },
    }
}
