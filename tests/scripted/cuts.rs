//! A watch that is cut at every byte of an event. Time is virtual, as the waits between the tries grow.

use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::json;
use tokio::time::timeout;

use testkit::api_server::{Exchange, PODS, Route, Routes, list, pod, start_in_process};

/// More than the longest wait between two tries.
const PATIENCE: Duration = Duration::from_mins(1);

async fn next(route: &Route) -> Exchange {
    timeout(PATIENCE, route.any()).await.unwrap()
}

/// An event of version 6; short, for there are tries for each byte.
fn event() -> String {
    let mut pod = pod("a", "6", true);
    pod["spec"] = json!({"containers": [{"name": "app", "image": "app"}]});
    pod["status"] = json!({"phase": "Running"});
    format!("{}\n", json!({"type": "ADDED", "object": pod}))
}

#[tokio::test(start_paused = true)]
async fn an_event_that_is_cut_at_any_byte_comes_once_and_nothing_is_listed_again() {
    let routes = Routes::default();
    let pods = routes.route(Method::GET, PODS);
    let operator = start_in_process(&routes);
    next(&pods).await.json(StatusCode::OK, &list("Pod", "5", &[]));

    let line = event();
    let cuts = (0..line.len() - 1).flat_map(|length| [(length, true), (length, false)]);
    for (length, broken) in cuts {
        let request = next(&pods).await;
        let version = request.parameter("resourceVersion");
        assert!(
            request.is_watch() && version.as_deref() == Some("5"),
            "after {length} bytes of the event, broken off: {broken}: {}",
            request.query
        );
        let watch = request.watch();
        watch.raw(&line[..length]);
        if broken {
            watch.cut();
        }
    }
    let watch = next(&pods).await.watch();
    watch.raw(&line);
    operator.until_metric("sidewatch_tracked_pods", 1.0).await;
    assert_eq!(operator.metric("sidewatch_watch_events_total"), Some(1.0));
    drop(watch);
    let request = next(&pods).await;
    assert_eq!(request.parameter("resourceVersion").as_deref(), Some("6"));
}
