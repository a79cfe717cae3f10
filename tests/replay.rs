//! Replays recordings of a real kubelet on a virtual clock, with the code of `sidewatch simulate --record`. Every recording,
//! under each policy that names it, must give exactly the expected violations. One test for each recording.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test without the standard harness, which clippy does not see as one"
)]

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::json;
use sidewatch::cli::{
    evaluation::Reported,
    policies::PolicyFile,
    recording::{Replay, replay},
};
use testkit::recordings::{self, Recording, Violation};

fn main() {
    let arguments = Arguments::from_args();
    let mut by_name: BTreeMap<String, Vec<Recording>> = BTreeMap::new();
    for recording in recordings::all() {
        by_name.entry(recording.name.clone()).or_default().push(recording);
    }
    let trials = by_name.into_iter().map(|(name, recordings)| {
        Trial::test(name, move || {
            let of = |recording: &Recording| {
                let found = violations(recording);
                let differences = recording.differences(&found).into_iter();
                differences
                    .map(|difference| format!("policy {}: {difference}", recording.policy))
                    .collect::<Vec<_>>()
            };
            let differences: Vec<String> = recordings.iter().flat_map(of).collect();
            if differences.is_empty() {
                Ok(())
            } else {
                Err(Failed::from(differences.join("\n")))
            }
        })
    });
    libtest_mimic::run(&arguments, trials.collect()).exit();
}

/// Returns the violations that fire in a recording under one policy, until its end.
fn violations(recording: &Recording) -> Vec<Violation> {
    let policy = json!({
        "apiVersion": "sidewatch.dev/v1alpha1",
        "kind": "SidecarPolicy",
        "metadata": {"name": "replay"},
        "spec": recording.spec,
    });
    let policy = PolicyFile::new(policy).expect("a valid policy");
    let length = Duration::from_secs_f64(recording.end);
    let Replay {
        start, evaluation, ..
    } = replay(recording.file(), Some(length), |namespace| {
        Ok(vec![policy.update(namespace)?])
    })
    .expect("a valid recording");
    let reported = evaluation.reported().iter();
    reported.map(|reported| violation(reported, start)).collect()
}

fn violation(reported: &Reported, start: Timestamp) -> Violation {
    let t = |at: Timestamp| at.duration_since(start).as_secs_f64();
    let subject = &reported.violation.subject;
    Violation {
        namespace: subject.namespace().to_string(),
        pod: subject.pod().to_owned(),
        container: subject.container().to_string(),
        check: reported.violation.check.as_str().to_owned(),
        onset: t(reported.violation.onset),
        firing: t(reported.firing),
        resolved: reported.resolved.map(t),
        optional: false,
    }
}
