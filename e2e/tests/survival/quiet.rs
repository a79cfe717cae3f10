//! Without changes, nothing is written.

use std::time::Duration;

use anyhow::{Result, ensure};
use e2e::faults::proxy::Verb;
use libtest_mimic::Trial;

use super::sequence::{self, STRICT, UNTIL_QUIET};
use super::test;

const QUIET: Duration = Duration::from_secs(30);

pub(crate) fn tests() -> Vec<Trial> {
    vec![test("quiet_when_nothing_happens", quiet)]
}

/// With firing violations, recovered Pods, and one restart of the watches.
async fn quiet() -> Result<()> {
    let (mut env, mut sequence) = sequence::begin("quiet").await?;
    sequence.second_phase().await?;
    sequence.end(&mut env, STRICT, UNTIL_QUIET).await?;
    let before = env.proxy.calls().len();
    env.proxy.cut(Verb::Watch, "*");
    tokio::time::sleep(QUIET).await;
    let calls = env.proxy.calls().split_off(before);
    let (reads, writes): (Vec<_>, Vec<_>) = calls
        .into_iter()
        .partition(|call| matches!(call.verb, Verb::List | Verb::Watch));
    ensure!(!reads.is_empty(), "the watches did not restart");
    ensure!(writes.is_empty(), "unexpected writes: {writes:#?}");
    Ok(())
}
