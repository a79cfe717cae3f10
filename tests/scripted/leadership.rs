//! Leader election: a standby writes nothing, a new leader writes what the former leader may not have written.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use http::{Method, StatusCode};
use serde_json::json;
use sidewatch::operator::leadership::Candidate;
use testkit::api_server::{
    ApiServer, EVENTS, Exchange, MESH_STATUS, PODS, Route, Running, ServedLease, WatchStream, candidate,
    candidate_ahead_by, list, pod, policy, start_as, until, virtual_clock,
};
use tokio::time::{Instant, sleep};

use crate::secs;

const LEADER: &str = "sidewatch_leader";

/// The operator `a` on a server with a Lease and the policy `mesh`.
struct Replica {
    operator: Running,
    /// Requests that create Events.
    events: Route,
    /// Applies of the status.
    statuses: Route,
    /// The watch of the Pods.
    pods: WatchStream,
}

impl Replica {
    async fn start(server: &ApiServer) -> Self {
        Self::start_as(&candidate("a"), server).await
    }

    async fn start_as(candidate: &Candidate, server: &ApiServer) -> Self {
        let pods = server.route(Method::GET, PODS);
        let operator = start_as(Some(candidate), server.clients(), &[], virtual_clock());
        pods.next().await.json(StatusCode::OK, &list("Pod", "5", &[]));
        Self {
            operator,
            events: server.route(Method::POST, EVENTS),
            statuses: server.route(Method::PATCH, MESH_STATUS),
            pods: pods.next().await.watch(),
        }
    }

    /// Adds a Pod with a sidecar that is not ready: an Event is due at once.
    fn fail(&self, name: &str) {
        self.pods.event("ADDED", &pod(name, "6", false));
    }

    /// Takes the next Event, and returns the name of its Pod.
    async fn event(&self) -> String {
        let exchange = self.events.next().await;
        let pod = exchange.body["regarding"]["name"].as_str().unwrap().to_owned();
        exchange.json(StatusCode::CREATED, &json!({}));
        pod
    }

    async fn until_leader(&self, value: f64) {
        self.operator.until_metric(LEADER, value).await;
    }
}

fn server() -> (ApiServer, ServedLease) {
    let server = ApiServer::default();
    server.serve_all_but_pods(&[policy("mesh", "3")]);
    let lease = server.serve_lease();
    (server, lease)
}

/// A replica that is the leader, and its Lease.
async fn leader() -> (Replica, ServedLease) {
    let (server, lease) = server();
    let replica = Replica::start(&server).await;
    replica.until_leader(1.0).await;
    (replica, lease)
}

#[tokio::test(start_paused = true)]
async fn a_standby_is_ready_and_writes_when_the_lease_has_expired() {
    let (server, lease) = server();
    lease.hold("b");
    let replica = Replica::start(&server).await;
    replica.operator.ready().await;
    replica.fail("web");
    for _ in 0..20 {
        replica.events.stays_silent(secs(2)).await;
        lease.hold("b");
    }
    assert_eq!(replica.operator.metric(LEADER), Some(0.0));
    replica.events.stays_silent(secs(14)).await;
    assert_eq!(replica.event().await, "web", "15 s after the last renewal");
    assert_eq!(lease.holder(), "a");
    assert_eq!(lease.spec()["leaseTransitions"], 2);
    let status = replica.statuses.next().await;
    assert_eq!(status.body["status"]["violations"][0]["pod"], "web");
    replica.until_leader(1.0).await;
}

#[tokio::test(start_paused = true)]
async fn a_new_lease_and_a_released_lease_are_taken_at_once() {
    let (replica, lease) = leader().await;
    assert_eq!(lease.spec()["leaseTransitions"], 0);
    lease.hold("b");
    replica.until_leader(0.0).await;
    lease.edit(|spec| {
        *spec = json!({"leaseDurationSeconds": 1, "leaseTransitions": 1});
    });
    sleep(Duration::from_millis(100)).await;
    assert_eq!(lease.holder(), "a");
    replica.until_leader(1.0).await;
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_cannot_renew_writes_nothing_after_ten_seconds() {
    let (replica, lease) = leader().await;
    // The last renewal was sent at most two seconds ago.
    lease.set_unavailable(true);
    sleep(secs(7)).await;
    replica.fail("before");
    assert_eq!(replica.event().await, "before", "within the deadline");
    replica.until_leader(0.0).await;
    replica.fail("after");
    replica.events.stays_silent(secs(30)).await;
    lease.set_unavailable(false);
    assert_eq!(replica.event().await, "after", "the leader has renewed the Lease");
    assert_eq!(lease.spec()["leaseTransitions"], 0);
}

#[tokio::test(start_paused = true)]
async fn a_leader_whose_machine_was_suspended_writes_nothing_before_it_renews() {
    let (server, lease) = server();
    let suspended = Arc::new(AtomicU64::new(0));
    let replica = Replica::start_as(&candidate_ahead_by("a", Arc::clone(&suspended)), &server).await;
    replica.until_leader(1.0).await;
    // The timers of the process have not advanced: the next renewal is due in up to two seconds.
    suspended.store(30, Ordering::Relaxed);
    let before = lease.spec()["renewTime"].clone();
    replica.fail("web");
    assert_eq!(replica.event().await, "web");
    assert_ne!(lease.spec()["renewTime"], before, "the Lease was renewed first");
}

#[tokio::test(start_paused = true)]
async fn an_event_that_was_not_accepted_before_the_deadline_is_written_by_the_next_leader() {
    let (replica, lease) = leader().await;
    replica.fail("web");
    let lost = replica.events.next().await;
    let name = |event: &Exchange| event.body["metadata"]["name"].clone();
    let lost_name = name(&lost);
    lease.hold("b");
    replica.until_leader(0.0).await;
    drop(lost);
    replica.events.stays_silent(secs(10)).await;
    let again = replica.events.next().await;
    assert_eq!(name(&again), lost_name);
    again.fail(409, "already exists");
    replica.events.stays_silent(secs(30)).await;
}

#[tokio::test(start_paused = true)]
async fn a_write_that_fails_after_the_demotion_does_not_delay_the_stop() {
    let (replica, lease) = leader().await;
    replica.statuses.next().await.json(StatusCode::OK, &json!({}));
    // The next renewal finds the other holder.
    lease.edit(|spec| spec["holderIdentity"] = json!("b"));
    replica.fail("web");
    let event = replica.events.next().await;
    replica.until_leader(0.0).await;
    event.fail(500, "not now");
    sleep(Duration::from_millis(100)).await;
    let begin = Instant::now();
    replica.operator.stop().await;
    assert!(begin.elapsed() < secs(1), "{:?}", begin.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_deleted_or_edited_lease_is_written_again_by_its_leader() {
    type Change = fn(&ServedLease);
    let (replica, lease) = leader().await;
    let changes: [(Change, &str); 3] = [
        (ServedLease::delete, "deleted"),
        (
            |lease| lease.edit(|spec| spec["holderIdentity"] = json!("")),
            "without a holder",
        ),
        (
            |lease| lease.edit(|spec| spec["leaseDurationSeconds"] = json!(3600)),
            "another duration",
        ),
    ];
    for (change, why) in changes {
        change(&lease);
        until("the Lease is renewed", || {
            lease.holder() == "a" && lease.spec()["leaseDurationSeconds"] == 15
        })
        .await;
        assert_eq!(replica.operator.metric(LEADER), Some(1.0), "{why}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_leader_releases_the_lease_when_it_stops() {
    let (replica, lease) = leader().await;
    replica.statuses.next().await.json(StatusCode::OK, &json!({}));
    replica.fail("web");
    let stop = tokio::spawn(replica.operator.stop());
    // The queued Event is written before the release.
    let event = replica.events.next().await;
    assert_eq!(lease.holder(), "a");
    event.json(StatusCode::CREATED, &json!({}));
    replica.statuses.next().await.json(StatusCode::OK, &json!({}));
    stop.await.unwrap();
    assert_eq!(lease.holder(), "");
    assert_eq!(lease.spec()["leaseDurationSeconds"], 1);
}

#[tokio::test(start_paused = true)]
async fn a_standby_stops_without_a_write() {
    let (server, lease) = server();
    lease.hold("b");
    let replica = Replica::start(&server).await;
    replica.operator.ready().await;
    replica.fail("web");
    sleep(secs(1)).await;
    let Replica {
        operator,
        events,
        statuses,
        pods: _pods,
    } = replica;
    operator.stop().await;
    events.stays_silent(secs(1)).await;
    statuses.stays_silent(secs(1)).await;
    assert_eq!(lease.holder(), "b");
}
