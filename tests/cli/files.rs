//! Files that cannot be used: a clear message, exit code 2, bounded memory.

use serde_json::json;

use crate::support::{Directory, command, finish, repository, sidewatch, sidewatch_with_input};

fn trace() -> String {
    let path = repository().join("tests/traces/healthy-native.jsonl");
    path.display().to_string()
}

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
        let run = sidewatch(&["simulate", "-p", &policy, "--record", &trace()]).await;
        run.assert_failed(&[expected, "policy.yaml"]);
    }
    let run = sidewatch(&["simulate", "-p", "/missing.yaml", "--record", &trace()]).await;
    run.assert_failed(&["cannot read /missing.yaml: No such file"]);
    let run = sidewatch(&["simulate", "-p", "/", "--record", &trace()]).await;
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
async fn with_little_memory(args: &[&str]) -> crate::support::Run {
    let mut limited = tokio::process::Command::new("/bin/sh");
    let binary = command(args);
    limited
        .args(["-c", "ulimit -v 524288; exec \"$0\" \"$@\""])
        .arg(binary.as_std().get_program())
        .args(args)
        .current_dir(repository())
        .env_clear()
        .env("HOME", "/nonexistent")
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .kill_on_drop(true);
    finish(&mut limited).await
}

#[tokio::test]
async fn a_hundred_megabytes_of_yaml_are_refused() {
    let directory = Directory::new();
    let large = directory.file(
        "large.yaml",
        b"# one more line of a large file\n".repeat(100 << 15),
    );
    let run = with_little_memory(&["simulate", "-p", &large, "--record", &trace()]).await;
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
    let run = with_little_memory(&["simulate", "-p", "/dev/zero", "--record", &trace()]).await;
    run.assert_failed(&["/dev/zero: it is larger than 8 MB"]);
}

#[tokio::test]
async fn a_yaml_bomb_is_refused() {
    let mut lines = vec!["a0: &a0 [x, x, x, x, x, x, x, x, x, x]".to_owned()];
    for level in 1..12 {
        let list = vec![format!("*a{}", level - 1); 10].join(", ");
        lines.push(format!("a{level}: &a{level} [{list}]"));
    }
    let bomb = lines.join("\n");
    let run = sidewatch_with_input(&["simulate", "-p", "-", "--record", &trace()], bomb.as_bytes()).await;
    run.assert_failed(&["is not valid YAML"]);
}
