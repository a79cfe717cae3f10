//! `simulate` on recordings.

use std::fs;

use serde_json::{Value, json};
use testkit::recordings::{self, Recording, Violation};

use crate::support::{Directory, repository, sidewatch, sidewatch_with_input};

/// Returns the violations in the output, with times in seconds since the start.
fn violations(output: &Value) -> Vec<Violation> {
    let time = |value: &Value| value.as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    let start = time(&output["from"]);
    let t = |value: &Value| time(value).duration_since(start).as_secs_f64();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let rows = output["violations"].as_array().unwrap().iter();
    rows.map(|row| Violation {
        namespace: text(&row["namespace"]),
        pod: text(&row["pod"]),
        container: text(&row["container"]),
        check: text(&row["check"]),
        onset: t(&row["onset"]),
        firing: t(&row["firing"]),
        resolved: row.get("resolved").map(t),
        optional: false,
    })
    .collect()
}

async fn assert_as_expected(recording: &Recording, directory: &Directory) {
    let policy = directory.policy("policy.json", &recording.spec);
    // A part of a duration has at most five digits.
    let milliseconds = std::time::Duration::from_secs_f64(recording.end).as_millis();
    let length = format!("{}s{}ms", milliseconds / 1000, milliseconds % 1000);
    let file = recording.file().display().to_string();
    let run = sidewatch(&[
        "simulate", "--policy", &policy, "--record", &file, "--for", &length, "-o", "json",
    ])
    .await;
    let about = format!("{} under {}: {run:?}", recording.name, recording.policy);
    let found = violations(&run.json());
    assert_eq!(recording.differences(&found), Vec::<String>::new(), "{about}");
    assert_eq!(run.code, Some(i32::from(!found.is_empty())), "{about}");
}

#[tokio::test]
async fn each_recording_has_the_expected_violations() {
    let directory = Directory::new();
    let recordings = recordings::all();
    assert!(recordings.len() > 100, "{} recordings", recordings.len());
    for recording in &recordings {
        assert_as_expected(recording, &directory).await;
    }
}

fn trace(name: &str) -> String {
    let path = repository().join(format!("tests/traces/{name}.jsonl"));
    path.display().to_string()
}

#[tokio::test]
async fn a_recording_can_come_from_standard_input() {
    let directory = Directory::new();
    let policy = directory.policy("policy.json", &json!({}));
    let recording = fs::read(trace("native-never-ready")).unwrap();
    let args = [
        "simulate", "-p", &policy, "--record", "-", "--for", "12m", "-o", "json",
    ];
    let run = sidewatch_with_input(&args, &recording).await;
    assert_eq!(run.code, Some(1), "{run:?}");
    assert_eq!(run.json()["violations"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_policy_is_compared_with_the_policies_in_force() {
    let directory = Directory::new();
    let relaxed = json!({"checks": {"notReady": {"mode": "Off"}}});
    let (old, new) = (
        directory.policy("old.json", &relaxed),
        directory.policy("new.json", &json!({"sidecars": {"exclude": {"names": ["app"]}}})),
    );
    let trace = trace("native-never-ready");
    let simulate = async |policy: &str, against: &str| {
        let args = [
            "simulate",
            "-p",
            policy,
            "--against",
            against,
            "--record",
            &trace,
            "--for",
            "12m",
            "-o",
            "json",
        ];
        let run = sidewatch(&args).await;
        let mut checks: Vec<String> = run.json()["violations"]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| {
                format!(
                    "{} {}",
                    row["difference"].as_str().unwrap(),
                    row["check"].as_str().unwrap()
                )
            })
            .collect();
        checks.sort();
        (run.code, checks)
    };
    let (code, checks) = simulate(&new, &old).await;
    assert_eq!(checks, ["new NotReady", "same MainReadySidecarNotReady"]);
    assert_eq!(code, Some(1));
    let (_, checks) = simulate(&old, &new).await;
    assert_eq!(checks, ["gone NotReady", "same MainReadySidecarNotReady"]);
    let off = directory.policy("off.json", &json!({"mode": "Off"}));
    let (code, checks) = simulate(&off, &old).await;
    assert_eq!(checks, ["gone MainReadySidecarNotReady"]);
    assert_eq!(code, Some(0), "the policy reports nothing");
}

#[tokio::test]
async fn roles_that_change_are_shown() {
    let directory = Directory::new();
    let old = directory.policy("old.json", &json!({}));
    let new = directory.policy(
        "new.json",
        &json!({"sidecars": {"exclude": {"names": ["log-sidecar"]}}}),
    );
    let trace = trace("two-sidecars-one-bad");
    let args = [
        "simulate",
        "-p",
        &new,
        "--against",
        &old,
        "--record",
        &trace,
        "-o",
        "yaml",
    ];
    let run = sidewatch(&args).await;
    let output: Value = serde_saphyr::from_str(&run.stdout).unwrap();
    let expected = json!([{
        "namespace": "two-sidecars-one-bad", "workloadKind": "Pod", "workload": "two-sidecars-one-bad",
        "container": "log-sidecar", "before": "sidecar", "after": "ignored", "pods": 1,
    }]);
    assert_eq!(output["roles"], expected, "{run:?}");
}

#[tokio::test]
async fn a_recording_written_with_the_allowed_fields_has_the_same_violations() {
    let directory = Directory::new();
    for recording in recordings::all()
        .iter()
        .filter(|recording| recording.policy == "fast")
    {
        let (_, lines) = recording.lines();
        let mut text = String::new();
        for line in lines {
            let object = sidewatch::cli::recording::fields::recorded(&line.object);
            text.push_str(
                &json!({"t": line.t, "wall": line.wall, "type": line.kind, "object": object}).to_string(),
            );
            text.push('\n');
        }
        let reduced = directory.file("reduced.jsonl", text);
        let policy = directory.policy("policy.json", &recording.spec);
        let simulate = async |file: &str| {
            let run = sidewatch(&[
                "simulate", "-p", &policy, "--record", file, "--for", "12m", "-o", "json",
            ])
            .await;
            run.json()["violations"].clone()
        };
        let whole = recording.file().display().to_string();
        assert_eq!(
            simulate(&reduced).await,
            simulate(&whole).await,
            "{}",
            recording.name
        );
    }
}
