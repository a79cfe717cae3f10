//! Two replicas with leader election: the leader is killed, frozen, cut off or stopped, its Lease is deleted or edited, and the
//! clock of one replica is ahead.
//! The standby writes what is missing, nothing is written twice, and no replica writes after its deadline.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::faults::disturbance::{AFTER_CRASH, LONGER_THAN_THE_LEASE};
use e2e::faults::env::{FaultEnv, LEASE};
use e2e::faults::proxy::{Fault, Rule, Verb};
use e2e::faults::replicas::{Replica, Replicas, is_of_lease, leads, taken_over};
use e2e::faults::snapshot::Tolerance;
use e2e::metrics;
use e2e::poll::eventually;
use kube::api::{DeleteParams, Patch, PatchParams};
use libtest_mimic::Trial;
use serde_json::json;

use super::sequence::{self, STRICT, Sequence, UNTIL_QUIET};
use super::test;

/// Maximum time from SIGTERM to the takeover.
const AFTER_SIGTERM: Duration = Duration::from_secs(2);
/// A time on the wall clock of a replica.
const WALL_CLOCK: &str = "sidewatch_watch_last_activity_timestamp_seconds";
/// Maximum time from the last write of another installation until its condition ends, on a busy machine.
const UNTIL_EXCLUSIVE: Duration = Duration::from_mins(2);
/// Time without a write after which nothing is being written. Retries and checkpoints are further apart.
const QUIET: Duration = Duration::from_secs(5);
/// The standby detects everything in time. It sends an Event later, with the time at which it detected the fault.
pub(crate) const TOLERANCE: Tolerance = STRICT;

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        test("failover_leader_killed", killed),
        test("failover_leader_terminated", terminated),
        test("failover_leader_frozen", frozen),
        test("failover_leader_frozen_with_waiting_events", frozen_with_events),
        test("failover_leader_partitioned", partitioned),
        test("failover_both_partitioned", both_partitioned),
        test("failover_lease_deleted", deleted),
        test("failover_lease_edited", edited),
        test("failover_clock_of_the_leader_ahead", || {
            clock_ahead(Replica::First)
        }),
        test("failover_clock_of_the_standby_ahead", || {
            clock_ahead(Replica::Second)
        }),
        test("failover_beside_an_operator_without_election", upgraded),
    ]
}

/// Starts two replicas and the first phase.
pub(crate) async fn begin() -> Result<(Replicas, Sequence)> {
    let plane = sequence::plane().await?;
    let _turn = sequence::turn().await?;
    let replicas = Replicas::start(plane, "failover").await?;
    let sequence = Sequence::begin(&replicas.first).await?;
    Ok((replicas, sequence))
}

/// Expects the result of an undisturbed run from this replica, and all writes within the deadlines.
async fn end(sequence: &Sequence, env: &mut FaultEnv) -> Result<()> {
    sequence.end(env, TOLERANCE, UNTIL_QUIET).await
}

async fn killed() -> Result<()> {
    let (mut replicas, mut sequence) = begin().await?;
    sequence.pause_between_phases().await;
    let died = Instant::now();
    replicas.first.kill_operator()?;
    sequence.second_phase().await?;
    let took = taken_over(&replicas.second, died).await? - died;
    ensure!(took <= AFTER_CRASH, "the takeover took {took:?}");
    end(&sequence, &mut replicas.second).await?;
    replicas.check_writes()
}

async fn terminated() -> Result<()> {
    let (mut replicas, mut sequence) = begin().await?;
    sequence.second_phase().await?;
    let asked = Instant::now();
    let stopped = replicas.first.take_operator()?.stop().await?;
    ensure!(stopped.success(), "{stopped}");
    let took = taken_over(&replicas.second, asked).await? - asked;
    ensure!(took <= AFTER_SIGTERM, "the takeover took {took:?}");
    end(&sequence, &mut replicas.second).await?;
    replicas.check_writes()
}

async fn frozen() -> Result<()> {
    let (mut replicas, mut sequence) = begin().await?;
    sequence.pause_between_phases().await;
    replicas.first.operator()?.process().freeze()?;
    sequence.second_phase().await?;
    tokio::time::sleep(LONGER_THAN_THE_LEASE).await;
    replicas.first.operator()?.process().thaw()?;
    replicas.one_leads().await?;
    end(&sequence, &mut replicas.second).await?;
    replicas.check_writes()
}

/// The retries are due when the process continues, before the election can run. They do not start.
///
/// The process is frozen while it writes nothing: a request that it has begun continues with it, and then arrives late.
async fn frozen_with_events() -> Result<()> {
    let (mut replicas, mut sequence) = begin().await?;
    sequence.pause_between_phases().await;
    let unavailable = Fault::Answer {
        status: 503,
        retry_after: Some(u32::try_from(LONGER_THAN_THE_LEASE.as_secs())?),
        after_commit: false,
    };
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
    end(&sequence, &mut replicas.second).await?;
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

async fn partitioned() -> Result<()> {
    let (mut replicas, mut sequence) = begin().await?;
    sequence.pause_between_phases().await;
    let cut = Instant::now();
    replicas.first.proxy.partition();
    sequence.second_phase().await?;
    let took = taken_over(&replicas.second, cut).await? - cut;
    ensure!(took <= AFTER_CRASH, "the takeover took {took:?}");
    tokio::time::sleep(LONGER_THAN_THE_LEASE).await;
    // A write that was sent before the deadline arrives now. It changes nothing.
    replicas.first.proxy.heal();
    replicas.one_leads().await?;
    end(&sequence, &mut replicas.second).await
}

async fn both_partitioned() -> Result<()> {
    let (mut replicas, mut sequence) = begin().await?;
    sequence.second_phase().await?;
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

async fn deleted() -> Result<()> {
    let (mut replicas, mut sequence) = begin().await?;
    sequence.pause_between_phases().await;
    let now = DeleteParams::default();
    replicas.leases().delete(LEASE, &now).await?;
    sequence.second_phase().await?;
    // The leader creates it again.
    eventually(AFTER_CRASH, async || Ok(replicas.leases().get(LEASE).await?)).await?;
    replicas.leases().delete(LEASE, &now).await?;
    replicas.one_leads().await?;
    end(&sequence, &mut replicas.first).await?;
    replicas.check_writes()
}

async fn edited() -> Result<()> {
    let (mut replicas, mut sequence) = begin().await?;
    sequence.pause_between_phases().await;
    let edit = Patch::Merge(json!({
        "metadata": {"labels": {"edited": "true"}},
        "spec": {"holderIdentity": "somebody", "leaseDurationSeconds": 86_400, "renewTime": null},
    }));
    replicas
        .leases()
        .patch(LEASE, &PatchParams::default(), &edit)
        .await?;
    let edited = Instant::now();
    sequence.second_phase().await?;
    // The new holder does not renew. The Lease lasts 15 s, whatever duration it has.
    let taken = tokio::select! {
        taken = taken_over(&replicas.first, edited) => taken,
        taken = taken_over(&replicas.second, edited) => taken,
    };
    let took = taken? - edited;
    let expected = Duration::from_secs(14)..AFTER_CRASH;
    ensure!(expected.contains(&took), "it was taken over after {took:?}");
    replicas.one_leads().await?;
    end(&sequence, &mut replicas.second).await?;
    replicas.check_writes()
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

/// An operator of version 0.1 knows no Lease. During the upgrade it writes beside the leader. This one differs in one respect:
/// its field manager names its host, so the condition `Exclusive` is False until it has ended.
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
    let within = UNTIL_QUIET + UNTIL_EXCLUSIVE;
    sequence.end(&mut new, started_later, within).await
}
