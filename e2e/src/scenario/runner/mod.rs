//! Runs [scenarios](crate::scenario) with an operator that is installed by its chart, and verifies the results.
//!
//! ```text
//! ScenarioCluster::on_node / on_existing   a cluster with the operator
//!   execute   namespace, policy, objects, steps; waits for expected Events     many at once, then those that run alone
//!   verify    compares Events and violations with the expected ones            after a quiet time
//!   explain   compares `sidewatch explain` with the violations
//! ```

mod cluster;
mod event_watch;
mod execute;
mod explain;
mod verify;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use jiff::Timestamp;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use crate::observers::{Alert, ObservedRun, Timing};
use crate::process::programs::say;
use crate::scenario::Scenario;
pub use cluster::ScenarioCluster;
pub use execute::ScenarioRun;

/// Time between the starts of two scenarios: a kubelet starts about three Pods in two seconds.
const PACE: Duration = Duration::from_millis(700);
/// Longest time that the common alerts need with their published durations.
const REAL_TIME: Duration = Duration::from_mins(12);

/// Runs and verifies all scenarios. With [`Timing::Real`] nothing is verified, and all objects stay until the end.
pub async fn run(cluster: &Arc<ScenarioCluster>, scenarios: Vec<Scenario>) -> Result<Vec<ScenarioRun>> {
    let begin = Instant::now();
    let (alone, together): (Vec<_>, Vec<_>) = scenarios.into_iter().partition(|scenario| scenario.spec.alone);
    let at_once = match cluster.timing() {
        Timing::Fast => cluster.pace.at_once,
        Timing::Real => together.len(),
    };
    let slots = Arc::new(Semaphore::new(at_once));
    let mut running = JoinSet::new();
    for (index, scenario) in (0..).zip(together) {
        let (cluster, slots) = (Arc::clone(cluster), Arc::clone(&slots));
        running.spawn(async move {
            sleep_until(begin + PACE * index).await;
            let _slot = slots.acquire().await?;
            let mut run = execute::execute(&cluster, scenario).await;
            match cluster.timing() {
                Timing::Fast => sleep(cluster.pace.quiet).await,
                Timing::Real => sleep_until(begin + REAL_TIME).await,
            }
            let ended = cluster.caught_up().await?;
            verify(&cluster, &mut run, ended).await?;
            if cluster.timing() == Timing::Fast {
                cluster.remove(&run.scenario).await?;
            }
            anyhow::Ok(run)
        });
    }
    let mut all = Vec::new();
    while let Some(run) = running.join_next().await {
        let run = run.context("task of a scenario")??;
        report(&begin, &run);
        all.push(run);
    }
    let mut alone_runs = Vec::new();
    for scenario in alone {
        alone_runs.push(execute::execute(cluster, scenario).await);
    }
    if !alone_runs.is_empty() {
        sleep(match cluster.timing() {
            Timing::Fast => cluster.pace.quiet,
            Timing::Real => REAL_TIME / 2,
        })
        .await;
    }
    let ended = cluster.caught_up().await?;
    for mut run in alone_runs {
        verify(cluster, &mut run, ended).await?;
        report(&begin, &run);
        all.push(run);
    }
    all.sort_by(|a, b| a.scenario.name.cmp(&b.scenario.name));
    Ok(all)
}

async fn verify(cluster: &ScenarioCluster, run: &mut ScenarioRun, ended: Timestamp) -> Result<()> {
    run.ended = ended;
    if cluster.timing() == Timing::Fast {
        let events = verify::events(run, cluster.events().await?.as_slice());
        let metrics = cluster.installed.metrics().await?;
        let violations = verify::violations(run, &metrics)?;
        let others = verify::metrics(run, &metrics)?;
        let explained = explain::differences(cluster, run, &metrics).await;
        let explained = explained.unwrap_or_else(|error| vec![format!("cannot be explained: {error:#}")]);
        run.errors.extend(
            events
                .into_iter()
                .chain(violations)
                .chain(others)
                .chain(explained),
        );
    }
    if !run.errors.is_empty() {
        run.errors.push(cluster.pods(&run.scenario.name).await);
    }
    Ok(())
}

/// All runs with the alerts in Prometheus, or `None` on a cluster without it.
pub async fn observed<'a>(
    cluster: &ScenarioCluster,
    runs: &'a [ScenarioRun],
) -> Result<Option<(Vec<ObservedRun<'a>>, Vec<Alert>)>> {
    let Some(observers) = cluster.observers() else {
        return Ok(None);
    };
    let to = observers.catch_up().await?;
    let from = runs.iter().map(|run| run.started).min().unwrap_or(to);
    let alerts = observers.alerts(from, to).await?;
    Ok(Some((runs.iter().map(ScenarioRun::observed).collect(), alerts)))
}

fn report(begin: &Instant, run: &ScenarioRun) {
    let after = begin.elapsed().as_secs();
    let result = if run.errors.is_empty() { "ok" } else { "FAILED" };
    say(
        &format!("{after:>5} s"),
        &format!("{result:<6} {}", run.scenario.name),
    );
}
