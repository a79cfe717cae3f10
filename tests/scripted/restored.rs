//! A restore of etcd sets the versions back. The API server accepts a watch from a version that it does not have yet, and
//! sends nothing, so the operator must list again.

use http::StatusCode;
use testkit::api_server::{READ, Setup, list, pod, server_without, start};

use crate::{PODS_SYNCED, TRACKED, assert_list, assert_watch};

/// A partition drops all packets, and the API server has a restored etcd when it ends.
#[tokio::test(start_paused = true)]
async fn pods_are_listed_again_after_a_silent_watch_if_the_version_went_back() {
    let setup = Setup::start(&[]);
    let Setup { pods, operator, .. } = &setup;
    let silent = setup.list_pods(&[pod("a", "1", true)]).await;
    silent.bookmark("Pod", "900");
    operator.until_metric(PODS_SYNCED, 1.0).await;
    setup.server.set_current_version(500);
    let request = pods.any().await;
    assert_list(&request);
    assert!(!silent.is_open(), "the operator closes the silent watch");
    assert_eq!(
        operator.metric(PODS_SYNCED),
        Some(0.0),
        "until the list is complete"
    );
    request.json(StatusCode::OK, &list("Pod", "500", &[]));
    let _watch = pods.next().await.watch();
    operator.until_metric(TRACKED, 0.0).await;
    operator.until_metric(PODS_SYNCED, 1.0).await;
}

#[tokio::test(start_paused = true)]
async fn pods_are_not_listed_again_after_a_silent_watch_if_the_version_did_not_go_back() {
    let setup = Setup::start(&[]);
    let Setup { pods, operator, .. } = &setup;
    let _silent = setup.list_pods(&[pod("a", "1", true)]).await;
    setup.server.set_current_version(5);
    let request = pods.any().await;
    assert_watch(&request);
    assert_eq!(request.parameter("resourceVersion").as_deref(), Some("5"));
    assert_eq!(operator.metric(PODS_SYNCED), Some(1.0));
}

/// The end of a watch.
#[derive(Clone, Copy, Debug)]
enum End {
    Refused,
    Cut,
    /// The connection stays open without data.
    Silent,
}

#[tokio::test(start_paused = true)]
async fn every_resource_is_listed_again_after_an_outage_if_the_version_went_back() {
    for (path, kind, _) in READ {
        for end in [End::Refused, End::Cut, End::Silent] {
            let (server, route) = server_without(path);
            let operator = start(&server, &[]);
            route.next().await.json(StatusCode::OK, &list(kind, "900", &[]));
            let watch = route.next().await;
            server.set_current_version(500);
            let mut silent = None;
            match end {
                End::Refused => watch.fail(503, "the server is starting"),
                End::Cut => watch.watch().cut(),
                End::Silent => silent = Some(watch.watch()),
            }
            let request = route.any().await;
            assert!(!request.is_watch(), "{kind}, {end:?}: a watch: {}", request.query);
            assert!(silent.is_none_or(|watch| !watch.is_open()), "{kind}");
            request.json(StatusCode::OK, &list(kind, "500", &[]));
            let _watch = route.next().await.watch();
            operator.ready().await;
        }
    }
}
