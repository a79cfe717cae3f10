//! A thousand watches that end after one event: each continues where the previous one ended, and nothing is listed again.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::faults::proxy::{Fault, Rule, Verb};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{Patch, PatchParams};
use libtest_mimic::Trial;
use serde_json::json;

use super::recovery::{PODS, memory, recovered, wait_for_metrics};
use super::sequence::{self, STRICT, UNTIL_QUIET};
use super::test;

const CLOSES: u64 = 1000;
/// Number of watches after which the memory is measured first.
const WARM: u64 = 100;
/// Permitted growth, for the allocator and the buffers of connections that are being closed. A leak of 4 kB per watch exceeds
/// it.
const MEMORY: f64 = 4.0 * 1024.0 * 1024.0;
const WAIT: Duration = Duration::from_mins(3);

pub(crate) fn tests() -> Vec<Trial> {
    vec![test("a_thousand_watches_that_close", closes)]
}

async fn closes() -> Result<()> {
    let (mut env, mut sequence) = sequence::begin("closes").await?;
    sequence.second_phase().await?;
    // The last fault has been received and stays pending.
    wait_for_metrics(&mut env, &[r#"pod="late""#]).await?;
    let lists = env.proxy.calls_of(Verb::List, "*").len();
    // A watch that ends without any event would count as failed, and the operator would back off.
    let end = Rule::new(Verb::Watch, PODS, Fault::End(1)).calls(..=CLOSES);
    let rule = env.proxy.add(end);
    env.proxy.cut(Verb::Watch, PODS);
    let pods = Api::<Pod>::namespaced(env.client(), env.namespace());
    annotate_until(&pods, rule.hit(WARM)).await?;
    let warm = memory(env.operator()?).await?;
    let closed = annotate_until(&pods, rule.hit(CLOSES)).await;
    closed.with_context(|| format!("{} closes", rule.hits()))?;
    let after = memory(env.operator()?).await?;
    ensure!(after <= warm + MEMORY, "memory grew from {warm} to {after} bytes");
    recovered(&mut env, Instant::now()).await?;
    let mut listed = env.proxy.calls_of(Verb::List, "*").split_off(lists);
    // The watch that was cut off reads the current version first.
    listed.retain(|call| !call.query.ends_with("limit=1"));
    ensure!(listed.is_empty(), "listed again: {listed:#?}");
    sequence.end(&mut env, STRICT, UNTIL_QUIET).await
}

/// Annotates a Pod again and again, which the evaluation does not read, until `done`.
async fn annotate_until(pods: &Api<Pod>, done: impl Future<Output = ()>) -> Result<()> {
    let annotate = async {
        for number in 0_u64.. {
            let patch = json!({"metadata": {"annotations": {"example.com/number": number.to_string()}}});
            pods.patch("late", &PatchParams::default(), &Patch::Merge(patch))
                .await?;
        }
        anyhow::Ok(())
    };
    let either = async {
        tokio::select! {
            () = done => Ok(()),
            result = annotate => result,
        }
    };
    tokio::time::timeout(WAIT, either).await?
}
