//! `simulate` on recordings.

use std::fs;

use serde_json::{Value, json};
use testkit::recordings::{self, Recording, Violation};

use crate::support::{Directory, duration, sidewatch, sidewatch_with_input, trace};

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
    let file = recording.file().display().to_string();
    let length = duration(recording.end);
    let args = [
        "simulate", "--policy", &policy, "--record", &file, "--for", &length, "-o", "json",
    ];
    let run = sidewatch(&args).await;
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

#[tokio::test]
async fn the_events_of_the_operator_can_be_printed() {
    let directory = Directory::new();
    let spec = json!({"checks": {"mainReadySidecarNotReady": {"for": "13s", "keepFiringFor": "10s"}}});
    let policy = directory.policy("policy.json", &spec);
    let recording = trace("native-ready-flip");
    let args = ["simulate", "-p", &policy, "--record", &recording, "--events"];
    let text = sidewatch(&args).await;
    let run = sidewatch(&[args.as_slice(), &["-o", "json"]].concat()).await;
    let output = run.json();
    let events = output.as_array().unwrap();
    let field = |event: &Value, name: &str| event[name].as_str().unwrap().to_owned();
    let kinds: Vec<_> = events
        .iter()
        .map(|event| (field(event, "type"), field(event, "reason")))
        .collect();
    let expected = [
        ("Warning", "MainContainerReadyButSidecarNot"),
        ("Normal", "SidecarRecovered"),
    ];
    let expected = expected.map(|(kind, reason)| (kind.to_owned(), reason.to_owned()));
    assert_eq!(kinds[..2], expected, "{output}");
    for event in events {
        assert!(field(event, "object").starts_with("Pod/"), "{event}");
        assert!(text.stdout.contains(&field(event, "note")), "{event} in {text:?}");
    }
    assert_eq!((run.code, text.code), (Some(1), Some(1)));
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
    let recording = ["--record", &trace, "--for", "12m", "-o", "json"];
    let simulate = async |policy: &str, against: &str| {
        let policies = ["-p", policy, "--against", against];
        let run = sidewatch(&[&["simulate"], &policies[..], &recording].concat()).await;
        let output = run.json();
        let rows = output["violations"].as_array().unwrap().iter();
        let text = |row: &Value| format!("{} {}", row["difference"], row["check"]).replace('"', "");
        let mut checks: Vec<String> = rows.map(text).collect();
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
    let policies = ["-p", &new, "--against", &old];
    let run = sidewatch(&[&["simulate"], &policies[..], &["--record", &trace, "-o", "yaml"]].concat()).await;
    let output: Value = serde_saphyr::from_str(&run.stdout).unwrap();
    let expected = json!([{
        "namespace": "two-sidecars-one-bad", "workloadKind": "Pod", "workload": "two-sidecars-one-bad",
        "container": "log-sidecar", "before": "sidecar", "after": "ignored", "pods": 1,
    }]);
    assert_eq!(output["roles"], expected, "{run:?}");
}
