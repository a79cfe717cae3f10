//! SIGKILL at each point of a write, while violations are pending and firing.

use std::time::Duration;

use anyhow::Result;
use e2e::compare::Tolerance;
use e2e::fault_proxy::{Fault, FaultProxy, Point, Rule, RuleHandle, Verb};
use libtest_mimic::Trial;

use super::story::{self, RESTARTED, UNTIL_QUIET};
use super::test;

/// What is written, by verb and path.
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

/// A status that lists a violation as firing says that its Event is out: it must not be written before the Event is.
async fn late_event() -> Result<()> {
    let plane = story::plane().await?;
    let (mut stage, mut story) = story::begin("killed").await?;
    story.intermission().await;
    let hang = Rule::new(Verb::Create, "*/events", Fault::Hang(Point::Request));
    let events = stage.proxy.add(hang);
    story.second_act().await?;
    events.hit(1).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    stage.kill_operator()?;
    events.lift();
    stage.start_operator(plane).await?;
    let later = Tolerance {
        sent: Duration::from_secs(10),
        ..RESTARTED
    };
    story.end(&mut stage, later, UNTIL_QUIET).await
}

async fn killed(verb: Verb, path: &str, fault: Option<Fault>) -> Result<()> {
    let plane = story::plane().await?;
    let (mut stage, mut story) = story::begin("killed").await?;
    story.intermission().await;
    let write = fault.map(|fault| stage.proxy.add(Rule::new(verb, path, fault)));
    let death = async {
        // It dies at the first write that the second act causes; the act goes on without it.
        wait_for_write(&stage.proxy, verb, path, write.as_ref()).await?;
        stage.kill_operator()?;
        if let Some(write) = &write {
            write.lift();
        }
        stage.start_operator(plane).await
    };
    tokio::try_join!(story.second_act(), death)?;
    story.end(&mut stage, RESTARTED, UNTIL_QUIET).await
}

/// Waits until the next write hangs or, without a rule that makes it, until it is answered.
async fn wait_for_write(
    proxy: &FaultProxy,
    verb: Verb,
    path: &str,
    hanging: Option<&RuleHandle>,
) -> Result<()> {
    let before = proxy.calls_of(verb, path).len();
    let patience = Duration::from_mins(1);
    if let Some(hanging) = hanging {
        return Ok(tokio::time::timeout(patience, hanging.hit(1)).await?);
    }
    proxy.wait_for_call(verb, path, before + 1, patience).await?;
    while proxy.calls_of(verb, path)[before].ended.is_none() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}
