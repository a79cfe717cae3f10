//! Tests on a real node: a real kubelet, real containers, the operator as a Deployment from its image and chart. Each file in
//! `e2e/scenarios` is a test; they share one cluster and one run.
//!
//! It has its own harness, which runs this program again in new Linux namespaces and reports after the run.
//!
//! `SIDEWATCH_E2E_KUBECONFIG` names an existing cluster. Scenarios that need the test node, or what its kubelets lack, are then
//! skipped.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests without the standard harness, which clippy does not see as such"
)]

mod existing;
mod requirements;

use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use e2e::harness::{self, Verdict, cannot_run, is_wanted};
use e2e::node::{self, Node};
use e2e::observers::Timing;
use e2e::scenario::Scenario;
use e2e::scenario::runner::{self, ScenarioCluster};
use e2e::tools::Tool;
use libtest_mimic::Arguments;

const EXISTING: &str = "SIDEWATCH_E2E_KUBECONFIG";

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    harness::report(&arguments, verdicts(&arguments))
}

fn verdicts(arguments: &Arguments) -> Result<Vec<Verdict>> {
    let existing = std::env::var_os(EXISTING).filter(|value| !value.is_empty());
    let mut scenarios = Scenario::all()?;
    if existing.is_some() {
        scenarios.retain(Scenario::is_portable);
    }
    if arguments.list {
        let tests = scenarios
            .iter()
            .map(|scenario| (scenario.test_name(), Vec::new()));
        return Ok(tests.collect());
    }
    if existing.is_none() && !node::is_inside() {
        if let Some(reason) = node::unavailable() {
            return cannot_run(&reason);
        }
        node::enter(&Tool::RUNNER)?;
    }
    scenarios.retain(|scenario| is_wanted(arguments, &scenario.test_name()));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let verdicts = runtime.block_on(run(existing.as_deref().map(Path::new), scenarios));
    runtime.shutdown_background();
    verdicts
}

async fn run(existing: Option<&Path>, mut scenarios: Vec<Scenario>) -> Result<Vec<Verdict>> {
    let cluster = match existing {
        Some(kubeconfig) => {
            let cluster = ScenarioCluster::on_existing(kubeconfig).await?;
            existing::keep_possible(cluster.cluster().client().await?, &mut scenarios).await?;
            cluster
        }
        None => ScenarioCluster::on_node(Node::start().await?, Timing::Fast).await?,
    };
    let mut verdicts = requirements::installed(&cluster).await?;
    let runs = runner::run(&cluster, scenarios).await?;
    let afterwards = requirements::afterwards(&cluster, &runs).await;
    verdicts.extend(
        afterwards.unwrap_or_else(|error| vec![("the_whole_run".to_owned(), vec![format!("{error:#}")])]),
    );
    verdicts.extend(runs.into_iter().map(|run| (run.scenario.test_name(), run.errors)));
    Ok(verdicts)
}
