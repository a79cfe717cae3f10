//! Rights that are taken away and given back, verb by verb; and a token that is no longer good and is replaced.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use e2e::fault_env::{ACCOUNT, FaultEnv, Right};
use e2e::fault_proxy::{Fault, Rule, Verb};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::Api;
use kube::api::DeleteParams;
use libtest_mimic::Trial;

use super::recovery::{eventually, recovered, says};
use super::story::{self, DELAYED, UNTIL_QUIET, not_of_cart};
use super::test;

/// What a namespaced installation may read.
const READS: [Right; 4] = [
    ("", "pods", "list"),
    ("", "pods", "watch"),
    ("sidewatch.dev", "sidecarpolicies", "list"),
    ("sidewatch.dev", "sidecarpolicies", "watch"),
];
/// And write.
const WRITES: [Right; 3] = [
    ("sidewatch.dev", "sidecarpolicies/status", "patch"),
    ("events.k8s.io", "events", "create"),
    ("events.k8s.io", "events", "patch"),
];

pub(crate) fn tests() -> Vec<Trial> {
    let mut tests = vec![
        test("rights_to_read_come_and_go", reads),
        test("token_expires_and_is_replaced", token),
    ];
    for right in WRITES {
        let (_, resource, verb) = right;
        let name = format!("without_the_right_to_{verb}_{}", resource.replace('/', "_"));
        tests.push(test(&name, move || writes(right)));
    }
    tests
}

async fn deprive(stage: &FaultEnv, right: Right) -> Result<()> {
    let all = READS.iter().chain(&WRITES).copied();
    let others: Vec<Right> = all.filter(|other| *other != right).collect();
    stage.restrict(&others, right).await
}

/// One after the other; the second act comes when Pods cannot be watched.
async fn reads() -> Result<()> {
    let (mut stage, mut story) = story::begin("rights").await?;
    story.intermission().await;
    for right in READS {
        deprive(&stage, right).await?;
        let (_, resource, verb) = right;
        // A watch under way is not cut when a right goes, and without an accident nothing is listed again.
        let path = format!("*/{resource}");
        let accident = Rule::new(Verb::Watch, &path, Fault::error_event(0, 410)).calls(..=1);
        let accident = (verb == "list").then(|| stage.proxy.add(accident));
        stage.proxy.cut(Verb::Watch, &path);
        if right == READS[1] {
            story.second_act().await?;
        }
        let error = format!("{{reason=\"forbidden\",resource=\"{resource}\"}}");
        let synced = format!("sidewatch_watch_synced{{resource=\"{resource}\"}} 0");
        says(&mut stage, &[&error, &synced]).await?;
        ensure!(
            accident.is_none_or(|rule| rule.hits() > 0),
            "nothing was listed again"
        );
        stage.permit().await?;
        recovered(&mut stage, Instant::now()).await?;
    }
    story.end(&mut stage, DELAYED, UNTIL_QUIET).await
}

async fn writes(right: Right) -> Result<()> {
    let (mut stage, mut story) = story::begin("rights").await?;
    story.intermission().await;
    deprive(&stage, right).await?;
    story.second_act().await?;
    if right == WRITES[2] {
        // Nothing is repeated within this history, which is what the right to patch Events is for: `scripted::sinks`.
        tokio::time::sleep(Duration::from_secs(6)).await;
    } else {
        says_forbidden(&mut stage).await?;
    }
    stage.permit().await?;
    story.end(&mut stage, DELAYED, UNTIL_QUIET).await
}

/// Waits until the log says what it may not do. A status may have to wait for its turn, ten seconds after the last one.
async fn says_forbidden(stage: &mut FaultEnv) -> Result<()> {
    let began = Instant::now();
    loop {
        let log = stage.operator()?.log()?;
        if log.contains("forbidden") {
            return Ok(());
        }
        ensure!(
            began.elapsed() < Duration::from_secs(30),
            "it does not say what it may not do:\n{log}"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The ServiceAccount is deleted, and with it its tokens; another of the same name has the same rights.
async fn token() -> Result<()> {
    let plane = story::plane().await?;
    let (mut stage, mut story) = story::begin("token").await?;
    story.intermission().await;
    let accounts: Api<ServiceAccount> = Api::namespaced(stage.client(), stage.namespace());
    accounts.delete(ACCOUNT, &DeleteParams::default()).await?;
    // The server remembers a good token for some seconds. What waits for its answer is let wait.
    eventually("an answer 401", || {
        let calls = stage.proxy.calls_of(Verb::Watch, "*");
        if calls
            .iter()
            .all(|call| call.status.is_some() || call.ended.is_some())
        {
            stage.proxy.cut(Verb::Watch, "*");
        }
        calls.iter().any(|call| call.status == Some(401))
    })
    .await?;
    story.second_act().await?;
    says(&mut stage, &["reason=\"unauthorized\""]).await?;
    plane.service_account(stage.namespace(), ACCOUNT).await?;
    let token = plane
        .token(stage.namespace(), ACCOUNT, Duration::from_hours(1))
        .await?;
    stage.kubeconfig.replace_token(&token)?;
    recovered(&mut stage, Instant::now()).await?;
    story.end_in(&mut stage, not_of_cart, DELAYED, UNTIL_QUIET).await
}
