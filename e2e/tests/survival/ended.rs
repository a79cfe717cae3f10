//! SIGTERM: pending writes are sent, and the operator exits in time even if the API server does not answer.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::faults::env::FaultEnv;
use e2e::faults::proxy::{Fault, Point, Rule, Verb};
use e2e::faults::snapshot::Tolerance;
use libtest_mimic::Trial;

use super::sequence::{self, DELAYED, UNTIL_QUIET};
use super::test;

/// The operator exits within ten seconds; the rest is for a busy machine.
const IN_TIME: Duration = Duration::from_secs(12);

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        test("terminated_with_slow_writes", || terminated(Network::Slow)),
        test("terminated_in_a_partition", || terminated(Network::Silent)),
        test("terminated_with_hanging_requests", || {
            terminated(Network::Hanging)
        }),
    ]
}

#[derive(Clone, Copy, PartialEq)]
enum Network {
    /// Writes take two seconds.
    Slow,
    /// A partition.
    Silent,
    /// Requests are never answered.
    Hanging,
}

async fn terminated(network: Network) -> Result<()> {
    let plane = sequence::plane().await?;
    let (mut env, mut sequence) = sequence::begin("terminated").await?;
    sequence.pause_between_phases().await;
    let rule = match network {
        Network::Slow => {
            let slow = Fault::Delay(Duration::from_secs(2));
            Some(env.proxy.add(Rule::new(Verb::Create, "*/events", slow)))
        }
        Network::Silent => None,
        Network::Hanging => {
            let hang = Fault::Hang(Point::Request);
            Some(env.proxy.add(Rule::new(None, "*", hang)))
        }
    };
    let before = events(&env);
    sequence.second_phase().await?;
    // The policy `fast` has detected the faults of the second phase and sends its Events.
    let timeout = Duration::from_mins(1);
    env.proxy
        .wait_for_call(Verb::Create, "*/events", before + 3, timeout)
        .await?;
    if network == Network::Silent {
        env.proxy.partition();
    }
    let mut operator = env.take_operator()?;
    let asked = Instant::now();
    let status = operator.process().terminate(IN_TIME).await?;
    ensure!(
        status.code() == Some(0),
        "it ended with {status} after {:?}",
        asked.elapsed()
    );
    if network == Network::Slow {
        let calls = env.proxy.calls_of(Verb::Create, "*/events");
        let unanswered: Vec<_> = calls.iter().filter(|call| call.status != Some(201)).collect();
        ensure!(unanswered.is_empty(), "not written: {unanswered:#?}");
        let log = operator.log().context("its log")?;
        ensure!(!log.contains("shutdown dropped queued Events"), "{log}");
    }
    if let Some(rule) = rule {
        rule.lift();
    }
    env.proxy.heal();
    env.start_operator(plane).await?;
    let later = Tolerance {
        restarted: true,
        ..DELAYED
    };
    sequence.end(&mut env, later, UNTIL_QUIET).await
}

fn events(env: &FaultEnv) -> usize {
    env.proxy.calls_of(Verb::Create, "*/events").len()
}
