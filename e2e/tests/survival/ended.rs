//! SIGTERM: what is waiting is written, and with an API server that does not answer it ends in time nevertheless.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::compare::Tolerance;
use e2e::fault_env::FaultEnv;
use e2e::fault_proxy::{Fault, Point, Rule, Verb};
use libtest_mimic::Trial;

use super::story::{self, DELAYED, UNTIL_QUIET};
use super::test;

/// DESIGN: exit 0 within ten seconds; the rest is for a busy machine.
const IN_TIME: Duration = Duration::from_secs(12);

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        test("terminated_it_writes_what_is_left", || terminated(Weather::Slow)),
        test("terminated_in_a_partition_it_ends_in_time", || {
            terminated(Weather::Silent)
        }),
        test("terminated_with_requests_that_hang_it_ends_in_time", || {
            terminated(Weather::Hanging)
        }),
    ]
}

#[derive(Clone, Copy, PartialEq)]
enum Weather {
    /// Writes take two seconds.
    Slow,
    /// Nothing comes through.
    Silent,
    /// Requests arrive and are never answered.
    Hanging,
}

async fn terminated(weather: Weather) -> Result<()> {
    let plane = story::plane().await?;
    let (mut stage, mut story) = story::begin("terminated").await?;
    story.intermission().await;
    let rule = match weather {
        Weather::Slow => {
            let slow = Fault::Delay(Duration::from_secs(2));
            Some(stage.proxy.add(Rule::new(Verb::Create, "*/events", slow)))
        }
        Weather::Silent => None,
        Weather::Hanging => {
            let hang = Fault::Hang(Point::Request);
            Some(stage.proxy.add(Rule::new(None, "*", hang)))
        }
    };
    let before = events(&stage);
    story.second_act().await?;
    // `fast` has found what the second act did, and its Events are under way.
    let patience = Duration::from_mins(1);
    stage
        .proxy
        .wait_for_call(Verb::Create, "*/events", before + 3, patience)
        .await?;
    if weather == Weather::Silent {
        stage.proxy.partition();
    }
    let mut operator = stage.take_operator()?;
    let asked = Instant::now();
    let status = operator.process().terminate(IN_TIME).await?;
    ensure!(
        status.code() == Some(0),
        "it ended with {status} after {:?}",
        asked.elapsed()
    );
    if weather == Weather::Slow {
        let calls = stage.proxy.calls_of(Verb::Create, "*/events");
        let unanswered: Vec<_> = calls.iter().filter(|call| call.status != Some(201)).collect();
        ensure!(unanswered.is_empty(), "not written: {unanswered:#?}");
        let log = operator.log().context("its log")?;
        ensure!(!log.contains("shutdown dropped queued Events"), "{log}");
    }
    if let Some(rule) = rule {
        rule.lift();
    }
    stage.proxy.heal();
    stage.start_operator(plane).await?;
    let later = Tolerance {
        restarted: true,
        ..DELAYED
    };
    story.end(&mut stage, later, UNTIL_QUIET).await
}

fn events(stage: &FaultEnv) -> usize {
    stage.proxy.calls_of(Verb::Create, "*/events").len()
}
