//! When nothing happens, nothing is written.

use std::time::Duration;

use anyhow::{Result, ensure};
use e2e::fault_proxy::Verb;
use libtest_mimic::Trial;

use super::story::{self, STRICT, UNTIL_QUIET};
use super::test;

const QUIET: Duration = Duration::from_secs(30);

pub(crate) fn tests() -> Vec<Trial> {
    vec![test("quiet_when_nothing_happens", quiet)]
}

/// With violations that fire, recovered Pods behind it, and the watches begun anew once.
async fn quiet() -> Result<()> {
    let (mut stage, mut story) = story::begin("quiet").await?;
    story.second_act().await?;
    story.end(&mut stage, STRICT, UNTIL_QUIET).await?;
    let before = stage.proxy.calls().len();
    stage.proxy.cut(Verb::Watch, "*");
    tokio::time::sleep(QUIET).await;
    let calls = stage.proxy.calls().split_off(before);
    let (reads, writes): (Vec<_>, Vec<_>) = calls
        .into_iter()
        .partition(|call| matches!(call.verb, Verb::List | Verb::Watch));
    ensure!(!reads.is_empty(), "the watches began anew");
    ensure!(writes.is_empty(), "written for no reason: {writes:#?}");
    Ok(())
}
