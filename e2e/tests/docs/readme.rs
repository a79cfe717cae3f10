//! The commands of the README do what it says, and print what it shows.

use std::time::Instant;

use anyhow::{Context, Result, bail};
use e2e::process::Process;

use crate::markdown::{Page, repository};
use crate::shell::{POLL, SOON, Shell, comparable};

/// A command of a `console` block, and what the page shows of its output.
struct Shown {
    command: String,
    output: Vec<String>,
}

fn shown(page: &Page) -> Vec<Shown> {
    let mut all: Vec<Shown> = Vec::new();
    for block in page.blocks().iter().filter(|block| block.language == "console") {
        for line in block.text.lines() {
            if let Some(command) = line.strip_prefix("$ ") {
                let command = command.split(" #").next().unwrap_or(command).trim().to_owned();
                all.push(Shown {
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

/// Waits until a process has said something, and returns all that it said.
async fn said(process: &mut Process, text: &str) -> Result<String> {
    let deadline = Instant::now() + SOON;
    loop {
        let log = std::fs::read_to_string(process.log())?;
        if log.contains(text) {
            return Ok(log);
        }
        if let Some(status) = process.try_wait()? {
            bail!("it ended ({status}) without a word of {text:?}:\n{log}");
        }
        if Instant::now() > deadline {
            bail!("it has not said {text:?}:\n{log}");
        }
        tokio::time::sleep(POLL).await;
    }
}

fn after<'a>(text: &'a str, start: &str) -> Result<&'a str> {
    let line = text.lines().find_map(|line| line.strip_prefix(start));
    line.with_context(|| format!("no line starts with {start:?}:\n{text}"))
}

#[tokio::test]
async fn the_demo_shows_what_the_readme_says() {
    let shell = Shell::start().await.unwrap();
    let mut demo = shell.background("make demo HOLD=1").unwrap();
    let log = said(&mut demo, "/metrics\n").await.unwrap();
    let kubeconfig = after(&log, "export KUBECONFIG=").unwrap();
    let metrics = after(&log, "curl ").unwrap();
    let mut checked = 0;
    for Shown { command, output } in shown(&Page::read("README.md")) {
        if command.starts_with("make ") {
            assert!(
                ["make demo", "make test"].contains(&&*command),
                "{command}: nothing tries this command"
            );
            continue;
        }
        // What has happened, not what will.
        let run = command
            .replace(" --watch", "")
            .replace("http://localhost:8080/metrics", metrics);
        let run = format!("export KUBECONFIG={kubeconfig}\n{run}");
        let printed = shell.run(&run, &repository()).await.unwrap();
        let lines: Vec<_> = printed.lines().map(comparable).collect();
        for line in output {
            assert!(
                lines.contains(&comparable(&line)) || line.is_empty(),
                "{command} does not print\n{line}\nbut\n{printed}"
            );
            checked += 1;
        }
    }
    assert!(checked > 8, "{checked} lines");

    demo.interrupt().unwrap();
    demo.wait(SOON).await.unwrap();
    assert!(
        !std::path::Path::new(kubeconfig).exists(),
        "Ctrl-C leaves nothing behind"
    );
}

#[tokio::test]
async fn the_demo_ends_by_itself() {
    let shell = Shell::start().await.unwrap();
    let mut demo = shell.background("make demo").unwrap();
    let status = demo.wait(SOON).await.unwrap();
    assert!(status.success(), "{}", demo.log_tail());
}

#[tokio::test]
async fn the_operator_runs_on_a_desk() {
    let shell = Shell::start().await.unwrap();
    let page = Page::read("README.md");
    let mut operator = None;
    for block in page.blocks().iter().filter(|block| block.language == "sh") {
        assert!(operator.is_none(), "{}: after a command that stays", block.text);
        if block.text.starts_with("cargo run ") {
            operator = Some(shell.background(&block.text).unwrap());
        } else {
            shell.run(&block.text, &repository()).await.unwrap();
        }
    }
    said(&mut operator.unwrap(), "in sync").await.unwrap();
}
