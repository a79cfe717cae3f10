//! Events of the whole operator.

use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::json;

use testkit::api_server::{
    EVENTS, MESH_STATUS, Server, list, pod, pods, policy, quiet_but_pods, start, status_error,
};

const WRITTEN: &str = r#"sidewatch_api_writes_total{kind="event",outcome="ok"}"#;

#[tokio::test]
async fn a_fault_is_told_once_and_at_once() {
    let server = Server::start().await;
    quiet_but_pods(&server, &[policy("mesh", "3")]);
    let (pods, events) = (pods(&server), server.route(Method::POST, EVENTS));
    let operator = start(&server, &[]);
    pods.next()
        .await
        .json(StatusCode::OK, &list("Pod", "5", &[pod("a", "1", true)]));
    let watch = pods.next().await.watch();
    operator.ready().await;

    let begun = tokio::time::Instant::now();
    watch.event("MODIFIED", &pod("a", "6", false));
    let event = events.next().await;
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    let body = &event.body;
    assert_eq!(body["reason"], "MainContainerReadyButSidecarNot");
    assert_eq!(body["regarding"]["fieldPath"], "spec.initContainers{proxy}");
    assert_eq!(body["regarding"]["uid"], "uid-a");
    assert_eq!(body["related"]["name"], "mesh");
    assert_eq!(body["reportingController"], "sidewatch.dev/operator");
    assert_eq!(event.parameter("fieldManager").as_deref(), Some("sidewatch"));
    event.json(StatusCode::CREATED, &json!({}));
    operator.until_metric(WRITTEN, 1.0).await;

    // The same Pod again, with nothing that matters changed.
    let mut same = pod("a", "7", false);
    same["metadata"]["annotations"] = json!({"touched": "yes"});
    watch.event("MODIFIED", &same);
    events.stays_silent(Duration::from_millis(300)).await;
}

#[tokio::test]
async fn an_event_that_is_there_already_is_a_success() {
    let server = Server::start().await;
    quiet_but_pods(&server, &[policy("mesh", "3")]);
    let (pods, events) = (pods(&server), server.route(Method::POST, EVENTS));
    let operator = start(&server, &[]);
    pods.next()
        .await
        .json(StatusCode::OK, &list("Pod", "5", &[pod("a", "1", false)]));
    let _watch = pods.next().await.watch();

    events
        .next()
        .await
        .fail(409, "events.events.k8s.io \"a.1\" already exists");
    operator.until_metric(WRITTEN, 1.0).await;
    events.stays_silent(Duration::from_millis(1500)).await;
    assert_eq!(
        operator.metric(r#"sidewatch_api_writes_total{kind="event",outcome="error"}"#),
        Some(0.0)
    );
}

#[tokio::test]
async fn a_busy_server_is_asked_again_when_it_says_so_and_blocks_no_other_event() {
    let server = Server::start().await;
    quiet_but_pods(&server, &[policy("mesh", "3")]);
    let (pods, events) = (pods(&server), server.route(Method::POST, EVENTS));
    let operator = start(&server, &[]);
    pods.next()
        .await
        .json(StatusCode::OK, &list("Pod", "5", &[pod("a", "1", false)]));
    let watch = pods.next().await.watch();

    let refused = events.next().await;
    let name = refused.body["metadata"]["name"].clone();
    let begun = tokio::time::Instant::now();
    refused.fail_for(429, 2);
    watch.event("ADDED", &pod("b", "6", false));
    let other = events.next().await;
    assert_eq!(other.body["regarding"]["name"], "b", "another one goes first");
    other.json(StatusCode::CREATED, &json!({}));
    let again = events.next().await;
    assert_eq!(again.body["metadata"]["name"], name, "the same Event");
    assert!(
        begun.elapsed() >= Duration::from_secs(2),
        "as the server asked: {:?}",
        begun.elapsed()
    );
    again.fail(500, "etcd has no leader");
    let third = events.next().await;
    assert_eq!(third.body["metadata"]["name"], name);
    third.json(StatusCode::CREATED, &json!({}));
    operator.until_metric(WRITTEN, 2.0).await;
    assert_eq!(
        operator.metric(r#"sidewatch_api_writes_total{kind="event",outcome="error"}"#),
        Some(2.0)
    );
}

#[tokio::test]
async fn an_event_that_it_may_not_write_is_tried_again_and_holds_the_status_back_for_a_while() {
    let server = Server::start().await;
    quiet_but_pods(&server, &[policy("mesh", "3")]);
    let (pods, events) = (pods(&server), server.route(Method::POST, EVENTS));
    let statuses = server.route(Method::PATCH, MESH_STATUS);
    let operator = start(&server, &[]);
    pods.next()
        .await
        .json(StatusCode::OK, &list("Pod", "5", &[pod("a", "1", false)]));
    let _watch = pods.next().await.watch();
    let first = events.next().await;
    let name = first.body["metadata"]["name"].clone();
    statuses.stays_silent(Duration::from_secs(1)).await;
    first.fail(
        403,
        "events.events.k8s.io is forbidden: User cannot create resource",
    );
    let again = events.next().await;
    assert_eq!(again.body["metadata"]["name"], name);
    // It never is answered: the status waits no longer than some seconds.
    let status = statuses.next().await;
    assert_eq!(status.body["status"]["summary"]["firing"], 1);
    again.json(StatusCode::CREATED, &json!({}));
    operator.until_metric(WRITTEN, 1.0).await;
}

#[tokio::test]
async fn an_event_that_is_refused_is_counted_and_forgotten() {
    let server = Server::start().await;
    quiet_but_pods(&server, &[policy("mesh", "3")]);
    let (pods, events) = (pods(&server), server.route(Method::POST, EVENTS));
    let operator = start(&server, &[]);
    pods.next()
        .await
        .json(StatusCode::OK, &list("Pod", "5", &[pod("a", "1", false)]));
    let watch = pods.next().await.watch();

    let mut ending = status_error(
        403,
        "unable to create new content because the namespace is being terminated",
    );
    ending["details"] =
        json!({"causes": [{"reason": "NamespaceTerminating", "field": "metadata.namespace"}]});
    events.next().await.json(StatusCode::FORBIDDEN, &ending);
    operator
        .until_metric(r#"sidewatch_events_dropped_total{reason="refused"}"#, 1.0)
        .await;
    events.stays_silent(Duration::from_millis(1500)).await;
    watch.event("ADDED", &pod("b", "6", false));
    events.next().await.json(StatusCode::CREATED, &json!({}));
    operator.until_metric(WRITTEN, 1.0).await;
}

#[tokio::test]
async fn a_fault_that_an_outage_hid_is_not_told_when_it_has_passed() {
    let server = Server::start().await;
    let mut slow = policy("mesh", "3");
    slow["spec"]["checks"]["mainReadySidecarNotReady"]["for"] = json!("1s");
    quiet_but_pods(&server, &[slow]);
    let (pods, events) = (pods(&server), server.route(Method::POST, EVENTS));
    let operator = start(&server, &[]);
    pods.next()
        .await
        .json(StatusCode::OK, &list("Pod", "5", &[pod("a", "1", true)]));
    let watch = pods.next().await.watch();
    operator.ready().await;
    watch.event("MODIFIED", &pod("a", "6", false));
    let pending = concat!(
        r#"sidewatch_violation{check="MainReadySidecarNotReady",container="proxy",mode="alert",namespace="pay","#,
        r#"native="true",pod="a",policy="mesh",policy_kind="SidecarPolicy",policy_namespace="pay",severity="warning","#,
        r#"state="pending",workload="a",workload_kind="Pod"}"#
    );
    operator.until_metric(pending, 1.0).await;
    watch.cut();
    pods.next().await.fail(503, "the server is starting");
    let request = pods.next().await;
    // The deadline passes while nobody can know whether the fault is still there.
    events.stays_silent(Duration::from_millis(1500)).await;
    assert_eq!(operator.metric(pending), Some(1.0), "held as it was");
    let watch = request.watch();
    // What happened meanwhile comes after the answer, not with it.
    tokio::time::sleep(Duration::from_millis(200)).await;
    watch.event("MODIFIED", &pod("a", "7", true));
    operator
        .until_metric(r#"sidewatch_watch_synced{resource="pods"}"#, 1.0)
        .await;
    events.stays_silent(Duration::from_millis(300)).await;
    assert_eq!(operator.metric(pending), None);
}
