//! The process: exit codes, closed pipes, signals, colours.

use std::{process::Stdio, time::Duration};

use serde_json::json;
use tokio::time::timeout;

use crate::support::{Directory, command, finish, repository, run_of, sidewatch};

#[tokio::test]
async fn an_invalid_command_line_names_the_valid_values() {
    let table: [(&[&str], &str); 5] = [
        (
            &["simulate", "-p", "x", "-o", "xml"],
            "[possible values: table, json, yaml]",
        ),
        (&["simulate"], "--policy <FILE>"),
        (&["simulate", "-p", "x", "-n", "Pay"], "1 to 63"),
        (&["simulate", "-p", "x", "-A", "-n", "pay"], "cannot be used with"),
        (
            &["simulate", "-p", "x", "--for", "ten"],
            "is not a duration such as 90s",
        ),
    ];
    for (args, expected) in table {
        let run = sidewatch(args).await;
        assert_eq!(run.code, Some(2), "{run:?}");
        assert!(run.stderr.contains(expected), "{run:?}");
    }
}

#[tokio::test]
async fn commands_without_findings_exit_with_1_if_they_fail() {
    let run = sidewatch(&["run", "--kubeconfig", "/missing"]).await;
    assert_eq!(run.code, Some(1), "{run:?}");
    assert!(
        run.stderr.contains("error: cannot use the kubeconfig /missing"),
        "{run:?}"
    );
    assert_eq!(sidewatch(&["version"]).await.code, Some(0));
}

#[tokio::test]
async fn a_closed_pipe_ends_the_command_without_a_message() {
    let directory = Directory::new();
    let policy = directory.policy("policy.json", &json!({}));
    let trace = repository().join("tests/traces/native-ready-flip.jsonl");
    let simulate = [
        "simulate",
        "-p",
        &policy,
        "--record",
        trace.to_str().unwrap(),
        "-o",
        "json",
    ];
    for args in [&["crds"][..], &simulate[..]] {
        let mut child = command(args).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output();
        let run = run_of(&timeout(Duration::from_mins(1), output).await.unwrap().unwrap());
        assert_eq!(
            (run.code, run.stderr.as_str()),
            (Some(0), note_of(args)),
            "{args:?}"
        );
    }
}

/// The note about the namespace of the policy.
fn note_of(args: &[&str]) -> &'static str {
    if args.contains(&"simulate") {
        "note: a SidecarPolicy without metadata.namespace is evaluated in namespace native-ready-flip\n"
    } else {
        ""
    }
}

#[tokio::test]
async fn colors_are_used_only_on_request_without_a_terminal() {
    let directory = Directory::new();
    let policy = directory.policy("policy.json", &json!({}));
    let trace = repository().join("tests/traces/native-never-ready.jsonl");
    let args = [
        "simulate",
        "-p",
        &policy,
        "--record",
        trace.to_str().unwrap(),
        "--for",
        "12m",
    ];
    let plain = sidewatch(&args).await;
    assert!(!plain.stdout.contains('\x1b'), "{plain:?}");
    let colored = finish(command(&args).arg("--color=always")).await;
    assert!(colored.stdout.contains("\x1b[33mNotReady\x1b[0m"), "{colored:?}");
    let narrow = finish(command(&args).env("COLUMNS", "80")).await;
    let longest = narrow.stdout.lines().map(|line| line.chars().count()).max();
    assert!(longest.unwrap() <= 80, "{narrow:?}");
}

#[tokio::test]
async fn ctrl_c_ends_a_command_that_waits_for_the_api_server() {
    let directory = Directory::new();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let kubeconfig = directory.file(
        "kubeconfig",
        crate::cluster::kubeconfig(&format!("http://{address}"), &json!({})),
    );
    let policy = directory.policy("policy.json", &json!({}));
    let child = command(&["simulate", "-p", &policy, "--kubeconfig", &kubeconfig])
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    // The server accepts the connection and does not answer.
    let _connection = timeout(Duration::from_mins(1), listener.accept())
        .await
        .unwrap()
        .unwrap();
    let id = child.id().unwrap().to_string();
    let sent = tokio::process::Command::new("kill")
        .args(["-INT", &id])
        .status()
        .await
        .unwrap();
    assert!(sent.success());
    let output = timeout(Duration::from_secs(20), child.wait_with_output())
        .await
        .unwrap()
        .unwrap();
    let run = run_of(&output);
    assert_eq!(
        (run.code, run.stderr.as_str()),
        (Some(130), "error: interrupted\n")
    );
}
