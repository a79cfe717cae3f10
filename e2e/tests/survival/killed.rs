//! SIGKILL at each point of a write, with pending and firing violations.

use std::time::Duration;

use anyhow::Result;
use e2e::faults::proxy::{Fault, FaultProxy, Point, Rule, RuleHandle, Verb};
use e2e::faults::snapshot::Tolerance;
use libtest_mimic::Trial;

use super::sequence::{self, RESTARTED, UNTIL_QUIET};
use super::test;

/// Writes, by verb and path.
const WRITES: [(&str, Verb, &str); 2] = [
    ("an_event", Verb::Create, "*/events"),
    ("a_status", Verb::Patch, "*/status"),
];

pub(crate) fn tests() -> Vec<Trial> {
    let mut tests = Vec::new();
    for (what, verb, path) in WRITES {
        let mut add = |when: &str, fault: Option<Fault>| {
            let name = format!("killed_{when}_{what}_write");
            tests.push(test(&name, move || killed(verb, path, fault)));
        };
        add("before_the_server_sees", Some(Fault::Hang(Point::Request)));
        add("after_the_server_committed", Some(Fault::Hang(Point::Answer)));
        add("after_the_reply_to", None);
    }
    tests.push(test(
        "killed_when_a_status_could_have_gone_before_its_event",
        late_event,
    ));
    tests
}

/// A status that lists a violation as firing implies that its Event was sent, so it must not be written before the Event.
async fn late_event() -> Result<()> {
    let plane = sequence::plane().await?;
    let (mut env, mut sequence) = sequence::begin("killed").await?;
    sequence.pause_between_phases().await;
    let hang = Rule::new(Verb::Create, "*/events", Fault::Hang(Point::Request));
    let events = env.proxy.add(hang);
    sequence.second_phase().await?;
    events.hit(1).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    env.kill_operator()?;
    events.lift();
    env.start_operator(plane).await?;
    let later = Tolerance {
        sent: Duration::from_secs(10),
        ..RESTARTED
    };
    sequence.end(&mut env, later, UNTIL_QUIET).await
}

async fn killed(verb: Verb, path: &str, fault: Option<Fault>) -> Result<()> {
    let plane = sequence::plane().await?;
    let (mut env, mut sequence) = sequence::begin("killed").await?;
    sequence.pause_between_phases().await;
    let write = fault.map(|fault| env.proxy.add(Rule::new(verb, path, fault)));
    let death = async {
        // The operator is killed at the first write of the second phase, which continues.
        wait_for_write(&env.proxy, verb, path, write.as_ref()).await?;
        env.kill_operator()?;
        if let Some(write) = &write {
            write.lift();
        }
        env.start_operator(plane).await
    };
    tokio::try_join!(sequence.second_phase(), death)?;
    sequence.end(&mut env, RESTARTED, UNTIL_QUIET).await
}

/// Waits until the next write hangs or, without a rule, until it is answered.
async fn wait_for_write(
    proxy: &FaultProxy,
    verb: Verb,
    path: &str,
    hanging: Option<&RuleHandle>,
) -> Result<()> {
    let before = proxy.calls_of(verb, path).len();
    let timeout = Duration::from_mins(1);
    if let Some(hanging) = hanging {
        return Ok(tokio::time::timeout(timeout, hanging.hit(1)).await?);
    }
    proxy.wait_for_call(verb, path, before + 1, timeout).await?;
    while proxy.calls_of(verb, path)[before].ended.is_none() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}
