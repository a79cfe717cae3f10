//! Waits, and what is asked of the way back: soon after the first answer that the API server gives again, and with no more
//! memory than before.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use e2e::fault_env::FaultEnv;
use e2e::fault_proxy::Verb;
use e2e::operator::Operator;
use tokio::time::sleep;

/// What a namespaced installation watches.
const WATCHED: [&str; 2] = ["pods", "sidecarpolicies"];
/// Their paths.
pub(crate) const PODS: &str = "*/pods";
/// See [`PODS`].
pub(crate) const POLICIES: &str = "*/sidecarpolicies";

/// The longest wait between two tries, the time until a changed token is read again, and a busy machine.
const PATIENCE: Duration = Duration::from_mins(2);
/// From the first good answer until all is in sync.
const RECOVERS: Duration = Duration::from_secs(5);
const AGAIN: Duration = Duration::from_millis(100);

/// Waits until something is so.
pub(crate) async fn eventually(what: &str, is: impl Fn() -> bool) -> Result<()> {
    let began = Instant::now();
    while !is() {
        ensure!(
            began.elapsed() < PATIENCE,
            "waited {PATIENCE:?} in vain for {what}"
        );
        sleep(AGAIN).await;
    }
    Ok(())
}

/// Waits until `/metrics` has these.
pub(crate) async fn says(stage: &mut FaultEnv, words: &[&str]) -> Result<()> {
    let began = Instant::now();
    loop {
        let metrics = stage.operator()?.metrics().await?;
        let missing: Vec<_> = words.iter().filter(|word| !metrics.contains(**word)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        ensure!(began.elapsed() < PATIENCE, "no {missing:?} in\n{metrics}");
        sleep(AGAIN).await;
    }
}

/// Waits until every watch is in sync and the operator says that it is ready. What was wrong was over at `ended`: that the next
/// try comes later is the back-off's doing, and from the last answer on, the way back is short.
pub(crate) async fn recovered(stage: &mut FaultEnv, ended: Instant) -> Result<()> {
    let back = in_sync(stage).await?;
    let mut calls = stage.proxy.calls();
    calls.retain(|call| matches!(call.verb, Verb::List | Verb::Watch));
    for (resource, since) in WATCHED.iter().zip(back) {
        let answered = calls.iter().rfind(|call| {
            let meanwhile = ended <= call.at && call.at <= since;
            meanwhile && call.path.ends_with(resource) && call.status == Some(200)
        });
        // A watch that outlived it needs no answer.
        if let Some(call) = answered {
            let took = since - call.at;
            ensure!(took <= RECOVERS, "{took:?} from {call:?} on; all: {calls:#?}");
        }
    }
    Ok(())
}

/// Since when each of the watches is in sync, when all are.
async fn in_sync(stage: &mut FaultEnv) -> Result<[Instant; 2]> {
    let began = Instant::now();
    let mut since = [None; 2];
    loop {
        let operator = stage.operator()?;
        let (ready, metrics) = (operator.readyz().await?, operator.metrics().await?);
        let now = Instant::now();
        for (resource, since) in WATCHED.iter().zip(&mut since) {
            let synced = format!("sidewatch_watch_synced{{resource=\"{resource}\"}} 1\n");
            *since = metrics.contains(&synced).then(|| since.unwrap_or(now));
        }
        if let [Some(pods), Some(policies)] = since
            && ready.status == 200
        {
            return Ok([pods, policies]);
        }
        if began.elapsed() > PATIENCE {
            bail!(
                "not back after {PATIENCE:?}: {since:?}, {ready:?}\n{}",
                operator.log()?
            );
        }
        sleep(AGAIN).await;
    }
}

/// How much memory the operator holds, in bytes.
pub(crate) async fn memory(operator: &Operator) -> Result<u64> {
    let metrics = operator.metrics().await?;
    let resident = metrics
        .lines()
        .find_map(|line| line.strip_prefix("process_resident_memory_bytes "));
    Ok(resident.context("no process_resident_memory_bytes")?.parse()?)
}
