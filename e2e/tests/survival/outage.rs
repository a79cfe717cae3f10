//! Faults of the API server: killed, restarted, frozen, without the CRDs. Each test has its own control plane.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use e2e::ControlPlane;
use e2e::faults::env::FaultEnv;
use e2e::faults::proxy::Verb;
use e2e::poll::eventually;
use e2e::tools::KubernetesVersion;
use libtest_mimic::Trial;

use super::recovery::{POLICIES, recovered, wait_for_metrics};
use super::sequence::{self, DELAYED, Sequence, UNTIL_QUIET, install, not_of_cart, only_of_fast};
use super::test;

const KILLED_FOR: Duration = Duration::from_secs(30);
const FROZEN_FOR: Duration = Duration::from_secs(90);
const WAIT: Duration = Duration::from_mins(1);

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        test("api_server_killed_and_restarted", killed),
        test("api_server_frozen", frozen),
        test("crds_absent_installed_deleted_and_installed_again", crds),
        // `make compat` runs it: it needs two API servers.
        test("api_server_replaced_by_the_newest_version_and_back", replaced).with_ignored_flag(true),
    ]
}

/// Starts a control plane for one test.
pub(crate) async fn start() -> Result<ControlPlane> {
    let _turn = sequence::turn().await?;
    ControlPlane::start().await
}

/// Killed for 30 s, restarted, and restarted again during the second phase.
async fn killed() -> Result<()> {
    let mut plane = start().await?;
    install(&plane).await?;
    let (mut env, mut sequence) = sequence::begin_on(&plane, "killed").await?;
    // By then `fast` has sent most Events.
    tokio::time::sleep(Duration::from_secs(5)).await;
    plane.kill_api_server()?;
    wait_for_metrics(&mut env, &[r#"sidewatch_watch_synced{resource="pods"} 0"#]).await?;
    tokio::time::sleep(KILLED_FOR).await;
    plane.restart_api_server().await?;
    let restart = async {
        tokio::time::sleep(Duration::from_millis(60)).await;
        plane.restart_api_server().await
    };
    tokio::try_join!(sequence.second_phase(), restart)?;
    recovered(&mut env, Instant::now()).await?;
    cut_off(&mut plane).await?;
    // The second phase waits for the API server. On a slow machine `late` fires before.
    sequence
        .end_in(&mut env, only_of_fast, DELAYED, UNTIL_QUIET)
        .await?;
    plane.stop()
}

/// The operator is partitioned while Pods change and the API server restarts. The API server knows no resource version from
/// before its start: it sends 410 in the watch that resumes from one.
async fn cut_off(plane: &mut ControlPlane) -> Result<()> {
    let (mut env, mut sequence) = sequence::begin_on(plane, "apart").await?;
    sequence.pause_between_phases().await;
    env.proxy.partition();
    sequence.second_phase().await?;
    plane.restart_api_server().await?;
    env.proxy.heal();
    recovered(&mut env, Instant::now()).await?;
    wait_for_metrics(
        &mut env,
        &[r#"sidewatch_watch_errors_total{reason="gone",resource="pods"}"#],
    )
    .await?;
    sequence.end_in(&mut env, not_of_cart, DELAYED, UNTIL_QUIET).await
}

/// The selected version is replaced by the newest one before the second phase, and restored after it.
async fn replaced() -> Result<()> {
    let (before, newest) = (KubernetesVersion::selected()?, KubernetesVersion::NEWEST);
    ensure!(before < newest, "KUBERNETES_VERSION must name an older version");
    let mut plane = start().await?;
    install(&plane).await?;
    let (mut env, mut sequence) = sequence::begin_on(&plane, "replaced").await?;
    sequence.pause_between_phases().await;
    replace(&mut plane, newest).await?;
    sequence.second_phase().await?;
    recovered(&mut env, Instant::now()).await?;
    replace(&mut plane, before).await?;
    recovered(&mut env, Instant::now()).await?;
    sequence
        .end_in(&mut env, not_of_cart, DELAYED, UNTIL_QUIET)
        .await?;
    plane.stop()
}

async fn replace(plane: &mut ControlPlane, version: KubernetesVersion) -> Result<()> {
    plane.replace_api_server(version).await?;
    let serves = plane.client().await?.apiserver_version().await?.git_version;
    ensure!(serves == version.patch()?, "the API server has {serves}");
    Ok(())
}

/// Every write times out, and the watches end by their idle timeout.
async fn frozen() -> Result<()> {
    let mut plane = start().await?;
    install(&plane).await?;
    let (mut env, mut sequence) = sequence::begin_on(&plane, "frozen").await?;
    sequence.second_phase().await?;
    // The last fault has been received; its Event is sent while the API server is frozen.
    wait_for_metrics(&mut env, &[r#"pod="late""#]).await?;
    plane.freeze_api_server()?;
    tokio::time::sleep(FROZEN_FOR).await;
    let live = env.operator()?.livez().await?;
    ensure!(live.status == 200, "/livez fails: {live:?}");
    let frozen = [
        r#"sidewatch_watch_errors_total{reason="timeout",resource="pods"}"#,
        r#"sidewatch_watch_synced{resource="pods"} 0"#,
    ];
    wait_for_metrics(&mut env, &frozen).await?;
    let metrics = env.operator()?.metrics().await?;
    let timeouts = r#"sidewatch_api_writes_total{kind="event",outcome="timeout"} 0"#;
    ensure!(!metrics.contains(timeouts), "no write timed out:\n{metrics}");
    plane.thaw_api_server()?;
    recovered(&mut env, Instant::now()).await?;
    sequence.end(&mut env, DELAYED, UNTIL_QUIET).await?;
    plane.stop()
}

/// Deleting the CRD deletes its policies. New policies report and count as the old ones did.
async fn crds() -> Result<()> {
    let plane = start().await?;
    e2e::operator::install_rbac(&plane).await?;
    let mut env = FaultEnv::new(&plane, "crds").await?;
    env.start_operator(&plane).await?;
    let proxy = &env.proxy;
    proxy.wait_for_call(Verb::List, POLICIES, 2, WAIT).await?;
    let waiting = env.operator()?.readyz().await?;
    ensure!(
        waiting.status == 503 && waiting.body.contains("sidecarpolicies"),
        "/readyz must name the missing resource: {waiting:?}"
    );
    install(&plane).await?;
    recovered(&mut env, Instant::now()).await?;
    let mut sequence = Sequence::begin(&env).await?;
    sequence.pause_between_phases().await;

    plane
        .kubectl_line("delete crd sidecarpolicies.sidewatch.dev")
        .await?;
    eventually(WAIT, async || {
        let metrics = env.metrics().await?;
        ensure!(
            !metrics.contains("\nsidewatch_violation{"),
            "violations without a policy"
        );
        Ok(())
    })
    .await?;
    install(&plane).await?;
    sequence::apply_policies(&env).await?;
    sequence.second_phase().await?;
    recovered(&mut env, Instant::now()).await?;
    let now = |name: &str| {
        not_of_cart(name) && (name.starts_with("sidewatch_violation{") || name.starts_with("status of "))
    };
    sequence.end_in(&mut env, now, DELAYED, UNTIL_QUIET).await?;
    plane.stop()
}
