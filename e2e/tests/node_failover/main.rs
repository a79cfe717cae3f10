//! Two replicas of the operator on a real node, installed by the chart and scraped by a real Prometheus, while replicas are
//! upgraded, deleted and killed. `make failover-node` runs these tests; they take a quarter of an hour.
//!
//! | module | test |
//! | --- | --- |
//! | `upgrade` | `helm upgrade` to another image tag, and a deleted leader, with pending and firing violations |
//! | `upgrade` | an API server that is replaced by the newest version and by its own again, with a kubelet of the version before the newest; `make compat` runs it |
//! | `many` | more than 200 violations when the leader is killed, and when both replicas are killed |
//! | `random` | random Pods, compared with an undisturbed operator, with two replicas and with one |

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests without the standard harness, which clippy does not see as such"
)]

mod installation;
mod many;
mod random;
mod undisturbed;
mod upgrade;

use std::process::ExitCode;

use anyhow::Result;
use e2e::harness::{Verdict, cannot_run, is_wanted, report};
use e2e::node;
use e2e::tools::{self, KubernetesVersion, Tool};
use libtest_mimic::Arguments;

use installation::Installation;
use upgrade::Disturbed;

const UPGRADE: &str = "nothing_is_announced_or_forgotten_by_an_upgrade_and_a_deleted_leader";
const REPLACED: &str =
    "nothing_is_announced_or_forgotten_while_the_api_server_is_replaced_and_the_kubelet_is_older";
const MANY: &str = "no_violation_is_forgotten_when_the_leader_is_killed";
const RANDOM: &str = "random_pods_equal_those_of_an_undisturbed_operator";

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    report(&arguments, verdicts(&arguments))
}

fn verdicts(arguments: &Arguments) -> Result<Vec<Verdict>> {
    let wanted = |name: &&str| is_wanted(arguments, name);
    let tests: Vec<&str> = tests()?.into_iter().filter(wanted).collect();
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
        if tests.contains(&REPLACED) {
            tools::ensure_version(&[Tool::KubeApiserver], KubernetesVersion::NEWEST)?;
        }
        node::enter(&Tool::RUNNER)?;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let verdicts = runtime.block_on(run(&tests));
    runtime.shutdown_background();
    verdicts
}

/// The tests for the selected version of Kubernetes.
fn tests() -> Result<Vec<&'static str>> {
    // Kubernetes supports an upgrade by one minor version.
    let next = KubernetesVersion::selected()?.minor() + 1;
    Ok(if next == KubernetesVersion::NEWEST.minor() {
        vec![REPLACED]
    } else {
        vec![UPGRADE, MANY, RANDOM]
    })
}

async fn run(tests: &[&str]) -> Result<Vec<Verdict>> {
    let mut installation = Installation::start().await?;
    let mut verdicts = Vec::new();
    for name in tests {
        let errors = match *name {
            UPGRADE => upgrade::run(&mut installation, Disturbed::Operator).await,
            REPLACED => upgrade::run(&mut installation, Disturbed::ApiServer).await,
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
