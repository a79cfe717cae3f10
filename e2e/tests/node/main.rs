//! Tests on a real node: a real kubelet, real containers, the operator as a Deployment from its image and chart. Each file in
//! `e2e/scenarios` is a test; they share one cluster and one run.
//!
//! It has its own harness, which runs this program again in new Linux namespaces and reports after the run.
//!
//! `SIDEWATCH_E2E_KUBECONFIG` names an existing cluster. Scenarios that need the test node are then skipped.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests without the standard harness, which clippy does not see as such"
)]

mod requirements;

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use e2e::node::{self, Node};
use e2e::observers::Timing;
use e2e::scenario::Scenario;
use e2e::scenario::runner::{self, ScenarioCluster};
use e2e::tools::Tool;
use libtest_mimic::{Arguments, Failed, Trial};

const EXISTING: &str = "SIDEWATCH_E2E_KUBECONFIG";
/// Name of a test and its errors.
type Verdict = (String, Vec<String>);

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    match verdicts(&arguments) {
        Ok(verdicts) => libtest_mimic::run(&arguments, verdicts.into_iter().map(trial).collect()).exit_code(),
        Err(error) => {
            say(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn verdicts(arguments: &Arguments) -> Result<Vec<Verdict>> {
    let existing = std::env::var_os(EXISTING).filter(|value| !value.is_empty());
    let mut scenarios = Scenario::all()?;
    if existing.is_some() {
        scenarios.retain(Scenario::is_portable);
    }
    if arguments.list {
        let names = scenarios.into_iter().map(|scenario| scenario.name);
        return Ok(names.map(|name| (name, Vec::new())).collect());
    }
    if existing.is_none() && !node::is_inside() {
        if let Some(reason) = node::unavailable() {
            return cannot_run(&reason);
        }
        node::enter(&Tool::RUNNER)?;
    }
    scenarios.retain(|scenario| is_wanted(arguments, &scenario.name));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let verdicts = runtime.block_on(run(existing.as_deref().map(Path::new), scenarios));
    runtime.shutdown_background();
    verdicts
}

/// Reports that the tests were skipped; an error in CI.
fn cannot_run(reason: &str) -> Result<Vec<Verdict>> {
    if std::env::var_os("CI").is_some() {
        anyhow::bail!("THE TESTS ON A REAL NODE DID NOT RUN: {reason}");
    }
    say(&format!("THE TESTS ON A REAL NODE DID NOT RUN: {reason}"));
    Ok(Vec::new())
}

async fn run(existing: Option<&Path>, scenarios: Vec<Scenario>) -> Result<Vec<Verdict>> {
    let cluster = match existing {
        Some(kubeconfig) => ScenarioCluster::on_existing(kubeconfig).await?,
        None => ScenarioCluster::on_node(Node::start().await?, Timing::Fast).await?,
    };
    let mut verdicts = requirements::installed(&cluster).await?;
    let runs = runner::run(&cluster, scenarios).await?;
    verdicts.extend(requirements::afterwards(&cluster, &runs).await?);
    verdicts.extend(runs.into_iter().map(|run| (run.scenario.name, run.errors)));
    Ok(verdicts)
}

/// Whether the arguments select a test, as in the standard harness.
fn is_wanted(arguments: &Arguments, name: &str) -> bool {
    let matches = |filter: &String| {
        if arguments.exact {
            name == filter
        } else {
            name.contains(filter.as_str())
        }
    };
    arguments.filter.as_ref().is_none_or(matches) && !arguments.skip.iter().any(matches)
}

fn trial((name, errors): Verdict) -> Trial {
    Trial::test(name, move || {
        if errors.is_empty() {
            Ok(())
        } else {
            Err(Failed::from(errors.join("\n")))
        }
    })
}

/// Writes to standard error, which the harness does not capture.
fn say(message: &str) {
    let _ = writeln!(std::io::stderr(), "\nnode: {message}\n");
}
