//! What happens to the API server itself: killed, restarted, frozen, without our kinds. Each test has a control plane of its own.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use e2e::ControlPlane;
use e2e::fault_env::FaultEnv;
use e2e::fault_proxy::Verb;
use libtest_mimic::Trial;

use super::recovery::{POLICIES, recovered, says};
use super::story::{self, DELAYED, Story, UNTIL_QUIET, install, not_of_cart};
use super::test;

const KILLED_FOR: Duration = Duration::from_secs(30);
const FROZEN_FOR: Duration = Duration::from_secs(90);
const PATIENCE: Duration = Duration::from_mins(1);

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        test("api_server_killed_and_restarted", killed),
        test("api_server_frozen", frozen),
        test("crds_absent_installed_deleted_and_installed_again", crds),
    ]
}

async fn start() -> Result<ControlPlane> {
    let _turn = story::turn().await?;
    ControlPlane::start().await
}

/// Killed for a while, started again, and again in the middle of the second act.
async fn killed() -> Result<()> {
    let mut plane = start().await?;
    install(&plane).await?;
    let (mut stage, mut story) = story::begin_on(&plane, "killed").await?;
    // Most of what `fast` finds is told by then.
    tokio::time::sleep(Duration::from_secs(5)).await;
    plane.kill_api_server()?;
    says(&mut stage, &[r#"sidewatch_watch_synced{resource="pods"} 0"#]).await?;
    tokio::time::sleep(KILLED_FOR).await;
    plane.restart_api_server().await?;
    let restart = async {
        tokio::time::sleep(Duration::from_millis(60)).await;
        plane.restart_api_server().await
    };
    tokio::try_join!(story.second_act(), restart)?;
    recovered(&mut stage, Instant::now()).await?;
    // While the first one waits for the end.
    cut_off(&mut plane).await?;
    story
        .end_in(&mut stage, not_of_cart, DELAYED, UNTIL_QUIET)
        .await?;
    plane.stop()
}

/// The operator is cut off while Pods are written and the API server is started again, which then knows no version from before
/// its start: it says 410 in the stream of the watch that goes on from one.
async fn cut_off(plane: &mut ControlPlane) -> Result<()> {
    let (mut stage, mut story) = story::begin_on(plane, "apart").await?;
    story.intermission().await;
    stage.proxy.partition();
    story.second_act().await?;
    plane.restart_api_server().await?;
    stage.proxy.heal();
    recovered(&mut stage, Instant::now()).await?;
    says(
        &mut stage,
        &[r#"sidewatch_watch_errors_total{reason="gone",resource="pods"}"#],
    )
    .await?;
    story.end_in(&mut stage, not_of_cart, DELAYED, UNTIL_QUIET).await
}

/// Every write times out, and the watches have ended by their idle limit when it goes on.
async fn frozen() -> Result<()> {
    let mut plane = start().await?;
    install(&plane).await?;
    let (mut stage, mut story) = story::begin_on(&plane, "frozen").await?;
    story.second_act().await?;
    // What happened last is seen, and is told while nothing answers.
    says(&mut stage, &[r#"pod="late""#]).await?;
    plane.freeze_api_server()?;
    tokio::time::sleep(FROZEN_FOR).await;
    let live = stage.operator()?.livez().await?;
    ensure!(live.status == 200, "it lives: {live:?}");
    let frozen = [
        r#"sidewatch_watch_errors_total{reason="timeout",resource="pods"}"#,
        r#"sidewatch_watch_synced{resource="pods"} 0"#,
    ];
    says(&mut stage, &frozen).await?;
    let metrics = stage.operator()?.metrics().await?;
    let timeouts = r#"sidewatch_api_writes_total{kind="event",outcome="timeout"} 0"#;
    ensure!(!metrics.contains(timeouts), "no write was given up:\n{metrics}");
    plane.thaw_api_server()?;
    recovered(&mut stage, Instant::now()).await?;
    story.end(&mut stage, DELAYED, UNTIL_QUIET).await?;
    plane.stop()
}

/// Policies go with their CRD. The new ones tell and count what the old ones had told and counted.
async fn crds() -> Result<()> {
    let plane = start().await?;
    e2e::operator::install_rbac(&plane).await?;
    let mut stage = FaultEnv::set(&plane, "crds").await?;
    stage.start_operator(&plane).await?;
    let proxy = &stage.proxy;
    proxy.wait_for_call(Verb::List, POLICIES, 2, PATIENCE).await?;
    let waiting = stage.operator()?.readyz().await?;
    ensure!(
        waiting.status == 503 && waiting.body.contains("sidecarpolicies"),
        "it says what it waits for: {waiting:?}"
    );
    install(&plane).await?;
    recovered(&mut stage, Instant::now()).await?;
    let mut story = Story::begin(&stage).await?;
    story.intermission().await;

    let crd = "customresourcedefinition/sidecarpolicies.sidewatch.dev";
    plane.kubectl(["delete", crd]).await?;
    let began = Instant::now();
    while !findings(&mut stage).await?.is_empty() {
        ensure!(began.elapsed() < PATIENCE, "violations without a policy");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    install(&plane).await?;
    story::apply_policies(&stage).await?;
    story.second_act().await?;
    recovered(&mut stage, Instant::now()).await?;
    let now = |name: &str| {
        not_of_cart(name) && (name.starts_with("sidewatch_violation{") || name.starts_with("status of "))
    };
    story.end_in(&mut stage, now, DELAYED, UNTIL_QUIET).await?;
    plane.stop()
}

async fn findings(stage: &mut FaultEnv) -> Result<Vec<String>> {
    let metrics = stage.operator()?.metrics().await?;
    let series = metrics
        .lines()
        .filter(|line| line.starts_with("sidewatch_violation{"));
    Ok(series.map(str::to_owned).collect())
}
