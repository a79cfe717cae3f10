//! The process: exit codes, closed pipes, colours.

use serde_json::json;
use testkit::api_server::soon;

use crate::{
    lint::WARNING,
    support::{Directory, command, finish, run_of, sidewatch, trace},
};

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
    let manifest = directory.file("web.yaml", WARNING);
    let trace = trace("native-ready-flip");
    let note =
        "note: a SidecarPolicy without metadata.namespace is evaluated in namespace native-ready-flip\n";
    let table: [(&[&str], &str); 3] = [
        (&["crds"], ""),
        (&["lint", &manifest], ""),
        (
            &["simulate", "-p", &policy, "--record", &trace, "-o", "json"],
            note,
        ),
    ];
    for (args, expected) in table {
        let mut child = command(args).spawn().unwrap();
        drop(child.stdout.take());
        let output = soon("the command ends", child.wait_with_output()).await;
        let run = run_of(&output.unwrap());
        assert_eq!((run.code, &*run.stderr), (Some(0), expected), "{args:?}");
    }
}

#[tokio::test]
async fn colors_are_used_only_on_request_without_a_terminal() {
    let directory = Directory::new();
    let policy = directory.policy("policy.json", &json!({}));
    let trace = trace("native-never-ready");
    let args = ["simulate", "-p", &policy, "--record", &trace, "--for", "12m"];
    let plain = sidewatch(&args).await;
    assert!(!plain.stdout.contains('\x1b'), "{plain:?}");
    let colored = finish(command(&args).arg("--color=always")).await;
    assert!(colored.stdout.contains("\x1b[33mNotReady\x1b[0m"), "{colored:?}");
    let narrow = finish(command(&args).env("COLUMNS", "80")).await;
    let longest = narrow.stdout.lines().map(|line| line.chars().count()).max();
    assert!(longest.unwrap() <= 80, "{narrow:?}");
}
