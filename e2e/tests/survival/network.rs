//! Everything that networks and API servers do to requests, by rules of the fault proxy: for each a row, and each row ends as
//! if nothing had happened.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::compare::Tolerance;
use e2e::fault_proxy::{Fault, Point, Rule, RuleHandle, Verb};
use libtest_mimic::Trial;

use super::recovery::{PODS, POLICIES, recovered, says};
use super::story::{self, DELAYED, STRICT, UNSEEN, UNTIL_QUIET, not_of_cart, only_of_fast};
use super::test;

/// So long do most disturbances last, from shortly before the second act until after it.
const SHORT: Duration = Duration::from_secs(6);
/// When a rule has been met that another one comes before: the waits between two tries have grown to some seconds.
const MET_WITHIN: Duration = Duration::from_mins(1);
/// When it has noticed that a connection is dead by its own time limits, 75 s at most, and is back.
const DEAD: Duration = Duration::from_secs(80);

/// A row: the rules that the watches meet anew, as they are cut, and the writes; it is over when each rule was met, and not
/// before it has lasted so long.
struct Disturbance {
    name: &'static str,
    rules: Vec<Rule>,
    /// What `/metrics` tells of it.
    told: &'static [&'static str],
    lasts: Duration,
    tolerance: Tolerance,
    /// What is compared in the end.
    wanted: fn(&str) -> bool,
}

fn row(
    name: &'static str,
    told: &'static [&'static str],
    rules: impl IntoIterator<Item = Rule>,
) -> Disturbance {
    Disturbance {
        name,
        told,
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

fn answer(status: u16, retry_after: Option<u32>, after_commit: bool) -> Fault {
    Fault::Answer {
        status,
        retry_after,
        after_commit,
    }
}

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

/// Answers of servers in trouble, to reads and writes.
fn answers() -> Vec<Disturbance> {
    let in_doubt = || answer(504, None, true);
    vec![
        row(
            "busy_429_internal_500_unavailable_503",
            &[THROTTLED, FAILED],
            [
                on_all(answer(429, Some(2), false)).calls(..=4),
                on_all(answer(500, None, false)).calls(5..=8),
                on_all(answer(503, Some(1), false)).calls(9..),
            ],
        ),
        row(
            "writes_that_are_committed_and_not_confirmed",
            &[],
            [
                on_event(in_doubt()).calls(..=2),
                on_event(Fault::Close(Point::Answer)).calls(3..=4),
                on_status(in_doubt()).calls(..=1),
                on_status(Fault::Close(Point::Answer)).calls(2..=2),
            ],
        ),
        row(
            "late_answers",
            &[],
            [on_all(Fault::Delay(Duration::from_secs(2)))],
        ),
        row(
            "connections_closed_before_the_request",
            &[TRANSPORT],
            [on_all(Fault::Close(Point::Request))],
        ),
    ]
}

/// Watches that end in every way, one after the other.
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
            Rule::new(Verb::Watch, path, answer(410, None, false)).calls(2..=2),
        ]
    };
    let garbled = || Fault::Garble(40..=44);
    vec![
        row("watches_that_end", &[FAILED], (1..).zip(ends).map(in_turn)),
        row(
            "versions_that_expire",
            &[GONE],
            expired(PODS).into_iter().chain(expired(POLICIES)),
        ),
        row(
            "watches_that_are_garbled",
            &[TRANSPORT],
            [on_watch(garbled()).calls(..=2)],
        ),
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

/// Black holes that only the operator's own time limits end: the rule is not lifted before.
fn black_holes() -> Vec<Disturbance> {
    let dead = |name, told, point| Disturbance {
        lasts: DEAD,
        tolerance: UNSEEN,
        wanted: only_of_fast,
        ..row(name, told, [on_watch(Fault::Hang(point)).calls(..=1)])
    };
    vec![
        dead("black_hole_before_the_head_of_a_watch", &[TIMEOUT], Point::Answer),
        // Taken for the end of its time.
        dead("black_hole_mid_event", &[], Point::MidEvent(1)),
    ]
}

pub(crate) fn tests() -> Vec<Trial> {
    let mut tests = vec![test("a_long_outage_is_not_hammered", long_outage)];
    let rows = [black_holes(), answers(), watches()].into_iter().flatten();
    tests.extend(rows.map(|row| test(row.name, move || disturbed(row))));
    tests.push(test("partition", partition));
    tests
}

async fn disturbed(row: Disturbance) -> Result<()> {
    let (mut stage, mut story) = story::begin("network").await?;
    story.intermission().await;
    let rules: Vec<_> = row.rules.into_iter().map(|rule| stage.proxy.add(rule)).collect();
    stage.proxy.cut(Verb::Watch, "*");
    let lasts = tokio::time::sleep(row.lasts);
    story.second_act().await?;
    lasts.await;
    for rule in &rules {
        let met = tokio::time::timeout(MET_WITHIN, rule.hit(1)).await;
        met.with_context(|| format!("nothing met {rule:?}, so nothing is proved"))?;
    }
    rules.iter().for_each(RuleHandle::lift);
    recovered(&mut stage, Instant::now()).await?;
    says(&mut stage, row.told).await?;
    story
        .end_in(&mut stage, row.wanted, row.tolerance, UNTIL_QUIET)
        .await
}

/// All connections fall silent, and speak again after a while.
async fn partition() -> Result<()> {
    let (mut stage, mut story) = story::begin("partition").await?;
    story.intermission().await;
    stage.proxy.partition();
    story.second_act().await?;
    tokio::time::sleep(Duration::from_secs(10)).await;
    stage.proxy.heal();
    recovered(&mut stage, Instant::now()).await?;
    story.end(&mut stage, UNSEEN, UNTIL_QUIET).await
}

/// The waits between two tries have grown to their longest by then: before that they add up to 51 s at most.
const PLATEAU: Duration = Duration::from_secs(65);
/// A little less than the longest wait.
const ONE_WAIT: Duration = Duration::from_secs(29);

async fn long_outage() -> Result<()> {
    let (mut stage, mut story) = story::begin("outage").await?;
    story.intermission().await;
    let rule = stage.proxy.add(Rule::new(None, "*", answer(503, None, false)));
    stage.proxy.cut(Verb::Watch, "*");
    story.second_act().await?;
    tokio::time::sleep(PLATEAU).await;
    let operator = stage.operator()?;
    let not_ready = operator.readyz().await?;
    ensure!(
        not_ready.status == 503 && not_ready.body.contains("pods"),
        "after a minute out of sync it is not ready, and says what is missing: {not_ready:?}"
    );
    ensure!(operator.livez().await?.status == 200, "it lives");
    says(
        &mut stage,
        &[FAILED, r#"sidewatch_watch_synced{resource="pods"} 0"#],
    )
    .await?;
    let plateau = stage.proxy.calls().len();
    tokio::time::sleep(ONE_WAIT).await;
    let calls = stage.proxy.calls().split_off(plateau);
    for path in [PODS, POLICIES] {
        let resource = path.trim_start_matches('*');
        let tries = calls.iter().filter(|call| call.path.ends_with(resource));
        let tries = tries.count();
        ensure!(tries <= 1, "{tries} tries to watch {path}: {calls:#?}");
    }
    rule.lift();
    recovered(&mut stage, Instant::now()).await?;
    story.end_in(&mut stage, not_of_cart, DELAYED, UNTIL_QUIET).await
}
