//! Permissions that are revoked and granted again, verb by verb, and a token that becomes invalid and is replaced.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use e2e::cluster::Permission;
use e2e::faults::env::{ACCOUNT, FaultEnv};
use e2e::faults::proxy::{Fault, Rule, Verb};
use e2e::poll::eventually;
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::Api;
use kube::api::DeleteParams;
use libtest_mimic::Trial;

use super::recovery::{WAIT, recovered, wait_for_metrics};
use super::sequence::{self, DELAYED, UNTIL_QUIET, not_of_cart};
use super::test;

/// Read permissions of a namespaced installation. The first is revoked during the second phase: after a recovery on a slow
/// machine the policy `late` could fire before it.
const READS: [Permission; 6] = [
    ("", "pods", "watch"),
    ("", "pods", "list"),
    ("sidewatch.dev", "sidecarpolicies", "list"),
    ("sidewatch.dev", "sidecarpolicies", "watch"),
    ("sidewatch.dev", "sidecarexemptions", "list"),
    ("sidewatch.dev", "sidecarexemptions", "watch"),
];
/// Write permissions of a namespaced installation.
const WRITES: [Permission; 3] = [
    ("sidewatch.dev", "sidecarpolicies/status", "patch"),
    ("events.k8s.io", "events", "create"),
    ("events.k8s.io", "events", "patch"),
];

pub(crate) fn tests() -> Vec<Trial> {
    let mut tests = vec![
        test("read_permissions_revoked_and_granted", reads),
        test("token_expires_and_is_replaced", token),
    ];
    for permission in WRITES {
        let (_, resource, verb) = permission;
        let name = format!("without_the_permission_to_{verb}_{}", resource.replace('/', "_"));
        tests.push(test(&name, move || writes(permission)));
    }
    tests
}

async fn revoke(env: &FaultEnv, permission: Permission) -> Result<()> {
    let all = READS.iter().chain(&WRITES).copied();
    let others: Vec<Permission> = all.filter(|other| *other != permission).collect();
    env.restrict(&others, permission).await
}

/// One after the other; the second phase runs while Pods cannot be watched.
async fn reads() -> Result<()> {
    let (mut env, mut sequence) = sequence::begin("rights").await?;
    sequence.pause_between_phases().await;
    for permission in READS {
        revoke(&env, permission).await?;
        let (_, resource, verb) = permission;
        // An active watch continues without the permission. A list follows the cut, or the version that has expired.
        let path = format!("*/{resource}");
        let expiry = Rule::new(Verb::Watch, &path, Fault::error_event(0, 410)).calls(..=1);
        let _expiry = (verb == "list").then(|| env.proxy.add(expiry));
        env.proxy.cut(Verb::Watch, &path);
        if permission == READS[0] {
            sequence.second_phase().await?;
        }
        let error = format!("{{reason=\"forbidden\",resource=\"{resource}\"}}");
        let synced = format!("sidewatch_watch_synced{{resource=\"{resource}\"}} 0");
        wait_for_metrics(&mut env, &[&error, &synced]).await?;
        env.permit().await?;
        recovered(&mut env, Instant::now()).await?;
    }
    sequence.end(&mut env, DELAYED, UNTIL_QUIET).await
}

async fn writes(permission: Permission) -> Result<()> {
    let (mut env, mut sequence) = sequence::begin("rights").await?;
    sequence.pause_between_phases().await;
    revoke(&env, permission).await?;
    sequence.second_phase().await?;
    if permission == WRITES[2] {
        // The permission to patch Events is for repetitions, which are too late for this test: see `scripted::sinks`.
        tokio::time::sleep(Duration::from_secs(6)).await;
    } else {
        says_forbidden(&mut env).await?;
    }
    env.permit().await?;
    sequence.end(&mut env, DELAYED, UNTIL_QUIET).await
}

/// Waits for `forbidden` in the log. A status is written at most once in ten seconds.
async fn says_forbidden(env: &mut FaultEnv) -> Result<()> {
    let operator = env.operator()?;
    eventually(Duration::from_secs(30), || async {
        let log = operator.log()?;
        ensure!(log.contains("forbidden"), "no `forbidden` in the log:\n{log}");
        Ok(())
    })
    .await
}

/// Deleting the ServiceAccount invalidates its tokens. A new one of the same name has the same permissions.
async fn token() -> Result<()> {
    let plane = sequence::plane().await?;
    let (mut env, mut sequence) = sequence::begin("token").await?;
    sequence.pause_between_phases().await;
    let accounts: Api<ServiceAccount> = Api::namespaced(env.client(), env.namespace());
    accounts.delete(ACCOUNT, &DeleteParams::default()).await?;
    // The API server caches valid tokens for some seconds. Requests without an answer are not closed. A watch that was cut
    // off can be followed by a list.
    eventually(WAIT, || async {
        let calls = env.proxy.calls();
        if calls
            .iter()
            .filter(|call| call.verb == Verb::Watch)
            .all(|call| call.status.is_some() || call.ended.is_some())
        {
            env.proxy.cut(Verb::Watch, "*");
        }
        let unauthorized = calls.iter().any(|call| call.status == Some(401));
        ensure!(unauthorized, "no answer 401: {calls:#?}");
        Ok(())
    })
    .await?;
    sequence.second_phase().await?;
    wait_for_metrics(&mut env, &["reason=\"unauthorized\""]).await?;
    plane.service_account(env.namespace(), ACCOUNT).await?;
    let token = plane
        .token(env.namespace(), ACCOUNT, Duration::from_hours(1))
        .await?;
    env.kubeconfig.replace_token(&token)?;
    recovered(&mut env, Instant::now()).await?;
    sequence.end_in(&mut env, not_of_cart, DELAYED, UNTIL_QUIET).await
}
