//! Streaming lists, and answers in either encoding.

use http::{StatusCode, header};
use serde_json::json;
use testkit::{
    api_server::{Setup, list, pod, status_error},
    protobuf::{self, CONTENT_TYPE},
};
use tokio::time::Instant;

use crate::{PODS_SYNCED, TRACKED, assert_list, watch_errors};

/// An operator whose server answers streaming lists.
fn streaming() -> Setup {
    let setup = Setup::start(&[]);
    setup.server.allow_streaming_lists();
    setup
}

#[tokio::test(start_paused = true)]
async fn a_streaming_list_is_complete_at_its_bookmark_and_continues_as_a_watch() {
    let Setup { pods, operator, .. } = streaming();
    let request = pods.next().await;
    for (parameter, expected) in [
        ("watch", "true"),
        ("sendInitialEvents", "true"),
        ("resourceVersionMatch", "NotOlderThan"),
        ("allowWatchBookmarks", "true"),
        ("resourceVersion", ""),
        ("fieldSelector", "status.phase!=Succeeded,status.phase!=Failed"),
    ] {
        assert_eq!(
            request.parameter(parameter).as_deref(),
            Some(expected),
            "{parameter}"
        );
    }
    let accept = request.accept.clone().unwrap();
    assert!(
        accept.starts_with("application/vnd.kubernetes.protobuf;stream=watch,") && accept.contains("json"),
        "{accept}"
    );
    let watch = request.watch();
    watch.event("ADDED", &pod("a", "1", true));
    watch.event("ADDED", &pod("b", "2", true));
    operator.until_metric(TRACKED, 2.0).await;
    watch.bookmark("Pod", "3");
    assert!(operator.readyz().1.contains("the list of pods is in progress"));
    watch.end_of_list("5");
    operator.ready().await;
    watch.event("DELETED", &pod("a", "6", true));
    operator.until_metric(TRACKED, 1.0).await;
    drop(watch);
    let again = pods.next().await;
    assert_eq!(again.parameter("resourceVersion").as_deref(), Some("6"));
    assert_eq!(again.parameter("sendInitialEvents"), None);
    assert_eq!(operator.metric(PODS_SYNCED), Some(1.0));
}

#[tokio::test(start_paused = true)]
async fn an_answer_in_json_is_read_as_json() {
    let Setup { pods, operator, .. } = streaming();
    let watch = pods.next().await.as_json().watch();
    watch.event("ADDED", &pod("a", "1", true));
    watch.end_of_list("5");
    operator.ready().await;
    drop(watch);
    let watch = pods.next().await.watch();
    watch.event("ADDED", &pod("b", "6", true));
    operator.until_metric(TRACKED, 2.0).await;
    watch.event("ERROR", &status_error(410, "too old resource version"));
    pods.next().await.as_json().fail(422, "no streaming lists");
    pods.next()
        .await
        .as_json()
        .json(StatusCode::OK, &list("Pod", "9", &[pod("b", "6", true)]));
    let _watch = pods.next().await.watch();
    operator.until_metric(TRACKED, 1.0).await;
}

#[tokio::test(start_paused = true)]
async fn invalid_protobuf_is_a_decode_error_and_leads_to_a_new_list() {
    let Setup { pods, operator, .. } = Setup::start(&[]);

    let good = protobuf::object(&list("Pod", "5", &[pod("a", "1", true)]));
    let two_gigabytes = [
        &b"k8s\0\x12\xff\xff\xff\xff\x07\x12\xff\xff\xff\xff\x07"[..],
        b"x",
    ]
    .concat();
    for (body, why) in [
        (b"not protobuf".to_vec(), "no prefix"),
        (good[..good.len() - 40].to_vec(), "cut"),
        (two_gigabytes, "an item that claims 2 GB"),
        (Vec::new(), "empty"),
    ] {
        let page = pods.next().await;
        assert!(!page.is_watch(), "{why}: {}", page.query);
        page.respond(StatusCode::OK, (header::CONTENT_TYPE, CONTENT_TYPE), body);
    }
    pods.next()
        .await
        .json(StatusCode::OK, &list("Pod", "5", &[pod("a", "1", true)]));
    let watch = pods.next().await.watch_as(protobuf::WATCH_CONTENT_TYPE);
    operator.ready().await;
    assert_eq!(operator.metric(&watch_errors("pods", "decode")), Some(2.0));
    watch.raw(vec![0x7f, 0xff, 0xff, 0xff, b'x']);
    let again = pods.next().await;
    assert_list(&again);
    again.json(StatusCode::OK, &list("Pod", "9", &[]));
    let _watch = pods.next().await.watch();
    operator.until_metric(TRACKED, 0.0).await;
}

#[tokio::test(start_paused = true)]
async fn a_refusal_in_protobuf_is_decoded() {
    let Setup { pods, operator, .. } = Setup::start(&[]);

    let mut status = status_error(429, "please wait");
    status["details"] = json!({"retryAfterSeconds": 2});
    let begun = Instant::now();
    let exchange = pods.next().await;
    exchange.respond(
        StatusCode::TOO_MANY_REQUESTS,
        (header::CONTENT_TYPE, CONTENT_TYPE),
        protobuf::object(&status),
    );
    let page = pods.next().await;
    assert!(begun.elapsed().as_secs() >= 2, "{:?}", begun.elapsed());
    assert_eq!(operator.metric(&watch_errors("pods", "throttled")), Some(1.0));
    page.fail_for(503, 2);
    let begun = Instant::now();
    let page = pods.next().await;
    assert!(begun.elapsed().as_secs() >= 2, "{:?}", begun.elapsed());
    page.json(StatusCode::OK, &list("Pod", "5", &[]));
    let _watch = pods.next().await.watch();
    operator.ready().await;
}
