//! Two replicas with leader election: the leader is killed, frozen, cut off or stopped, its Lease is deleted or edited, and the
//! clock of one replica is ahead.
//! The standby writes what is missing, nothing is written twice, and no replica writes after its deadline.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::faults::disturbance::{Disturbance, LONGER_THAN_THE_LEASE};
use e2e::faults::env::FaultEnv;
use e2e::faults::proxy::{Fault, Rule, Verb};
use e2e::faults::replicas::{Replica, Replicas, is_of_lease, leads, taken_over};
use e2e::faults::snapshot::Tolerance;
use e2e::metrics;
use e2e::poll::eventually;
use libtest_mimic::Trial;

use super::sequence::{self, RESTARTED, STRICT, Sequence, UNTIL_QUIET};
use super::test;

/// Shortly before the second phase, so that the Pods change without a leader.
const BEFORE: Duration = Duration::from_millis(11_500);
/// During the second phase, so that changes are not announced yet.
const DURING: Duration = Duration::from_millis(12_500);
/// From the takeover until the new leader has written what it kept.
const WRITTEN: Duration = Duration::from_secs(5);
/// A time on the wall clock of a replica.
const WALL_CLOCK: &str = "sidewatch_watch_last_activity_timestamp_seconds";
/// Time without a write after which nothing is being written. Retries and checkpoints are further apart.
const QUIET: Duration = Duration::from_secs(5);
/// The standby detects everything in time. It sends an Event later, with the time at which it detected the fault.
const TOLERANCE: Tolerance = STRICT;

pub(crate) fn tests() -> Vec<Trial> {
    let disturbances = [
        ("failover_leader_killed", Disturbance::Kill, BEFORE),
        ("failover_leader_terminated", Disturbance::Terminate, DURING),
        ("failover_leader_frozen", Disturbance::Freeze, BEFORE),
        ("failover_leader_partitioned", Disturbance::Partition, BEFORE),
        ("failover_lease_deleted", Disturbance::DeleteLease, BEFORE),
        ("failover_lease_edited", Disturbance::EditLease, BEFORE),
    ];
    let disturbances =
        disturbances.map(|(name, disturbance, after)| test(name, move || disturbed(disturbance, after)));
    let [first, second] = [Replica::First, Replica::Second].map(|ahead| move || clock_ahead(ahead));
    let others = [
        test("failover_leader_frozen_with_waiting_events", frozen_with_events),
        test("failover_both_partitioned", both_partitioned),
        test("failover_clock_of_the_leader_ahead", first),
        test("failover_clock_of_the_standby_ahead", second),
        test("failover_beside_an_operator_without_election", upgraded),
    ];
    disturbances.into_iter().chain(others).collect()
}

/// Starts two replicas and the first phase.
async fn begin() -> Result<(Replicas, Sequence)> {
    let plane = sequence::plane().await?;
    let _turn = sequence::turn().await?;
    let replicas = Replicas::start(plane, "failover").await?;
    let sequence = Sequence::begin(&replicas.first).await?;
    Ok((replicas, sequence))
}

/// Disturbs the leader or its Lease some time after the first phase.
pub(crate) async fn disturbed(disturbance: Disturbance, after: Duration) -> Result<()> {
    let plane = sequence::plane().await?;
    let (mut replicas, mut sequence) = begin().await?;
    let disturb = async {
        tokio::time::sleep(after).await;
        disturbance.apply(plane, &mut replicas, Replica::First).await
    };
    let ((), disturbed) = tokio::try_join!(sequence.second_phase(), disturb)?;
    if let Some(expected) = disturbance.takeover_within() {
        let took = disturbed.takeover.context("no takeover")?;
        ensure!(expected.contains(&took), "the takeover took {took:?}");
    }
    tokio::time::sleep(WRITTEN).await;
    sequence.end(&mut replicas.second, TOLERANCE, UNTIL_QUIET).await?;
    if disturbance.ends_process() {
        let end = sequence.end(&mut replicas.first, RESTARTED, UNTIL_QUIET);
        end.await.context("the process that started again")?;
    }
    // Writes that were sent before the deadline arrive when a partition ends.
    replicas.check_writes_except(&Vec::from_iter(disturbed.late))
}

/// The retries are due when the process continues, before the election can run. They do not start.
///
/// The process is frozen while it writes nothing: a request that it has begun continues with it, and then arrives late.
async fn frozen_with_events() -> Result<()> {
    let (mut replicas, mut sequence) = begin().await?;
    sequence.pause_between_phases().await;
    let unavailable = Fault::busy(503, u32::try_from(LONGER_THAN_THE_LEASE.as_secs())?);
    let events = Rule::new(Verb::Create, "*/events", unavailable);
    let refused = replicas.first.proxy.add(events);
    sequence.second_phase().await?;
    refused.hit(1).await;
    quiet(&replicas.first).await?;
    taken_over(&replicas.first, Instant::now()).await?;
    replicas.first.operator()?.process().freeze()?;
    refused.lift();
    tokio::time::sleep(LONGER_THAN_THE_LEASE).await;
    replicas.first.operator()?.process().thaw()?;
    replicas.one_leads().await?;
    sequence.end(&mut replicas.second, TOLERANCE, UNTIL_QUIET).await?;
    replicas.check_writes()
}

/// Waits until a replica has written nothing but the Lease for a while.
async fn quiet(env: &FaultEnv) -> Result<()> {
    eventually(UNTIL_QUIET, async || {
        let calls = env.proxy.calls();
        let mut writes = calls
            .iter()
            .filter(|call| call.verb.writes() && !is_of_lease(call));
        let last = writes.next_back().context("no write")?;
        ensure!(
            last.at.elapsed() >= QUIET,
            "{} {} was just written",
            last.verb,
            last.path
        );
        Ok(())
    })
    .await
}

async fn both_partitioned() -> Result<()> {
    let (mut replicas, mut sequence) = begin().await?;
    sequence.second_phase().await?;
    // A violation that a replica takes from a checkpoint is not counted again, so each has to observe all of them.
    for env in [&mut replicas.first, &mut replicas.second] {
        all_fired(env).await?;
    }
    for env in [&replicas.first, &replicas.second] {
        env.proxy.partition();
    }
    tokio::time::sleep(LONGER_THAN_THE_LEASE).await;
    for env in [&replicas.first, &replicas.second] {
        env.proxy.heal();
    }
    replicas.one_leads().await?;
    let later = sequence::UNSEEN;
    sequence.end(&mut replicas.first, later, UNTIL_QUIET).await?;
    sequence.end(&mut replicas.second, later, UNTIL_QUIET).await
}

/// Waits until NotReady has fired for all five Pods of the sequence.
async fn all_fired(env: &mut FaultEnv) -> Result<()> {
    let operator = env.operator()?;
    eventually(UNTIL_QUIET, async || {
        let labels = [("check", "NotReady"), ("policy", "fast")];
        let fired = metrics::value(&operator.metrics().await?, "sidewatch_violations_total", &labels)?;
        ensure!(fired == Some(5.0), "NotReady fired for {fired:?} Pods");
        Ok(())
    })
    .await
}

/// The wall clock of one replica is five minutes ahead, and the leader is killed. Only times may differ.
async fn clock_ahead(ahead: Replica) -> Result<()> {
    let plane = sequence::plane().await?;
    let turn = sequence::turn().await?;
    let mut replicas = Replicas::start_with_clock_ahead(plane, "failover", Some(ahead)).await?;
    let mut sequence = Sequence::begin(&replicas.first).await?;
    drop(turn);
    let shown = metrics::value(
        &replicas.of(ahead).metrics().await?,
        WALL_CLOCK,
        &[("resource", "pods")],
    )?;
    let now = jiff::Timestamp::now().as_duration().as_secs_f64();
    ensure!(
        shown.is_some_and(|shown| shown > now + 200.0),
        "{shown:?} at {now}"
    );
    sequence.second_phase().await?;
    replicas.first.kill_operator()?;
    leads(&replicas.second).await?;
    let tolerance = sequence::UNSEEN;
    sequence.end(&mut replicas.second, tolerance, UNTIL_QUIET).await?;
    replicas.check_writes()
}

/// An operator without leader election writes beside the leader.
async fn upgraded() -> Result<()> {
    let plane = sequence::plane().await?;
    let (mut old, mut sequence) = sequence::begin("upgraded").await?;
    let mut new = old.replica(plane).await?;
    new.elect().await?;
    new.start_operator(plane).await?;
    new.operator()?.wait_until_ready().await?;
    leads(&new).await?;
    sequence.second_phase().await?;
    old.take_operator()?.stop().await?;
    let started_later = Tolerance {
        restarted: true,
        ..TOLERANCE
    };
    sequence.end(&mut new, started_later, UNTIL_QUIET).await
}
