//! Two replicas, and one disturbance of the leader or its Lease at a random moment of the sequence.
//!
//! `SIDEWATCH_KILL_POINTS` is the number of moments; `make failover-soak` sets it to 100. The seed in the name of a test
//! determines the moment and the disturbance.

use std::time::Duration;

use anyhow::{Context, Result};
use e2e::faults::disturbance::Disturbance;
use e2e::soak;
use libtest_mimic::Trial;
use testkit::rng::Rng;

use super::failover::disturbed;
use super::sequence;
use super::test;

const POINTS: &str = "SIDEWATCH_KILL_POINTS";
/// Number of moments without the variable.
const DEFAULT_POINTS: u64 = 3;
/// The last moment, in milliseconds after the first phase. All violations fire before.
const LAST: i64 = 60_000;
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
    disturbed(disturbance, after)
        .await
        .with_context(|| format!("{disturbance:?} {after:?} after the first phase"))
}
