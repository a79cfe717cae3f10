//! Two replicas of the operator on a real node, installed by the chart and scraped by a real Prometheus, while replicas are
//! upgraded, deleted and killed. `make failover-node` runs these tests; they take a quarter of an hour.
//!
//! | module | test |
//! | --- | --- |
//! | `upgrade` | `helm upgrade` to another image tag, and a deleted leader, with pending and firing violations |
//! | `many` | more than 200 violations when the leader is killed, and when both replicas are killed |
//! | `random` | random Pods, compared with an undisturbed operator, with two replicas and with one |

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests without the standard harness, which clippy does not see as such"
)]

#[path = "../node/harness.rs"]
mod harness;
mod installation;
mod many;
mod random;
mod undisturbed;
mod upgrade;

use std::process::ExitCode;

use anyhow::Result;
use e2e::node;
use e2e::tools::Tool;
use libtest_mimic::Arguments;

use harness::{Verdict, cannot_run, is_wanted, report};
use installation::Installation;

const UPGRADE: &str = "nothing_is_announced_or_forgotten_by_an_upgrade_and_a_deleted_leader";
const MANY: &str = "no_violation_is_forgotten_when_the_leader_is_killed";
const RANDOM: &str = "random_pods_equal_those_of_an_undisturbed_operator";

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    report(&arguments, verdicts(&arguments))
}

fn verdicts(arguments: &Arguments) -> Result<Vec<Verdict>> {
    let wanted = |name: &&str| is_wanted(arguments, name);
    let tests: Vec<&str> = [UPGRADE, MANY, RANDOM].into_iter().filter(wanted).collect();
    if arguments.list {
        return Ok(tests
            .into_iter()
            .map(|name| (name.to_owned(), Vec::new()))
            .collect());
    }
    if !node::is_inside() {
        if let Some(reason) = node::unavailable() {
            return cannot_run(&reason);
        }
        node::enter(&Tool::RUNNER)?;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let verdicts = runtime.block_on(run(&tests));
    runtime.shutdown_background();
    verdicts
}

async fn run(tests: &[&str]) -> Result<Vec<Verdict>> {
    let installation = Installation::start().await?;
    let mut verdicts = Vec::new();
    for name in tests {
        let errors = match *name {
            UPGRADE => upgrade::run(&installation).await,
            MANY => many::run(&installation).await,
            _ => random::run(&installation).await,
        };
        let errors = errors.unwrap_or_else(|error| vec![format!("{error:#}")]);
        verdicts.push(((*name).to_owned(), errors));
    }
    verdicts.push((
        "the_log_has_no_error".to_owned(),
        installation.logged_errors().await?,
    ));
    Ok(verdicts)
}
