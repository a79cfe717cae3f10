//! A watch that is cut at every byte of an event.

use http::StatusCode;
use serde_json::{Value, json};
use testkit::api_server::{Setup, list, pod};

use crate::TRACKED;

/// A Pod of version 6. It is small, because each byte of its event needs two requests.
fn small_pod() -> Value {
    let mut pod = pod("a", "6", true);
    pod["spec"] = json!({"containers": [{"name": "app", "image": "app"}]});
    pod["status"] = json!({"phase": "Running"});
    pod
}

#[tokio::test(start_paused = true)]
async fn an_event_that_is_cut_at_any_byte_is_received_once_without_a_new_list() {
    let Setup { pods, operator, .. } = Setup::start(&[]);
    pods.next().await.json(StatusCode::OK, &list("Pod", "5", &[]));

    let watch = pods.next().await.watch();
    let event = watch.encode("ADDED", &small_pod());
    drop(watch);
    let cuts = (0..event.len() - 1).flat_map(|length| [(length, true), (length, false)]);
    for (length, broken) in cuts {
        let request = pods.next().await;
        let version = request.parameter("resourceVersion");
        assert!(
            request.is_watch() && version.as_deref() == Some("5"),
            "after {length} bytes of the event, broken off: {broken}: {}",
            request.query
        );
        let watch = request.watch();
        watch.raw(event[..length].to_vec());
        if broken {
            watch.cut();
        }
    }
    let watch = pods.next().await.watch();
    watch.raw(event);
    operator.until_metric(TRACKED, 1.0).await;
    let received = operator.metric("sidewatch_watch_events_total");
    assert_eq!(received, Some(2.0), "the namespace and the Pod");
    drop(watch);
    let request = pods.next().await;
    assert_eq!(request.parameter("resourceVersion").as_deref(), Some("6"));
}
