//! Lists and watches: resyncs, outages, and answers that cannot be read.

use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::json;

use testkit::api_server::{
    PODS, Routes, Server, list, pod, pods, quiet_but_pods, start, start_in_process, status_error, until,
};

const PODS_SYNCED: &str = r#"sidewatch_watch_synced{resource="pods"}"#;
const TRACKED: &str = "sidewatch_tracked_pods";

fn errors(reason: &str) -> String {
    format!(r#"sidewatch_watch_errors_total{{reason="{reason}",resource="pods"}}"#)
}

#[tokio::test]
async fn lists_in_pages_and_then_watches() {
    let server = Server::start().await;
    quiet_but_pods(&server, &[]);
    let pods = pods(&server);
    let operator = start(&server, &[]);

    let first = pods.next().await;
    let live = "status.phase!=Succeeded,status.phase!=Failed";
    assert_eq!(first.parameter("fieldSelector").as_deref(), Some(live));
    assert_eq!(first.parameter("limit").as_deref(), Some("500"));
    assert!(!first.is_watch());
    let mut page = list("Pod", "7", &[pod("a", "1", true)]);
    page["metadata"]["continue"] = json!("next");
    first.json(StatusCode::OK, &page);
    let second = pods.next().await;
    assert_eq!(second.parameter("continue").as_deref(), Some("next"));
    assert!(
        operator.readyz().1.contains("the list of pods is in progress"),
        "half a list is none"
    );
    second.json(StatusCode::OK, &list("Pod", "7", &[pod("b", "2", true)]));

    let request = pods.next().await;
    for (parameter, expected) in [
        ("resourceVersion", "7"),
        ("timeoutSeconds", "60"),
        ("allowWatchBookmarks", "true"),
        ("fieldSelector", live),
    ] {
        assert_eq!(
            request.parameter(parameter).as_deref(),
            Some(expected),
            "{parameter}"
        );
    }
    let watch = request.watch();
    operator.ready().await;
    assert_eq!(operator.metric(TRACKED), Some(2.0));
    watch.event("DELETED", &pod("a", "8", true));
    operator.until_metric(TRACKED, 1.0).await;
    watch.bookmark("Pod", "20");
    watch.event("ADDED", &pod("c", "21", true));
    operator.until_metric(TRACKED, 2.0).await;

    drop(watch);
    let again = pods.next().await;
    assert_eq!(
        again.parameter("resourceVersion").as_deref(),
        Some("21"),
        "goes on where it was"
    );
    assert_eq!(
        operator.metric(PODS_SYNCED),
        Some(1.0),
        "the end of a watch's time is no failure"
    );
    let _watch = again.watch();
}

#[tokio::test]
async fn a_version_that_the_server_forgot_is_listed_anew() {
    let server = Server::start().await;
    quiet_but_pods(&server, &[]);
    let pods = pods(&server);
    let operator = start(&server, &[]);

    pods.next().await.json(
        StatusCode::OK,
        &list("Pod", "5", &[pod("a", "1", true), pod("b", "2", true)]),
    );
    // As an answer: kube's own watcher would ask for the same version for ever.
    pods.next().await.fail(410, "too old resource version: 5 (9)");
    let again = pods.next().await;
    assert!(!again.is_watch(), "a list: {}", again.query);
    assert_eq!(
        operator.metric(PODS_SYNCED),
        Some(0.0),
        "out of sync until the list is complete"
    );
    again.json(StatusCode::OK, &list("Pod", "9", &[pod("b", "2", true)]));
    let watch = pods.next().await.watch();
    operator.until_metric(TRACKED, 1.0).await;
    operator.until_metric(PODS_SYNCED, 1.0).await;

    // As an event within an answer that began well.
    watch.event("ERROR", &status_error(410, "too old resource version"));
    let again = pods.next().await;
    assert!(!again.is_watch(), "a list: {}", again.query);
    again.json(StatusCode::OK, &list("Pod", "12", &[]));
    let _watch = pods.next().await.watch();
    operator.until_metric(TRACKED, 0.0).await;
    assert_eq!(operator.metric(&errors("gone")), Some(2.0));
}

#[tokio::test]
async fn a_list_that_begins_twice_counts_once() {
    let server = Server::start().await;
    quiet_but_pods(&server, &[]);
    let pods = pods(&server);
    let operator = start(&server, &[]);

    pods.next().await.json(
        StatusCode::OK,
        &list("Pod", "5", &[pod("a", "1", true), pod("b", "2", true)]),
    );
    let watch = pods.next().await.watch();
    operator.ready().await;
    watch.event("ERROR", &status_error(410, "too old"));
    drop(watch);
    // The first page shows b, and then the list fails: it begins anew, and b is gone by then.
    let mut page = list("Pod", "8", &[pod("b", "2", true)]);
    page["metadata"]["continue"] = json!("next");
    pods.next().await.json(StatusCode::OK, &page);
    pods.next().await.fail(500, "etcd has no leader");
    let third = pods.next().await;
    assert_eq!(third.parameter("continue"), None, "from the start");
    assert_eq!(
        operator.metric(TRACKED),
        Some(2.0),
        "nothing is gone before a list is complete"
    );
    third.json(StatusCode::OK, &list("Pod", "9", &[pod("a", "1", true)]));
    let _watch = pods.next().await.watch();
    operator.until_metric(TRACKED, 1.0).await;
}

#[tokio::test]
async fn a_cut_watch_resumes_and_is_held_meanwhile() {
    let server = Server::start().await;
    quiet_but_pods(&server, &[]);
    let pods = pods(&server);
    let operator = start(&server, &[]);

    pods.next().await.json(StatusCode::OK, &list("Pod", "5", &[]));
    let watch = pods.next().await.watch();
    watch.event("ADDED", &pod("a", "6", true));
    operator.until_metric(TRACKED, 1.0).await;
    watch.cut();
    // A cut alone is asked for again at once; only when that fails something may have been missed for longer.
    pods.next().await.fail(503, "the server is starting");
    let request = pods.next().await;
    assert_eq!(operator.metric(PODS_SYNCED), Some(0.0), "held");
    assert!(
        request.is_watch() && request.parameter("resourceVersion").as_deref() == Some("6"),
        "{}",
        request.query
    );
    let watch = request.watch();
    operator.until_metric(PODS_SYNCED, 1.0).await;
    watch.event("ADDED", &pod("b", "7", true));
    operator.until_metric(TRACKED, 2.0).await;
    assert_eq!(operator.metric(&errors("server")), Some(1.0));
}

#[tokio::test]
async fn half_a_line_is_asked_for_again() {
    let server = Server::start().await;
    quiet_but_pods(&server, &[]);
    let pods = pods(&server);
    let operator = start(&server, &[]);

    pods.next().await.json(StatusCode::OK, &list("Pod", "5", &[]));
    let watch = pods.next().await.watch();
    watch.event("ADDED", &pod("a", "6", true));
    watch.raw(r#"{"type":"ADDED","object":{"kind":"Pod","metadata":{"name":"#);
    operator.until_metric(TRACKED, 1.0).await;
    drop(watch);
    let request = pods.next().await;
    assert_eq!(
        request.parameter("resourceVersion").as_deref(),
        Some("6"),
        "from before the half line"
    );
    request.watch().event("ADDED", &pod("b", "7", true));
    operator.until_metric(TRACKED, 2.0).await;
}

#[tokio::test]
async fn an_event_that_cannot_be_read_is_not_lost() {
    let server = Server::start().await;
    quiet_but_pods(&server, &[]);
    let pods = pods(&server);
    let operator = start(&server, &[]);

    pods.next().await.json(StatusCode::OK, &list("Pod", "5", &[]));
    let watch = pods.next().await.watch();
    operator.ready().await;
    watch.raw("{\"type\":\"ADDED\",\"object\":{\"metadata\":7}}\n");
    let again = pods.next().await;
    assert!(
        !again.is_watch(),
        "what it said is lost, so a list: {}",
        again.query
    );
    assert!(!watch.is_open(), "the old watch was dropped");
    again.json(StatusCode::OK, &list("Pod", "9", &[pod("a", "8", true)]));
    let _watch = pods.next().await.watch();
    operator.until_metric(TRACKED, 1.0).await;
    assert_eq!(operator.metric(&errors("decode")), Some(1.0));
}

#[tokio::test]
async fn a_page_that_cannot_be_read_is_tried_again() {
    let server = Server::start().await;
    quiet_but_pods(&server, &[]);
    let pods = pods(&server);
    let operator = start(&server, &[]);

    for body in [
        "<html>a proxy's page</html>",
        r#"{"metadata":{"resourceVersion":"5"},"items":[{"spec":"#,
        "{}",
    ] {
        pods.next().await.text(StatusCode::OK, body);
    }
    let again = pods.next().await;
    assert_eq!(operator.metric(&errors("decode")), Some(3.0));
    let (status, body) = operator.readyz();
    assert!(
        status == 503 && body.contains("cannot list pods: the answer does not decode"),
        "{body}"
    );
    again.json(StatusCode::OK, &list("Pod", "5", &[pod("a", "1", true)]));
    let _watch = pods.next().await.watch();
    operator.ready().await;
    assert_eq!(operator.metric(TRACKED), Some(1.0));
}

#[tokio::test]
async fn an_odd_pod_stops_nothing() {
    let server = Server::start().await;
    quiet_but_pods(&server, &[]);
    let pods = pods(&server);
    let operator = start(&server, &[]);

    let mut nulls = pod("nulls", "2", true);
    nulls["spec"]["initContainers"] = json!(null);
    nulls["status"]["containerStatuses"] = json!(null);
    nulls["status"]["conditions"] =
        json!([{"type": "FromTheFuture", "status": "Perhaps", "lastTransitionTime": null}]);
    let mut nameless = pod("nameless", "3", true);
    nameless["metadata"]["uid"] = json!(null);
    let odd = [json!({}), nulls, nameless, pod("a", "4", true)];
    pods.next().await.json(StatusCode::OK, &list("Pod", "5", &odd));
    let watch = pods.next().await.watch();
    operator.ready().await;
    assert_eq!(
        operator.metric(TRACKED),
        Some(2.0),
        "those that can be told from others"
    );
    assert_eq!(
        operator.metric(&errors("decode")),
        Some(2.0),
        "the others are counted"
    );
    watch.event("ADDED", &pod("b", "6", true));
    operator.until_metric(TRACKED, 3.0).await;
}

#[tokio::test]
async fn a_server_that_fails_at_once_is_asked_ever_later() {
    let server = Server::start().await;
    quiet_but_pods(&server, &[]);
    let pods = pods(&server);
    let operator = start(&server, &[]);
    let begun = tokio::time::Instant::now();
    for _ in 0..4 {
        pods.next().await.json(StatusCode::OK, &list("Pod", "5", &[]));
        pods.next().await.fail(410, "too old");
    }
    // Each wait is at least half of 0.8, 1.6, 3.2 s, although each list was a success.
    assert!(
        begun.elapsed() >= Duration::from_millis(2800),
        "{:?}",
        begun.elapsed()
    );
    until("four errors", || operator.metric(&errors("gone")) == Some(4.0)).await;
}

#[tokio::test(start_paused = true)]
async fn after_a_long_outage_a_forgotten_version_is_listed_anew_at_once() {
    let routes = Routes::default();
    let pods = routes.route(Method::GET, PODS);
    let _operator = start_in_process(&routes);
    pods.any().await.json(StatusCode::OK, &list("Pod", "5", &[]));
    for _ in 0..8 {
        pods.any().await.fail(503, "the server is starting");
    }
    let watch = pods.any().await.watch();
    watch.event("ERROR", &status_error(410, "too old resource version"));
    let answered = tokio::time::Instant::now();
    let request = pods.any().await;
    assert!(!request.is_watch(), "a list: {}", request.query);
    let waited = answered.elapsed();
    assert!(
        waited < Duration::from_secs(1),
        "no more of the outage's waits: {waited:?}"
    );
}
