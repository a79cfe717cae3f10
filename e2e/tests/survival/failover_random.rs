//! Two replicas, and one disturbance of the leader or its Lease at a random moment of the sequence.
//!
//! `SIDEWATCH_KILL_POINTS` is the number of moments; `make failover-soak` sets it to 100. The seed in the name of a test
//! determines the moment and the disturbance.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::faults::env::LEASE;
use e2e::faults::replicas::{Replicas, taken_over};
use kube::api::{DeleteParams, Patch, PatchParams};
use libtest_mimic::Trial;
use serde_json::json;
use testkit::rng::Rng;

use super::failover::{AFTER_CRASH, LONGER_THAN_THE_LEASE, TOLERANCE, begin};
use super::sequence::UNTIL_QUIET;
use super::test;

const POINTS: &str = "SIDEWATCH_KILL_POINTS";
/// Number of moments without the variable.
const DEFAULT_POINTS: u64 = 3;
/// The last moment, in milliseconds after the first phase. All violations fire before.
const LAST: i64 = 60_000;
/// From the takeover until the new leader has written what it kept.
const WRITTEN: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, Debug)]
enum Disturbance {
    Kill,
    Terminate,
    Freeze,
    Partition,
    DeleteLease,
    EditLease,
}

const ALL: [Disturbance; 6] = [
    Disturbance::Kill,
    Disturbance::Terminate,
    Disturbance::Freeze,
    Disturbance::Partition,
    Disturbance::DeleteLease,
    Disturbance::EditLease,
];

pub(crate) fn tests() -> Vec<Trial> {
    let points = std::env::var(POINTS).ok().and_then(|points| points.parse().ok());
    (0..points.unwrap_or(DEFAULT_POINTS))
        .map(|seed| test(&format!("random_failover_{seed}"), move || at_random(seed)))
        .collect()
}

async fn at_random(seed: u64) -> Result<()> {
    let mut rng = Rng::new(seed);
    let disturbance = rng.pick(&ALL);
    let after = Duration::from_millis(rng.between(0, LAST).unsigned_abs());
    let (mut replicas, mut sequence) = begin().await?;
    let disturb = async {
        tokio::time::sleep(after).await;
        disturb(&mut replicas, disturbance).await
    };
    let context = || format!("{disturbance:?} {after:?} after the first phase");
    tokio::try_join!(sequence.second_phase(), disturb).with_context(context)?;
    tokio::time::sleep(WRITTEN).await;
    sequence
        .end(&mut replicas.second, TOLERANCE, UNTIL_QUIET)
        .await
        .with_context(context)?;
    match disturbance {
        // Writes that were sent before the deadline arrive when the partition ends.
        Disturbance::Partition => Ok(()),
        _ => replicas.check_writes().with_context(context),
    }
}

/// Disturbs the leader, and returns when one of the replicas is the leader again.
async fn disturb(replicas: &mut Replicas, disturbance: Disturbance) -> Result<()> {
    let since = Instant::now();
    let leases = replicas.leases();
    match disturbance {
        Disturbance::Kill => {
            replicas.first.kill_operator()?;
            let took = taken_over(&replicas.second, since).await? - since;
            ensure!(took <= AFTER_CRASH, "the takeover took {took:?}");
            return Ok(());
        }
        Disturbance::Terminate => {
            replicas.first.take_operator()?.stop().await?;
            taken_over(&replicas.second, since).await?;
            return Ok(());
        }
        Disturbance::Freeze => {
            replicas.first.operator()?.process().freeze()?;
            tokio::time::sleep(LONGER_THAN_THE_LEASE).await;
            replicas.first.operator()?.process().thaw()?;
        }
        Disturbance::Partition => {
            replicas.first.proxy.partition();
            tokio::time::sleep(LONGER_THAN_THE_LEASE).await;
            replicas.first.proxy.heal();
        }
        Disturbance::DeleteLease => {
            leases.delete(LEASE, &DeleteParams::default()).await?;
        }
        Disturbance::EditLease => {
            let edit = Patch::Merge(json!({"spec": {"holderIdentity": "somebody"}}));
            leases.patch(LEASE, &PatchParams::default(), &edit).await?;
            tokio::time::sleep(AFTER_CRASH).await;
        }
    }
    replicas.one_leads().await
}
