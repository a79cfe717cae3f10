//! Lists and watches: pages, relists, outages, and responses that do not decode.

use std::time::Duration;

use http::StatusCode;
use serde_json::json;
use testkit::api_server::{
    Exchange, READ, Setup, list, pod, server_without, start, start_at, status_error, until, virtual_clock,
};
use tokio::time::Instant;

use crate::{PODS_SYNCED, TRACKED, assert_list, assert_watch, watch_errors};

fn assert_parameters(request: &Exchange, parameters: &[(&str, Option<&str>)]) {
    for (name, expected) in parameters {
        assert_eq!(request.parameter(name).as_deref(), *expected, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_operator_lists_in_pages_and_then_watches() {
    let Setup { pods, operator, .. } = Setup::start(&[]);
    let first = pods.next().await;
    let live = "status.phase!=Succeeded,status.phase!=Failed";
    assert_parameters(&first, &[("fieldSelector", Some(live)), ("limit", Some("500"))]);
    assert_list(&first);
    let mut page = list("Pod", "7", &[pod("a", "1", true)]);
    page["metadata"]["continue"] = json!("next");
    first.json(StatusCode::OK, &page);
    let second = pods.next().await;
    assert_parameters(&second, &[("continue", Some("next"))]);
    let body = operator.readyz().1;
    assert!(body.contains("the list of pods is in progress"), "{body}");
    second.json(StatusCode::OK, &list("Pod", "7", &[pod("b", "2", true)]));

    let request = pods.next().await;
    assert_parameters(
        &request,
        &[
            ("resourceVersion", Some("7")),
            ("timeoutSeconds", Some("60")),
            ("allowWatchBookmarks", Some("true")),
            ("fieldSelector", Some(live)),
        ],
    );
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
    assert_parameters(&again, &[("resourceVersion", Some("21"))]);
    let synced = operator.metric(PODS_SYNCED);
    assert_eq!(
        synced,
        Some(1.0),
        "a watch that reaches its timeout is no failure"
    );
    let _watch = again.watch();
}

#[tokio::test(start_paused = true)]
async fn an_expired_version_leads_to_a_new_list() {
    let Setup { pods, operator, .. } = Setup::start(&[]);
    let listed = list("Pod", "5", &[pod("a", "1", true), pod("b", "2", true)]);
    pods.next().await.json(StatusCode::OK, &listed);
    // 410 as the status of the response. The watcher of kube would repeat the request forever.
    pods.next().await.fail(410, "too old resource version: 5 (9)");
    let again = pods.next().await;
    assert_list(&again);
    let synced = operator.metric(PODS_SYNCED);
    assert_eq!(synced, Some(0.0), "out of sync until the list is complete");
    again.json(StatusCode::OK, &list("Pod", "9", &[pod("b", "2", true)]));
    let watch = pods.next().await.watch();
    operator.until_metric(TRACKED, 1.0).await;
    operator.until_metric(PODS_SYNCED, 1.0).await;

    // 410 as an event.
    watch.event("ERROR", &status_error(410, "too old resource version"));
    let again = pods.next().await;
    assert_list(&again);
    again.json(StatusCode::OK, &list("Pod", "12", &[]));
    let _watch = pods.next().await.watch();
    operator.until_metric(TRACKED, 0.0).await;
    assert_eq!(operator.metric(&watch_errors("pods", "gone")), Some(2.0));
}

#[tokio::test(start_paused = true)]
async fn a_list_that_starts_over_counts_once() {
    let setup = Setup::start(&[]);
    let Setup { pods, operator, .. } = &setup;
    let watch = setup.list_pods(&[pod("a", "1", true), pod("b", "2", true)]).await;
    operator.ready().await;
    watch.event("ERROR", &status_error(410, "too old"));
    drop(watch);
    // The first page contains b. The second page fails, so the list starts over; by then b is deleted.
    let mut page = list("Pod", "8", &[pod("b", "2", true)]);
    page["metadata"]["continue"] = json!("next");
    pods.next().await.json(StatusCode::OK, &page);
    pods.next().await.fail(500, "etcd has no leader");
    let third = pods.next().await;
    assert_parameters(&third, &[("continue", None)]);
    let tracked = operator.metric(TRACKED);
    assert_eq!(tracked, Some(2.0), "an incomplete list deletes nothing");
    third.json(StatusCode::OK, &list("Pod", "9", &[pod("a", "1", true)]));
    let _watch = pods.next().await.watch();
    operator.until_metric(TRACKED, 1.0).await;
}

#[tokio::test(start_paused = true)]
async fn a_broken_watch_is_out_of_sync_until_it_resumes() {
    let setup = Setup::start(&[]);
    let Setup { pods, operator, .. } = &setup;
    let watch = setup.list_pods(&[]).await;
    watch.event("ADDED", &pod("a", "6", true));
    operator.until_metric(TRACKED, 1.0).await;
    watch.cut();
    // The first retry is immediate. The watch is out of sync only if that fails too.
    pods.next().await.fail(503, "the server is starting");
    let request = pods.next().await;
    assert_eq!(operator.metric(PODS_SYNCED), Some(0.0));
    assert_watch(&request);
    assert_parameters(&request, &[("resourceVersion", Some("6"))]);
    let watch = request.watch();
    operator.until_metric(PODS_SYNCED, 1.0).await;
    watch.event("ADDED", &pod("b", "7", true));
    operator.until_metric(TRACKED, 2.0).await;
    assert_eq!(operator.metric(&watch_errors("pods", "server")), Some(1.0));
}

/// Over a TCP connection, hyper reports the broken response.
#[tokio::test]
async fn an_incomplete_event_is_requested_again() {
    let setup = Setup::start(&[]);
    setup.operator.stop().await;
    let listener = setup.server.listen().await;
    let operator = start_at(listener.clients(), &[], virtual_clock());
    let pods = setup.pods;
    pods.next().await.json(StatusCode::OK, &list("Pod", "5", &[]));
    let watch = pods.next().await.watch();
    watch.event("ADDED", &pod("a", "6", true));
    let event = watch.encode("ADDED", &pod("b", "7", true));
    watch.raw(event[..event.len() / 2].to_vec());
    operator.until_metric(TRACKED, 1.0).await;
    drop(watch);
    let request = pods.next().await;
    assert_parameters(&request, &[("resourceVersion", Some("6"))]);
    request.watch().event("ADDED", &pod("b", "7", true));
    operator.until_metric(TRACKED, 2.0).await;
}

#[tokio::test(start_paused = true)]
async fn an_event_that_does_not_decode_leads_to_a_new_list() {
    let setup = Setup::start(&[]);
    let Setup { pods, operator, .. } = &setup;
    let watch = setup.list_pods(&[]).await;
    operator.ready().await;
    watch.undecodable_event();
    let again = pods.next().await;
    assert_list(&again);
    assert!(!watch.is_open(), "the operator closes the old watch");
    again.json(StatusCode::OK, &list("Pod", "9", &[pod("a", "8", true)]));
    let _watch = pods.next().await.watch();
    operator.until_metric(TRACKED, 1.0).await;
    assert_eq!(operator.metric(&watch_errors("pods", "decode")), Some(1.0));
}

#[tokio::test(start_paused = true)]
async fn a_page_that_does_not_decode_is_requested_again() {
    let Setup { pods, operator, .. } = Setup::start(&[]);
    for body in [
        "<html>a proxy's page</html>",
        r#"{"metadata":{"resourceVersion":"5"},"items":[{"spec":"#,
        "{}",
    ] {
        pods.next().await.text(StatusCode::OK, body);
    }
    let again = pods.next().await;
    assert_eq!(operator.metric(&watch_errors("pods", "decode")), Some(2.0));
    assert_eq!(
        operator.metric(&watch_errors("pods", "transport")),
        Some(1.0),
        "a page that is cut off"
    );
    let (status, body) = operator.readyz();
    let reason = "cannot list pods: invalid response";
    assert!(status == 503 && body.contains(reason), "{body}");
    again.json(StatusCode::OK, &list("Pod", "5", &[pod("a", "1", true)]));
    let _watch = pods.next().await.watch();
    operator.ready().await;
    assert_eq!(operator.metric(TRACKED), Some(1.0));
}

#[tokio::test(start_paused = true)]
async fn a_malformed_pod_does_not_stop_the_list() {
    let setup = Setup::start(&[]);
    let mut nulls = pod("nulls", "2", true);
    nulls["spec"]["initContainers"] = json!(null);
    nulls["status"]["containerStatuses"] = json!(null);
    nulls["status"]["conditions"] =
        json!([{"type": "FromTheFuture", "status": "Perhaps", "lastTransitionTime": null}]);
    let mut nameless = pod("nameless", "3", true);
    nameless["metadata"]["uid"] = json!(null);
    let malformed = [json!({}), nulls, nameless, pod("a", "4", true)];
    let watch = setup.list_pods(&malformed).await;
    let operator = &setup.operator;
    operator.ready().await;
    assert_eq!(operator.metric(TRACKED), Some(2.0), "Pods with an identity");
    assert_eq!(
        operator.metric(&watch_errors("pods", "decode")),
        Some(2.0),
        "the others"
    );
    watch.event("ADDED", &pod("b", "6", true));
    operator.until_metric(TRACKED, 3.0).await;
}

#[tokio::test(start_paused = true)]
async fn the_waits_grow_while_a_server_fails_repeatedly() {
    let Setup { pods, operator, .. } = Setup::start(&[]);
    let begun = Instant::now();
    for _ in 0..4 {
        pods.next().await.json(StatusCode::OK, &list("Pod", "5", &[]));
        pods.next().await.fail(410, "too old");
    }
    // Each delay is at least half of 0.8, 1.6 and 3.2 s, although each list succeeds.
    assert!(
        begun.elapsed() >= Duration::from_millis(2800),
        "{:?}",
        begun.elapsed()
    );
    until("four errors", || {
        operator.metric(&watch_errors("pods", "gone")) == Some(4.0)
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn every_watch_waits_as_long_as_a_throttling_server_requests() {
    for (path, kind, _) in READ {
        let (server, route) = server_without(path);
        let operator = start(&server, &[]);
        let waited = async |seconds| {
            route.next().await.fail_for(429, seconds);
            let begin = Instant::now();
            let next = route.next().await;
            (next, begin.elapsed().as_secs())
        };
        let (again, seconds) = waited(40).await;
        assert_eq!(seconds, 40, "{kind}: a list");
        again.json(StatusCode::OK, &list(kind, "1", &[]));
        let (again, seconds) = waited(50).await;
        assert_eq!(seconds, 50, "{kind}: a watch");
        assert_watch(&again);
        operator.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_throttled_page_of_every_kind_is_requested_again() {
    for (path, kind, _) in READ {
        let (server, route) = server_without(path);
        let operator = start(&server, &[]);
        let mut page = list(kind, "7", &[]);
        page["metadata"]["continue"] = json!("next");
        route.next().await.json(StatusCode::OK, &page);
        for code in [429, 500, 503] {
            route.next().await.fail_for(code, 20);
            let begin = Instant::now();
            let again = route.next().await;
            assert_eq!(begin.elapsed().as_secs(), 20, "{kind}");
            assert_parameters(&again, &[("continue", Some("next"))]);
            again.fail_for(429, 1);
        }
        route.next().await.json(StatusCode::OK, &list(kind, "7", &[]));
        let _watch = route.next().await.watch();
        operator.ready().await;
        operator.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_expired_token_leads_to_one_whole_list() {
    let Setup { pods, operator, .. } = Setup::start(&[]);
    let mut page = list("Pod", "7", &[pod("a", "1", true)]);
    page["metadata"]["continue"] = json!("next");
    pods.next().await.json(StatusCode::OK, &page);
    pods.next()
        .await
        .fail(410, "the provided continue parameter is too old");
    let whole = pods.next().await;
    assert_parameters(&whole, &[("continue", None), ("limit", None)]);
    whole.json(StatusCode::OK, &list("Pod", "9", &[pod("b", "8", true)]));
    let _watch = pods.next().await.watch();
    operator.ready().await;
    assert_eq!(
        operator.metric(TRACKED),
        Some(1.0),
        "a was deleted in the meantime"
    );
}

#[tokio::test(start_paused = true)]
async fn an_object_that_cannot_be_decoded_is_skipped_and_counted_in_every_list_and_watch() {
    for (path, kind, resource) in READ {
        let (server, route) = server_without(path);
        let operator = start(&server, &[]);
        let is_cluster_scoped = matches!(resource, "namespaces" | "clustersidecarpolicies");
        let namespace = (!is_cluster_scoped).then_some("evil");
        let identity = |name: &str, version: &str| json!({"name": name, "namespace": namespace, "uid": name, "resourceVersion": version});
        let spec = json!({"reason": "r", "until": "2030-01-01T00:00:00Z", "selector": {}});
        let good = |name: &str, version: &str| json!({"metadata": identity(name, version), "spec": spec});
        // Labels and annotations of another type, and a duplicate key.
        let bad = |version: &str| {
            let metadata = identity("bad", version).to_string();
            let metadata = metadata.trim_end_matches('}');
            format!(r#"{{"metadata":{metadata},"generation":{{}},"labels":7}},"spec":7}}"#)
        };
        let counted = format!(r#"sidewatch_undecodable_objects{{resource="{resource}"}}"#);
        let body = format!(
            r#"{{"metadata":{{"resourceVersion":"5"}},"items":[{},{},null,{}]}}"#,
            good("a", "1"),
            bad("2"),
            good("b", "3"),
        );
        route.next().await.as_json().text(StatusCode::OK, &body);
        let watch = route.next().await.as_json().watch();
        operator.ready().await;
        assert_eq!(operator.metric(&counted), Some(2.0), "{kind}: the null item too");

        watch.event("MODIFIED", &good("bad", "6"));
        operator.until_metric(&counted, 1.0).await;
        watch.raw(format!("{{\"type\":\"MODIFIED\",\"object\":{}}}\n", bad("7")));
        operator.until_metric(&counted, 2.0).await;
        watch.event("DELETED", &good("bad", "8"));
        operator.until_metric(&counted, 1.0).await;
        drop(watch);
        let again = route.next().await;
        assert_parameters(&again, &[("resourceVersion", Some("8"))]);
        again.fail(410, "too old resource version");
        route.next().await.json(StatusCode::OK, &list(kind, "9", &[]));
        let _watch = route.next().await.watch();
        operator.until_metric(&counted, 0.0).await;
        operator.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_known_pod_that_cannot_be_decoded_any_more_is_forgotten_until_it_can() {
    let setup = Setup::start(&[]);
    let watch = setup.list_pods(&[pod("a", "1", true), pod("b", "2", true)]).await;
    let operator = &setup.operator;
    operator.until_metric(TRACKED, 2.0).await;
    let mut bad = pod("a", "6", true);
    bad["spec"] = json!({"containers": [{"name": "app", "restartPolicyRules": 7}]});
    watch.raw(watch.encode_undecodable("MODIFIED", &bad));
    operator.until_metric(TRACKED, 1.0).await;
    let counted = r#"sidewatch_undecodable_objects{resource="pods"}"#;
    operator.until_metric(counted, 1.0).await;
    watch.event("MODIFIED", &pod("a", "7", true));
    operator.until_metric(TRACKED, 2.0).await;
    operator.until_metric(counted, 0.0).await;
}
