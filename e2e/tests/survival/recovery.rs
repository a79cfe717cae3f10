//! Waits for metrics and recovery, and checks the time of a recovery.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use e2e::faults::env::FaultEnv;
use e2e::faults::proxy::Verb;
use e2e::metrics;
use e2e::operator::Operator;
use e2e::poll::eventually;

/// Resources that a namespaced installation watches.
const WATCHED: [&str; 2] = ["pods", "sidecarpolicies"];
/// Path pattern of Pods.
pub(crate) const PODS: &str = "*/pods";
/// Path pattern of policies.
pub(crate) const POLICIES: &str = "*/sidecarpolicies";

/// Longer than the longest back-off and the time until a changed token is read again, on a busy machine.
pub(crate) const WAIT: Duration = Duration::from_mins(2);
/// From the first successful answer until everything is in sync.
const RECOVERS: Duration = Duration::from_secs(5);

/// Waits until `/metrics` contains all `parts`.
pub(crate) async fn wait_for_metrics(env: &mut FaultEnv, parts: &[&str]) -> Result<()> {
    let operator = env.operator()?;
    eventually(WAIT, || async {
        let metrics = operator.metrics().await?;
        let missing: Vec<_> = parts.iter().filter(|part| !metrics.contains(**part)).collect();
        ensure!(missing.is_empty(), "no {missing:?} in\n{metrics}");
        Ok(())
    })
    .await
}

/// Waits until every watch is in sync and the operator is ready. The fault ended at `ended`. The back-off may delay the next
/// request; after the last successful answer, the recovery must be fast.
pub(crate) async fn recovered(env: &mut FaultEnv, ended: Instant) -> Result<()> {
    let back = in_sync(env).await?;
    let mut calls = env.proxy.calls();
    calls.retain(|call| matches!(call.verb, Verb::List | Verb::Watch));
    for (resource, since) in WATCHED.iter().zip(back) {
        let answered = calls.iter().rfind(|call| {
            let meanwhile = ended <= call.at && call.at <= since;
            meanwhile && call.path.ends_with(resource) && call.status == Some(200)
        });
        // A watch that survived the fault needs no answer.
        if let Some(call) = answered {
            let took = since - call.at;
            ensure!(took <= RECOVERS, "{took:?} from {call:?} on; all: {calls:#?}");
        }
    }
    Ok(())
}

/// Waits until all watches are in sync and returns since when each of them is.
async fn in_sync(env: &mut FaultEnv) -> Result<[Instant; 2]> {
    let operator = env.operator()?;
    let since = std::cell::RefCell::new([None; 2]);
    eventually(WAIT, || async {
        let (ready, metrics) = (operator.readyz().await?, operator.metrics().await?);
        let now = Instant::now();
        let mut since = since.borrow_mut();
        for (resource, since) in WATCHED.iter().zip(since.iter_mut()) {
            let synced = format!("sidewatch_watch_synced{{resource=\"{resource}\"}} 1\n");
            *since = metrics.contains(&synced).then(|| since.unwrap_or(now));
        }
        match *since {
            [Some(pods), Some(policies)] if ready.status == 200 => Ok([pods, policies]),
            _ => bail!("not in sync: {since:?}, {ready:?}\n{}", operator.log()?),
        }
    })
    .await
}

/// Resident memory of the operator, in bytes.
pub(crate) async fn memory(operator: &Operator) -> Result<f64> {
    let resident = metrics::value(&operator.metrics().await?, "process_resident_memory_bytes", &[])?;
    resident.context("no process_resident_memory_bytes")
}
