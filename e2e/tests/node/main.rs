//! The product where its users run it: a real kubelet, real containers that crash and hang, the operator as a Deployment from
//! its own image and its own chart. Each of `e2e/scenarios` is a test; they share one cluster and one run.
//!
//! A harness of its own: it starts this program again in namespaces of its own, and the run comes before the reports.
//!
//! `SIDEWATCH_E2E_KUBECONFIG` names an existing cluster to use instead; then whatever needs a node of our own is left out.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests without the standard harness, which clippy does not see as such"
)]

mod holds;

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
/// A name, and what is wrong: nothing when all is well.
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

/// The loud line; in CI it is a failure.
fn cannot_run(reason: &str) -> Result<Vec<Verdict>> {
    if std::env::var_os("CI").is_some() {
        anyhow::bail!("THE TESTS ON A REAL NODE DID NOT RUN: {reason}");
    }
    say(&format!("THE TESTS ON A REAL NODE DID NOT RUN: {reason}"));
    Ok(Vec::new())
}

async fn run(existing: Option<&Path>, scenarios: Vec<Scenario>) -> Result<Vec<Verdict>> {
    let place = match existing {
        Some(kubeconfig) => ScenarioCluster::on_existing(kubeconfig).await?,
        None => ScenarioCluster::on_node(Node::start().await?, Timing::Fast).await?,
    };
    let mut verdicts = holds::installed(&place).await?;
    let played = runner::run(&place, scenarios).await?;
    verdicts.extend(holds::afterwards(&place, &played).await?);
    verdicts.extend(
        played
            .into_iter()
            .map(|played| (run.scenario.name, played.errors)),
    );
    Ok(verdicts)
}

/// As the harness would choose.
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

/// Straight to standard error, where nobody keeps it from the person who waits.
fn say(message: &str) {
    let _ = writeln!(std::io::stderr(), "\nnode: {message}\n");
}
