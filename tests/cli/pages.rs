//! The documentation: each `console` block that begins with `$ sidewatch` shows what the binary prints in 100 columns.

use std::fs;

use crate::support::{command, finish, repository};

/// A command of a page, and its output.
#[derive(Debug, PartialEq)]
struct Shown {
    command: String,
    output: String,
}

/// Returns the `sidewatch` commands in the `console` blocks of a page.
fn shown(page: &str) -> Vec<Shown> {
    let mut all: Vec<Shown> = Vec::new();
    let mut in_console = false;
    let mut current = None;
    for line in page.lines() {
        if let Some(language) = line.strip_prefix("```") {
            in_console = language == "console";
            all.extend(current.take());
        } else if let Some(command) = line.strip_prefix("$ ").filter(|_| in_console) {
            all.extend(current.take());
            current = command.starts_with("sidewatch ").then(|| Shown {
                command: command.to_owned(),
                output: String::new(),
            });
        } else if let Some(shown) = &mut current {
            shown.output.push_str(line);
            shown.output.push('\n');
        }
    }
    all
}

#[tokio::test]
async fn the_pages_show_what_the_commands_print() {
    for (page, least) in [("README.md", 1), ("docs/cli.md", 2)] {
        let text = fs::read_to_string(repository().join(page)).unwrap();
        let commands = shown(&text);
        assert!(commands.len() >= least, "{page}: {} commands", commands.len());
        for Shown {
            command: line,
            output,
        } in commands
        {
            let args: Vec<&str> = line.split_whitespace().skip(1).collect();
            let run = finish(command(&args).env("COLUMNS", "100")).await;
            assert!(matches!(run.code, Some(0 | 1)), "{page}: {line}: {run:?}");
            assert_eq!(run.stdout.trim_end(), output.trim_end(), "{page}: {line}");
        }
    }
}

#[test]
fn only_console_blocks_are_read() {
    let page = "```console\n$ sidewatch a\nb\n$ make c\nd\n$ sidewatch e\n```\n```sh\n$ sidewatch f\n```\n";
    let commands: Vec<_> = shown(page)
        .into_iter()
        .map(|shown| (shown.command, shown.output))
        .collect();
    let expected = [("sidewatch a", "b\n"), ("sidewatch e", "")];
    assert_eq!(commands, expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
}
