//! Two replicas, and one disturbance of the leader or its Lease at a random moment of the sequence.
//!
//! `SIDEWATCH_KILL_POINTS` is the number of moments; `make failover-soak` sets it to 100. The seed in the name of a test
//! determines the moment and the disturbance.

use std::time::Duration;

use anyhow::{Context, Result};
use e2e::faults::disturbance::Disturbance;
use e2e::faults::replicas::Replica;
use e2e::soak;
use libtest_mimic::Trial;
use testkit::rng::Rng;

use super::failover::{TOLERANCE, begin};
use super::sequence::{self, RESTARTED, UNTIL_QUIET};
use super::test;

const POINTS: &str = "SIDEWATCH_KILL_POINTS";
/// Number of moments without the variable.
const DEFAULT_POINTS: u64 = 3;
/// The last moment, in milliseconds after the first phase. All violations fire before.
const LAST: i64 = 60_000;
/// From the takeover until the new leader has written what it kept.
const WRITTEN: Duration = Duration::from_secs(5);

/// Completes one round of the soak.
const ONE_ROUND: Duration = Duration::from_secs(1);

pub(crate) fn tests() -> Vec<Trial> {
    let points = std::env::var(POINTS).ok().and_then(|points| points.parse().ok());
    let mut tests: Vec<Trial> = (0..points.unwrap_or(DEFAULT_POINTS))
        .map(|seed| test(&format!("random_failover_{seed}"), move || at_random(seed)))
        .collect();
    tests.push(test("soak_of_one_round", one_round));
    tests
}

/// `make soak` runs many.
async fn one_round() -> Result<()> {
    let plane = sequence::plane().await?;
    let options = soak::Options {
        duration: ONE_ROUND,
        seed: 2,
        first_round: 1,
    };
    soak::run_on(plane, options).await.map(drop)
}

async fn at_random(seed: u64) -> Result<()> {
    let mut rng = Rng::new(seed);
    let disturbance = rng.pick(&Disturbance::ALL);
    let after = Duration::from_millis(rng.between(0, LAST).unsigned_abs());
    let plane = sequence::plane().await?;
    let (mut replicas, mut sequence) = begin().await?;
    let disturb = async {
        tokio::time::sleep(after).await;
        disturbance.apply(plane, &mut replicas, Replica::First).await
    };
    let context = || format!("{disturbance:?} {after:?} after the first phase");
    let ((), late) = tokio::try_join!(sequence.second_phase(), disturb).with_context(context)?;
    tokio::time::sleep(WRITTEN).await;
    sequence
        .end(&mut replicas.second, TOLERANCE, UNTIL_QUIET)
        .await
        .with_context(context)?;
    if disturbance.ends_process() {
        sequence
            .end(&mut replicas.first, RESTARTED, UNTIL_QUIET)
            .await
            .with_context(|| format!("{}, the process that started again", context()))?;
    }
    // Writes that were sent before the deadline arrive when the partition ends.
    let late = Vec::from_iter(late);
    replicas.check_writes_except(&late).with_context(context)
}
