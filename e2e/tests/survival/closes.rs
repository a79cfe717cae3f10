//! A thousand watches that end at once, one after the other: each goes on where the one before ended, and nothing is listed again.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::fault_proxy::{Fault, Rule, Verb};
use libtest_mimic::Trial;

use super::recovery::{PODS, memory, recovered, says};
use super::story::{self, STRICT, UNTIL_QUIET};
use super::test;

const CLOSES: u64 = 1000;
/// After so many of them everything that is set up once is set up.
const WARM: u64 = 100;
/// A tenth of what an allocator, and the buffers of some hundred connections that are being closed, may add; a watch that left a
/// kilobyte behind would add as much again.
const MEMORY: u64 = 4 << 20;
const PATIENCE: Duration = Duration::from_mins(3);

pub(crate) fn tests() -> Vec<Trial> {
    vec![test("a_thousand_watches_that_close", closes)]
}

async fn closes() -> Result<()> {
    let (mut stage, mut story) = story::begin("closes").await?;
    story.second_act().await?;
    // What happened last is seen, and pending while watches come and go.
    says(&mut stage, &[r#"pod="late""#]).await?;
    let lists = stage.proxy.calls_of(Verb::List, "*").len();
    let end = Rule::new(Verb::Watch, PODS, Fault::End(0)).calls(..=CLOSES);
    let rule = stage.proxy.add(end);
    stage.proxy.cut(Verb::Watch, PODS);
    tokio::time::timeout(PATIENCE, rule.hit(WARM)).await?;
    let warm = memory(stage.operator()?).await?;
    let closed = tokio::time::timeout(PATIENCE, rule.hit(CLOSES)).await;
    closed.with_context(|| format!("{} closes", rule.hits()))?;
    let after = memory(stage.operator()?).await?;
    ensure!(after <= warm + MEMORY, "memory grew from {warm} to {after} bytes");
    recovered(&mut stage, Instant::now()).await?;
    let listed = stage.proxy.calls_of(Verb::List, "*").split_off(lists);
    ensure!(listed.is_empty(), "listed again: {listed:#?}");
    story.end(&mut stage, STRICT, UNTIL_QUIET).await
}
