//! The commands of the README work and print what it shows.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::process::{Process, wait_until_ready};
use e2e::project::repository;
use e2e::{images, node};

use crate::markdown::Page;
use crate::shell::{Shell, comparable};

/// The demo takes a minute on an idle machine.
const EVENTUALLY: Duration = Duration::from_mins(5);

/// A command of a `console` block and its output on the page.
struct ConsoleCommand {
    command: String,
    output: Vec<String>,
}

fn shown(page: &Page) -> Vec<ConsoleCommand> {
    let mut all: Vec<ConsoleCommand> = Vec::new();
    for block in page.blocks_of("console") {
        for line in block.text.lines() {
            if let Some(command) = line.strip_prefix("$ ") {
                let command = command.split(" #").next().unwrap_or(command).trim().to_owned();
                all.push(ConsoleCommand {
                    command,
                    output: Vec::new(),
                });
            } else if let Some(last) = all.last_mut() {
                last.output.push(line.to_owned());
            }
        }
    }
    all
}

/// Waits until a process has printed a text, and returns its output.
async fn said(process: &mut Process, text: &str) -> Result<String> {
    let log = process.log().to_owned();
    wait_until_ready(&mut [process], EVENTUALLY, async || {
        let printed = std::fs::read_to_string(&log)?;
        ensure!(printed.contains(text), "it has not said {text:?}");
        Ok(printed)
    })
    .await
}

fn after<'a>(text: &'a str, start: &str) -> Result<&'a str> {
    let line = text.lines().find_map(|line| line.strip_prefix(start));
    line.with_context(|| format!("no line starts with {start:?}:\n{text}"))
}

/// Starts the demo. Builds the images first if a node can run, because they take minutes.
async fn start_demo(shell: &Shell, command: &str) -> Process {
    if node::unavailable().is_none() {
        tokio::task::spawn_blocking(images::build).await.unwrap().unwrap();
    }
    shell.background(command).unwrap()
}

/// The process with the Linux namespaces of the demo, and its parent.
fn namespaces(way_in: &str) -> Option<(String, String)> {
    let target = way_in.strip_prefix("nsenter --target ")?.split(' ').next()?;
    let status = std::fs::read_to_string(format!("/proc/{target}/status")).unwrap();
    let parent = after(&status, "PPid:").unwrap().trim();
    Some((target.to_owned(), parent.to_owned()))
}

#[tokio::test]
async fn the_demo_shows_what_the_readme_says() {
    let shell = Shell::start().await.unwrap();
    let mut demo = start_demo(&shell, "make demo HOLD=1").await;
    let log = said(&mut demo, "/metrics\n").await.unwrap();
    let way_in = log.lines().find(|line| line.ends_with(" bash")).unwrap();
    let metrics = after(&log, "curl http://").unwrap();
    let mut checked = 0;
    for ConsoleCommand { command, output } in shown(&Page::read("README.md")) {
        // tests/cli runs the commands that need no cluster.
        if command.starts_with("sidewatch ") {
            continue;
        }
        if command.starts_with("make ") {
            assert!(
                ["make demo", "make test"].contains(&&*command),
                "{command}: nothing tries this command"
            );
            continue;
        }
        // A watch would not end.
        let run = command
            .replace(" --watch", "")
            .replace("localhost:8080/metrics", metrics);
        let run = format!("{way_in} -eu <<'END'\n{run}\nEND");
        let printed = shell.run(&run, repository()).await.unwrap();
        checked += assert_shown(&output, &printed, &command);
    }
    assert!(checked > 8, "{checked} lines");

    let kubeconfig = way_in
        .split(' ')
        .find_map(|word| word.strip_prefix("KUBECONFIG="));
    let namespaces = namespaces(way_in);
    assert_eq!(namespaces.is_some(), node::unavailable().is_none(), "{log}");
    demo.interrupt().unwrap();
    demo.wait(EVENTUALLY).await.unwrap();
    assert!(
        !Path::new(kubeconfig.unwrap()).exists(),
        "Ctrl-C leaves nothing behind"
    );
    if let Some((target, parent)) = namespaces {
        // `find /proc` would fail when another process ends.
        let find = format!(
            "find /sys/fs/cgroup -maxdepth 2 -name sidewatch-node-{parent}; ls -d /proc/{target} 2>/dev/null || true"
        );
        assert_eq!(shell.run(&find, repository()).await.unwrap(), "");
    }
}

#[tokio::test]
async fn the_demo_without_a_node_shows_the_same_and_ends_by_itself() {
    let shell = Shell::start().await.unwrap();
    let mut demo = shell.background("make demo KUBELET=simulated").unwrap();
    let status = demo.wait(EVENTUALLY).await.unwrap();
    assert!(status.success(), "{}", demo.log_tail());
    let log = std::fs::read_to_string(demo.log()).unwrap();
    assert!(
        log.lines().any(|line| line.contains("Simulated kubelet")),
        "{log}"
    );
    // The demo prints more columns of the policies than the page.
    let printed = shown(&Page::read("README.md"))
        .into_iter()
        .filter(|shown| !shown.command.starts_with("kubectl get sidecarpolicies"))
        .filter(|shown| !shown.command.starts_with("sidewatch "));
    let checked: usize = printed
        .map(|ConsoleCommand { command, output }| assert_shown(&output, &log, &command))
        .sum();
    assert!(checked > 6, "{checked} lines");
}

/// Asserts that each line of the page is printed, and returns their number.
fn assert_shown(shown: &[String], printed: &str, command: &str) -> usize {
    let lines: Vec<_> = printed.lines().map(comparable).collect();
    let shown: Vec<_> = shown.iter().filter(|line| !line.is_empty()).collect();
    for line in &shown {
        assert!(
            lines.contains(&comparable(line)),
            "{command} does not print\n{line}\nbut\n{printed}"
        );
    }
    shown.len()
}

#[tokio::test]
async fn the_operator_runs_on_a_desk() {
    let shell = Shell::start().await.unwrap();
    let page = Page::read("README.md");
    let mut operator = None;
    for block in page.blocks_of("sh") {
        assert!(operator.is_none(), "{}: after a command that stays", block.text);
        if block.text.starts_with("cargo run ") {
            operator = Some(shell.background(&block.text).unwrap());
        } else {
            shell.run(&block.text, repository()).await.unwrap();
        }
    }
    said(&mut operator.unwrap(), "in sync").await.unwrap();
}
