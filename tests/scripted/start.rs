//! The start of the operator: the requests before it is ready.

use std::time::Duration;

use http::{Method, StatusCode};
use testkit::api_server::{ApiServer, PODS, READ, list, start};
use tokio::time::Instant;

use crate::assert_list;

/// The interval at which a test asks whether the operator is ready.
const POLL: Duration = Duration::from_millis(10);

#[tokio::test(start_paused = true)]
async fn the_operator_is_ready_after_one_round_trip_and_no_wait() {
    let server = ApiServer::default();
    server.allow_streaming_lists();
    let route = |path| server.route(Method::GET, path);
    let pods = route(PODS);
    let others = READ.into_iter().filter(|(path, ..)| *path != PODS);
    let others: Vec<_> = others.map(|(path, kind, _)| (route(path), kind)).collect();
    let started = Instant::now();
    let operator = start(&server, &[]);

    // No request waits for the response to another request.
    let watch = pods.next().await.watch();
    let mut lists = Vec::new();
    for (route, kind) in &others {
        lists.push((route.next().await, kind));
    }
    assert_eq!(operator.readyz().0, 503);
    watch.end_of_list("5");
    for (request, kind) in lists {
        assert_list(&request);
        request.json(StatusCode::OK, &list(kind, "5", &[]));
    }
    operator.ready().await;
    assert!(started.elapsed() <= POLL, "{:?}", started.elapsed());
}
