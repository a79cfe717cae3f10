//! promtool, which checks metrics and rules of Prometheus.

use std::ffi::OsStr;
use std::fs;
use std::fs::File;
use std::process::Command;

use anyhow::Result;
use serde_json::Value;

use crate::process::Scratch;
use crate::process::programs::{stdout, stdout_of};
use crate::tools::{self, Tool};

/// Arguments that check the rule files that follow, also with the optional lints.
pub const CHECK_RULES: [&str; 4] = ["check", "rules", "--lint=all", "--lint-fatal"];

fn command() -> Result<Command> {
    let tools = tools::ensure(&[Tool::Promtool])?;
    Ok(Command::new(tools.path(Tool::Promtool)?))
}

/// Runs promtool. An error contains its messages.
pub fn promtool(args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Result<()> {
    stdout_of(command()?.args(args)).map(drop)
}

/// Checks the content of a rule file, see [`CHECK_RULES`].
pub fn check_rules(rules: &Value) -> Result<()> {
    let dir = Scratch::new()?;
    let path = dir.path().join("rules.yaml");
    // JSON is YAML.
    fs::write(&path, rules.to_string())?;
    let args = CHECK_RULES.map(OsStr::new).into_iter();
    promtool(args.chain([path.as_os_str()]))
}

/// Runs the content of a file of tests with the content of a rule file, which the tests name `rules.yaml`.
pub fn test_rules(rules: &Value, tests: &Value) -> Result<()> {
    let dir = Scratch::new()?;
    fs::write(dir.path().join("rules.yaml"), rules.to_string())?;
    let path = dir.path().join("tests.yaml");
    fs::write(&path, tests.to_string())?;
    promtool(["test".as_ref(), "rules".as_ref(), path.as_os_str()])
}

/// Checks a text of metrics: its format, and the names and help texts.
pub fn check_metrics(text: &str) -> Result<()> {
    let dir = Scratch::new()?;
    let path = dir.path().join("metrics.txt");
    fs::write(&path, text)?;
    let mut command = command()?;
    let output = command
        .args(["check", "metrics"])
        .stdin(File::open(path)?)
        .output()?;
    stdout(&command, &output).map(drop)
}
