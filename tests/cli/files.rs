//! Files that cannot be used: a clear message, exit code 2, bounded memory.

use std::path::Path;

use serde_json::json;

use crate::support::{Directory, Run, command_of, finish, sidewatch, trace};

/// The name of a recording.
const TRACE: &str = "healthy-native";

#[tokio::test]
async fn an_unusable_policy_is_refused() {
    let directory = Directory::new();
    let table = [
        ("a: [", "is not valid YAML"),
        ("", "the file contains no policy"),
        (
            "{apiVersion: v1, kind: Pod, metadata: {name: a}}",
            "kind \"Pod\" is not a policy",
        ),
        (
            "{apiVersion: sidewatch.dev/v1alpha1, kind: SidecarPolicy, metadata: {name: a}, spec: {check: {}, mode: 1}}",
            "SidecarPolicy a",
        ),
        (
            "{apiVersion: sidewatch.dev/v1alpha1, kind: SidecarPolicy, metadata: {name: a}, spec: {mod: Alert}}",
            "spec.mod is not a field",
        ),
    ];
    for (text, expected) in table {
        let policy = directory.file("policy.yaml", text);
        let run = sidewatch(&["simulate", "-p", &policy, "--record", &trace(TRACE)]).await;
        run.assert_failed(&[expected, "policy.yaml"]);
    }
    let run = sidewatch(&["simulate", "-p", "/missing.yaml", "--record", &trace(TRACE)]).await;
    run.assert_failed(&["cannot read /missing.yaml: No such file"]);
    let run = sidewatch(&["simulate", "-p", "/", "--record", &trace(TRACE)]).await;
    run.assert_failed(&["cannot read /: it is a directory"]);
}

#[tokio::test]
async fn an_unusable_recording_is_refused() {
    let directory = Directory::new();
    let policy = directory.policy("policy.json", &json!({}));
    let table = [
        ("", "the recording contains no Pod"),
        ("kind: Pod\n", "line 1: "),
        (
            "{\"t\":1,\"wall\":\"2026-11-20T10:00:00Z\",\"type\":\"BOOKMARK\"}\n",
            "the recording contains no Pod",
        ),
    ];
    for (text, expected) in table {
        let recording = directory.file("pods.jsonl", text);
        let run = sidewatch(&["simulate", "-p", &policy, "--record", &recording]).await;
        run.assert_failed(&[expected]);
    }
    let run = sidewatch(&["simulate", "-p", &policy, "--record", "/missing.jsonl"]).await;
    run.assert_failed(&["cannot read /missing.jsonl: No such file"]);
}

/// Runs the binary with 150 MB of address space for its heap and 512 MB in total.
async fn with_little_memory(args: &[&str]) -> Run {
    let script = "ulimit -v 524288; exec \"$0\" \"$@\"";
    let shell = ["-c", script, env!("CARGO_BIN_EXE_sidewatch")];
    finish(&mut command_of(Path::new("/bin/sh"), &[&shell, args].concat())).await
}

#[tokio::test]
async fn a_hundred_megabytes_of_yaml_are_refused() {
    let directory = Directory::new();
    let large = directory.file(
        "large.yaml",
        b"# one more line of a large file\n".repeat(100 << 15),
    );
    let run = with_little_memory(&["simulate", "-p", &large, "--record", &trace(TRACE)]).await;
    run.assert_failed(&["large.yaml: it is larger than 8 MB"]);
    let policy = directory.policy("policy.json", &json!({}));
    let run = with_little_memory(&["simulate", "-p", &policy, "--record", &large]).await;
    run.assert_failed(&["line 1: "]);
}

#[tokio::test]
async fn an_endless_line_is_refused() {
    let directory = Directory::new();
    let policy = directory.policy("policy.json", &json!({}));
    let run = with_little_memory(&["simulate", "-p", &policy, "--record", "/dev/zero"]).await;
    run.assert_failed(&["/dev/zero: line 1: the line is longer than 16 MB"]);
    let run = with_little_memory(&["simulate", "-p", "/dev/zero", "--record", &trace(TRACE)]).await;
    run.assert_failed(&["/dev/zero: it is larger than 8 MB"]);
}
