//! Faults of networks and API servers, by rules of the fault proxy. After each, the result must equal an undisturbed run.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::faults::proxy::{Fault, Point, Rule, RuleHandle, Verb};
use e2e::faults::snapshot::Tolerance;
use libtest_mimic::Trial;

use super::recovery::{PODS, POLICIES, recovered, wait_for_metrics};
use super::sequence::{self, DELAYED, STRICT, UNSEEN, UNTIL_QUIET, not_of_cart, only_of_fast};
use super::test;

/// Duration of most faults, from shortly before the second act until after it.
const SHORT: Duration = Duration::from_secs(6);
/// Time limit for a rule that follows another one: the back-off has grown to some seconds.
const MET_WITHIN: Duration = Duration::from_mins(1);
/// Time in which the operator detects a dead connection (75 s at most) and recovers.
const DEAD: Duration = Duration::from_secs(80);

/// A fault: rules for the watches, which are restarted, and for writes. It ends when each rule has applied, and not before
/// `lasts` is over.
struct Disturbance {
    name: &'static str,
    rules: Vec<Rule>,
    /// Parts of `/metrics` that report the fault.
    metrics: &'static [&'static str],
    lasts: Duration,
    tolerance: Tolerance,
    /// The facts to compare.
    wanted: fn(&str) -> bool,
}

fn row(
    name: &'static str,
    metrics: &'static [&'static str],
    rules: impl IntoIterator<Item = Rule>,
) -> Disturbance {
    Disturbance {
        name,
        metrics,
        rules: rules.into_iter().collect(),
        lasts: SHORT,
        tolerance: DELAYED,
        wanted: |_| true,
    }
}

const DECODE: &str = r#"sidewatch_watch_errors_total{reason="decode",resource="pods"}"#;
const FAILED: &str = r#"sidewatch_watch_errors_total{reason="server",resource="pods"}"#;
const GONE: &str = r#"sidewatch_watch_errors_total{reason="gone",resource="pods"}"#;
const THROTTLED: &str = r#"sidewatch_watch_errors_total{reason="throttled",resource="pods"}"#;
const TIMEOUT: &str = r#"sidewatch_watch_errors_total{reason="timeout",resource="pods"}"#;
const TRANSPORT: &str = r#"sidewatch_watch_errors_total{reason="transport",resource="pods"}"#;

fn on_all(fault: Fault) -> Rule {
    Rule::new(None, "*", fault)
}

fn on_watch(fault: Fault) -> Rule {
    Rule::new(Verb::Watch, PODS, fault)
}

fn on_list(fault: Fault) -> Rule {
    Rule::new(Verb::List, PODS, fault)
}

fn on_event(fault: Fault) -> Rule {
    Rule::new(Verb::Create, "*/events", fault)
}

fn on_status(fault: Fault) -> Rule {
    Rule::new(Verb::Patch, "*/status", fault)
}

/// Errors of servers, for reads and writes.
#[rustfmt::skip]
fn answers() -> Vec<Disturbance> {
    vec![
        row(
            "busy_429_internal_500_unavailable_503",
            &[THROTTLED, FAILED],
            [
                on_all(Fault::busy(429, 2)).calls(..=4),
                on_all(Fault::answer(500)).calls(5..=8),
                on_all(Fault::busy(503, 1)).calls(9..),
            ],
        ),
        row(
            "writes_that_are_committed_and_not_confirmed",
            &[],
            [
                on_event(Fault::lost(504)).calls(..=2),
                on_event(Fault::Close(Point::Answer)).calls(3..=4),
                on_status(Fault::lost(504)).calls(..=1),
                on_status(Fault::Close(Point::Answer)).calls(2..=2),
            ],
        ),
        row("late_answers", &[], [on_all(Fault::Delay(Duration::from_secs(2)))]),
        row("connections_closed_before_the_request", &[TRANSPORT], [on_all(Fault::Close(Point::Request))]),
    ]
}

/// Watches that end in every way, one after the other.
#[rustfmt::skip]
fn watches() -> Vec<Disturbance> {
    let ends = [
        Fault::Close(Point::Body),
        Fault::Close(Point::MidEvent(1)),
        Fault::Close(Point::Byte(37)),
        Fault::End(0),
        Fault::error_event(0, 500),
    ];
    let in_turn = |(call, fault)| on_watch(fault).calls(call..=call);
    let expired = |path: &str| {
        [
            Rule::new(Verb::Watch, path, Fault::error_event(0, 410)).calls(1..=1),
            Rule::new(Verb::Watch, path, Fault::answer(410)).calls(2..=2),
        ]
    };
    // The beginning of a response: text inside is read leniently.
    let garbled = || Fault::Garble(0..=3);
    vec![
        // `late` is created and becomes unready while there is no watch, so its fault begins with its first observation.
        Disturbance {
            tolerance: UNSEEN,
            ..row("watches_that_end", &[FAILED], (1..).zip(ends).map(in_turn))
        },
        row("versions_that_expire", &[GONE], expired(PODS).into_iter().chain(expired(POLICIES))),
        row("watches_that_are_garbled", &[DECODE], [on_watch(garbled()).calls(..=2)]),
        row(
            "lists_that_are_cut_garbled_and_slow",
            &[GONE, DECODE],
            [
                on_watch(Fault::error_event(0, 410)).calls(..=1),
                on_list(Fault::Close(Point::Byte(2000))).calls(..=1),
                on_list(garbled()).calls(2..=2),
                on_list(Fault::Throttle(20_000)).calls(3..=3),
            ],
        ),
        Disturbance {
            tolerance: STRICT,
            ..row(
                "events_that_come_twice",
                &[],
                [on_watch(Fault::Repeat(1..=u64::MAX))],
            )
        },
        Disturbance {
            tolerance: UNSEEN,
            ..row(
                "events_that_are_held_back",
                &[],
                [on_watch(Fault::Hang(Point::BeforeEvent(1)))],
            )
        },
    ]
}

/// Dead connections, which only the timeouts of the operator detect: the rule is not lifted before.
fn black_holes() -> Vec<Disturbance> {
    let dead = |name, metrics, point| Disturbance {
        lasts: DEAD,
        tolerance: UNSEEN,
        wanted: only_of_fast,
        ..row(name, metrics, [on_watch(Fault::Hang(point)).calls(..=1)])
    };
    vec![
        dead("black_hole_before_the_head_of_a_watch", &[TIMEOUT], Point::Answer),
        // The operator treats it as a regular end of the watch.
        dead("black_hole_mid_event", &[], Point::MidEvent(1)),
    ]
}

pub(crate) fn tests() -> Vec<Trial> {
    let mut tests = vec![test("backoff_in_a_long_outage", long_outage)];
    let rows = [black_holes(), answers(), watches()].into_iter().flatten();
    tests.extend(rows.map(|row| test(row.name, move || disturbed(row))));
    tests.push(test("partition", partition));
    tests
}

async fn disturbed(row: Disturbance) -> Result<()> {
    let (mut env, mut sequence) = sequence::begin("network").await?;
    sequence.pause_between_phases().await;
    let rules: Vec<_> = row.rules.into_iter().map(|rule| env.proxy.add(rule)).collect();
    env.proxy.cut(Verb::Watch, "*");
    let lasts = tokio::time::sleep(row.lasts);
    sequence.second_phase().await?;
    lasts.await;
    for rule in &rules {
        let met = tokio::time::timeout(MET_WITHIN, rule.hit(1)).await;
        met.with_context(|| format!("the rule never applied: {rule:?}"))?;
    }
    rules.iter().for_each(RuleHandle::lift);
    recovered(&mut env, Instant::now()).await?;
    wait_for_metrics(&mut env, row.metrics).await?;
    sequence
        .end_in(&mut env, row.wanted, row.tolerance, UNTIL_QUIET)
        .await
}

/// A partition of 10 s.
async fn partition() -> Result<()> {
    let (mut env, mut sequence) = sequence::begin("partition").await?;
    sequence.pause_between_phases().await;
    env.proxy.partition();
    sequence.second_phase().await?;
    tokio::time::sleep(Duration::from_secs(10)).await;
    env.proxy.heal();
    recovered(&mut env, Instant::now()).await?;
    sequence.end(&mut env, UNSEEN, UNTIL_QUIET).await
}

/// By then the back-off has its maximum: the shorter waits add up to 51 s at most.
const PLATEAU: Duration = Duration::from_secs(65);
/// A little less than the maximum of the back-off.
const ONE_WAIT: Duration = Duration::from_secs(29);

async fn long_outage() -> Result<()> {
    let (mut env, mut sequence) = sequence::begin("outage").await?;
    sequence.pause_between_phases().await;
    let rule = env.proxy.add(Rule::new(None, "*", Fault::answer(503)));
    env.proxy.cut(Verb::Watch, "*");
    sequence.second_phase().await?;
    tokio::time::sleep(PLATEAU).await;
    let operator = env.operator()?;
    let not_ready = operator.readyz().await?;
    ensure!(
        not_ready.status == 503 && not_ready.body.contains("pods"),
        "after a minute out of sync, /readyz must fail and name the resource: {not_ready:?}"
    );
    ensure!(operator.livez().await?.status == 200, "/livez fails");
    wait_for_metrics(
        &mut env,
        &[FAILED, r#"sidewatch_watch_synced{resource="pods"} 0"#],
    )
    .await?;
    let plateau = env.proxy.calls().len();
    tokio::time::sleep(ONE_WAIT).await;
    let calls = env.proxy.calls().split_off(plateau);
    for path in [PODS, POLICIES] {
        let resource = path.trim_start_matches('*');
        let tries = calls.iter().filter(|call| call.path.ends_with(resource));
        let tries = tries.count();
        ensure!(tries <= 1, "{tries} requests for {path}: {calls:#?}");
    }
    rule.lift();
    recovered(&mut env, Instant::now()).await?;
    sequence.end_in(&mut env, not_of_cart, DELAYED, UNTIL_QUIET).await
}
