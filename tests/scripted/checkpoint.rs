//! The checkpoint: what a new process continues, and what it does with a checkpoint that it cannot use.

use std::sync::Arc;

use http::{Method, StatusCode};
use serde_json::{Value, json};
use sidewatch::{
    checkpoint::{MAX_SIZE, decode, encode},
    clock::Clock,
    domain::checkpoint::Checkpoint,
};
use testkit::{
    api_server::{
        ApiServer, EVENTS, MESH_STATUS, PODS, Running, ServedCheckpoint, WatchStream, candidate,
        checkpoint_location, list, pod, policy, start_stored, until, virtual_clock,
    },
    policies::only,
};
use tokio::time::{Instant, sleep};

use crate::{api_writes, secs};

/// More than a status lists.
const VIOLATIONS: usize = 250;

/// The policy `mesh` with a long `keepFiringFor`.
fn patient_policy() -> Value {
    let mut policy = policy("mesh", "3");
    policy["spec"] = json!({
        "checks": only("mainReadySidecarNotReady", &json!({"for": "0s", "keepFiringFor": "10m"})),
    });
    policy
}

/// A server with a policy, and the clock of all processes that use it.
struct Cluster {
    server: ApiServer,
    clock: Arc<dyn Clock>,
}

fn cluster_with(policy: Value) -> (Cluster, ServedCheckpoint) {
    let server = ApiServer::default();
    server.serve_all_but_pods(&[policy]);
    let checkpoint = server.serve_checkpoint();
    accept_writes(&server);
    let clock = virtual_clock();
    (Cluster { server, clock }, checkpoint)
}

/// Accepts statuses and Events.
fn accept_writes(server: &ApiServer) {
    for (method, path, code) in [
        (Method::PATCH, MESH_STATUS, StatusCode::OK),
        (Method::POST, EVENTS, StatusCode::CREATED),
    ] {
        let route = server.route(method, path);
        tokio::spawn(async move {
            loop {
                route.any().await.json(code, &json!({}));
            }
        });
    }
}

/// Starts a process without election, and lists the Pods.
async fn start(cluster: &Cluster, pods: &[Value]) -> (Running, WatchStream) {
    let Cluster { server, clock } = cluster;
    let operator = start_stored(server.clients(), None, &checkpoint_location(), Arc::clone(clock));
    let route = server.route(Method::GET, PODS);
    route.next().await.json(StatusCode::OK, &list("Pod", "5", pods));
    let watch = route.next().await.watch();
    operator.ready().await;
    (operator, watch)
}

/// Waits. The server sends bookmarks in the meantime, as for a watch without changes.
async fn pass(watch: &WatchStream, seconds: u64) {
    for waited in 0..seconds {
        if waited % 30 == 0 {
            watch.bookmark("Pod", "9");
        }
        sleep(secs(1)).await;
    }
}

fn firing(operator: &Running) -> usize {
    operator.series("sidewatch_violation").len()
}

fn writes(outcome: &str) -> String {
    format!(r#"sidewatch_checkpoint_writes_total{{outcome="{outcome}"}}"#)
}

fn ignored(reason: &str) -> String {
    format!(r#"sidewatch_checkpoint_ignored_total{{reason="{reason}"}}"#)
}

/// The number of violations in a checkpoint.
fn violations(checkpoint: &Checkpoint) -> usize {
    let policies = checkpoint.policies.values();
    policies.map(|policy| policy.violations.len()).sum()
}

#[tokio::test(start_paused = true)]
async fn a_new_process_continues_all_violations_and_repeats_no_event() {
    let (cluster, checkpoint) = cluster_with(patient_policy());
    let name = |n: usize| format!("web-{n}");
    let pods: Vec<Value> = (0..VIOLATIONS).map(|n| pod(&name(n), "1", false)).collect();
    let (operator, watch) = start(&cluster, &pods).await;
    until("all violations fire", || firing(&operator) == VIOLATIONS).await;
    // Half of the faults end. Their violations keep firing, which the API does not show.
    let now: Vec<Value> = (0..VIOLATIONS).map(|n| pod(&name(n), "6", n % 2 == 0)).collect();
    for pod in &now {
        watch.event("MODIFIED", pod);
    }
    pass(&watch, 120).await;
    assert_eq!(firing(&operator), VIOLATIONS);
    let before = operator.metric(&api_writes("event", "ok")).unwrap();
    assert!(before >= 200.0, "{before} Events");
    drop(operator);

    let (operator, watch) = start(&cluster, &now).await;
    assert_eq!(firing(&operator), VIOLATIONS, "all violations continue");
    pass(&watch, 60).await;
    assert_eq!(firing(&operator), VIOLATIONS);
    assert_eq!(
        operator.metric(&api_writes("event", "ok")),
        Some(0.0),
        "no Event is written again"
    );
    let fired = operator.series("sidewatch_violations_total");
    let is_zero = |line: &String| line.ends_with(" 0");
    assert!(
        !fired.is_empty() && fired.iter().all(is_zero),
        "no violation fires again: {fired:?}"
    );
    pass(&watch, 600).await;
    assert_eq!(
        firing(&operator),
        VIOLATIONS / 2,
        "keepFiringFor begins at the end of the fault"
    );
    assert!(decode(&checkpoint.bytes().unwrap()).is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_is_written_once_per_change_and_at_the_end() {
    let (cluster, checkpoint) = cluster_with(policy("mesh", "3"));
    let (operator, watch) = start(&cluster, &[pod("a", "1", false)]).await;
    operator.until_metric(&writes("ok"), 1.0).await;
    pass(&watch, 30).await;
    let settled = checkpoint.writes();
    pass(&watch, 600).await;
    assert_eq!(checkpoint.writes(), settled, "nothing has changed");
    watch.event("ADDED", &pod("b", "7", false));
    pass(&watch, 31).await;
    let changed = checkpoint.writes();
    assert!(
        (settled + 1..=settled + 2).contains(&changed),
        "the violation, and its written Event"
    );
    watch.event("ADDED", &pod("c", "8", false));
    pass(&watch, 2).await;
    operator.stop().await;
    assert_eq!(checkpoint.writes(), changed + 1, "the end");
    let stored = decode(&checkpoint.bytes().unwrap()).unwrap();
    assert_eq!(violations(&stored), 3);
    assert!(stored.waiting.is_empty(), "all Events were written before");
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_that_cannot_be_used_is_counted_and_replaced() {
    let (first_cluster, first) = cluster_with(policy("mesh", "3"));
    let (operator, _watch) = start(&first_cluster, &[pod("a", "1", false)]).await;
    operator.until_metric(&writes("ok"), 1.0).await;
    let good = first.bytes().unwrap();
    let changed = |change: fn(&mut Vec<u8>)| {
        let mut bytes = good.clone();
        change(&mut bytes);
        bytes
    };
    let mut future = decode(&good).unwrap();
    future.as_of += jiff::SignedDuration::from_hours(24 * 365);
    let table = [
        (changed(|bytes| bytes.truncate(bytes.len() / 2)), "truncated"),
        (changed(|bytes| *bytes.last_mut().unwrap() ^= 1), "checksum"),
        (changed(|bytes| bytes[4] = 9), "version"),
        (b"edited by somebody".to_vec(), "foreign"),
        (encode(future, MAX_SIZE).bytes, "future"),
        (Vec::new(), "foreign"),
    ];
    for (bytes, reason) in table {
        let (cluster, checkpoint) = cluster_with(policy("mesh", "3"));
        checkpoint.replace(&bytes);
        let (operator, _watch) = start(&cluster, &[pod("a", "1", false)]).await;
        assert_eq!(operator.metric(&ignored(reason)), Some(1.0), "{reason}");
        assert_eq!(firing(&operator), 1, "{reason}: computed from the Pod");
        operator.until_metric(&writes("ok"), 1.0).await;
        assert!(decode(&checkpoint.bytes().unwrap()).is_ok(), "{reason}");
    }
    let (cluster, checkpoint) = cluster_with(policy("mesh", "3"));
    checkpoint.empty();
    let (operator, _watch) = start(&cluster, &[]).await;
    assert_eq!(operator.metric(&ignored("missing")), Some(1.0));
}

#[tokio::test(start_paused = true)]
async fn content_of_another_writer_is_merged_and_a_deleted_object_is_created_again() {
    let (other_cluster, other) = cluster_with(policy("mesh", "3"));
    let (operator, _watch) = start(&other_cluster, &[pod("theirs", "1", false)]).await;
    operator.until_metric(&writes("ok"), 1.0).await;
    let theirs = other.bytes().unwrap();

    let (cluster, checkpoint) = cluster_with(policy("mesh", "3"));
    let pods = [pod("ours", "1", false), pod("theirs", "1", true)];
    let (operator, watch) = start(&cluster, &pods).await;
    operator.until_metric(&writes("ok"), 1.0).await;
    checkpoint.replace(&theirs);
    watch.event("ADDED", &pod("more", "7", false));
    operator.until_metric(&writes("conflict"), 1.0).await;
    operator.until_metric(&writes("ok"), 2.0).await;
    let stored = decode(&checkpoint.bytes().unwrap()).unwrap();
    let mut names: Vec<_> = stored.pods.keys().map(|pod| &*pod.name).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        ["more", "ours", "theirs"],
        "the Events of the other writer's Pod are kept"
    );
    assert_eq!(violations(&stored), 2, "the fault of that Pod has ended");

    checkpoint.delete();
    watch.event("ADDED", &pod("last", "8", false));
    operator.until_metric(&writes("conflict"), 2.0).await;
    until("it exists again", || checkpoint.bytes().is_some()).await;
}

#[tokio::test(start_paused = true)]
async fn a_deleted_or_edited_checkpoint_is_written_again_although_nothing_has_changed() {
    let (cluster, checkpoint) = cluster_with(policy("mesh", "3"));
    let (operator, watch) = start(&cluster, &[pod("a", "1", false)]).await;
    operator.until_metric(&writes("ok"), 1.0).await;
    pass(&watch, 40).await;
    let pods = || decode(&checkpoint.bytes().unwrap()).unwrap().pods;
    let settled = pods();
    checkpoint.delete();
    pass(&watch, 90).await;
    assert_eq!(pods(), settled, "after it was deleted");
    checkpoint.replace(b"edited by somebody");
    pass(&watch, 90).await;
    assert_eq!(pods(), settled, "after it was edited");
    assert_eq!(operator.metric(&ignored("foreign")), Some(1.0));
    let written = checkpoint.writes();
    pass(&watch, 600).await;
    assert_eq!(checkpoint.writes(), written, "nothing has changed");
}

#[tokio::test(start_paused = true)]
async fn a_refused_checkpoint_delays_nothing_and_is_retried() {
    for code in [403, 503] {
        let (cluster, checkpoint) = cluster_with(policy("mesh", "3"));
        checkpoint.set_failure(Some(code));
        let (operator, _watch) = start(&cluster, &[pod("a", "1", false)]).await;
        assert_eq!(firing(&operator), 1, "{code}");
        until("a failure is counted", || {
            operator.metric(&writes("error")) >= Some(2.0)
        })
        .await;
        assert_eq!(checkpoint.writes(), 0);
        checkpoint.set_failure(None);
        operator.until_metric(&writes("ok"), 1.0).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_hangs_delays_the_start_by_five_seconds() {
    let server = ApiServer::default();
    server.serve_all_but_pods(&[policy("mesh", "3")]);
    let cluster = Cluster {
        server,
        clock: virtual_clock(),
    };
    let begun = Instant::now();
    let (_operator, _watch) = start(&cluster, &[]).await;
    assert!(
        (secs(5)..secs(6)).contains(&begun.elapsed()),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn slow_conflicts_delay_the_end_by_four_seconds() {
    let server = ApiServer::default();
    server.serve_all_but_pods(&[policy("mesh", "3")]);
    accept_writes(&server);
    let namespace = checkpoint_location().namespace;
    let path = format!("/api/v1/namespaces/{namespace}/configmaps/sidewatch-checkpoint");
    let stored = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "sidewatch-checkpoint", "uid": "1", "resourceVersion": "5"},
    });
    let conflict =
        json!({"apiVersion": "v1", "kind": "Status", "status": "Failure", "reason": "Conflict", "code": 409});
    for (method, code, body) in [
        (Method::GET, StatusCode::OK, stored),
        (Method::PATCH, StatusCode::CONFLICT, conflict),
    ] {
        let route = server.route(method, &path);
        tokio::spawn(async move {
            loop {
                let request = route.any().await;
                sleep(secs(3)).await;
                request.json(code, &body);
            }
        });
    }
    let clock = virtual_clock();
    let (operator, _watch) = start(&Cluster { server, clock }, &[]).await;
    let stopped = Instant::now();
    operator.stop().await;
    assert!(
        (secs(4)..secs(5)).contains(&stopped.elapsed()),
        "{:?}",
        stopped.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn a_standby_follows_the_checkpoint_and_writes_when_it_leads() {
    let (cluster, checkpoint) = cluster_with(patient_policy());
    let (leader, _watch) = start(&cluster, &[pod("a", "1", false)]).await;
    leader.until_metric(&writes("ok"), 1.0).await;
    sleep(secs(20)).await;
    drop(leader);
    let written = checkpoint.writes();

    let Cluster { server, clock } = &cluster;
    let lease = server.serve_lease();
    lease.hold("other");
    let standby = start_stored(
        server.clients(),
        Some(&candidate("b")),
        &checkpoint_location(),
        Arc::clone(clock),
    );
    let route = server.route(Method::GET, PODS);
    route
        .next()
        .await
        .json(StatusCode::OK, &list("Pod", "5", &[pod("a", "6", true)]));
    let watch = route.next().await.watch();
    standby.ready().await;
    assert_eq!(firing(&standby), 1, "its fault has ended, keepFiringFor has not");
    watch.event("ADDED", &pod("b", "7", false));
    for _ in 0..10 {
        sleep(secs(2)).await;
        lease.hold("other");
    }
    assert_eq!(checkpoint.writes(), written, "a standby writes nothing");
    until("it leads and writes", || checkpoint.writes() > written).await;
    assert_eq!(standby.metric("sidewatch_leader"), Some(1.0));
    assert_eq!(firing(&standby), 2);
}
