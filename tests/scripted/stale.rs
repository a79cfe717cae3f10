//! `sidewatch_watch_synced` in every way in which a watch is out of sync, and one that is silent. The alert
//! SidewatchWatchStale needs the value 0 in each scrape of five minutes.

use http::{Method, StatusCode};
use serde_json::json;
use testkit::api_server::{ApiServer, READ, Route, Running, Setup, list, pod, server_without, start};
use tokio::time::{Duration, sleep};

use crate::{PODS_SYNCED, assert_watch, secs, synced};

/// The time after which the alert fires.
const ALERT: Duration = Duration::from_mins(5);
const SCRAPE_PERIOD: Duration = secs(15);

/// Scrapes until the alert fires. Panics if the resource is in sync in a scrape.
async fn alert_fires(operator: &Running, resource: &str) {
    for scrape in 0..=ALERT.as_secs() / SCRAPE_PERIOD.as_secs() {
        let value = operator.metric(&synced(resource));
        assert_eq!(value, Some(0.0), "{resource}: scrape {scrape}");
        sleep(SCRAPE_PERIOD).await;
    }
}

/// Answers the first page of each list, and fails the second one.
async fn fail_second_pages(route: Route, kind: &'static str) {
    loop {
        let exchange = route.any().await;
        if exchange.parameter("continue").is_some() {
            exchange.fail(500, "etcd has no leader");
        } else {
            let mut page = list(kind, "7", &[]);
            page["metadata"]["continue"] = json!("next");
            exchange.json(StatusCode::OK, &page);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_namespace_without_a_role_is_out_of_sync_although_the_others_are_in_sync() {
    let server = ApiServer::default();
    for (group, resource, kind) in [
        ("/api/v1", "pods", "Pod"),
        ("/apis/sidewatch.dev/v1alpha1", "sidecarpolicies", "SidecarPolicy"),
    ] {
        let path = |namespace: &str| format!("{group}/namespaces/{namespace}/{resource}");
        for namespace in ["pay", "shop"] {
            server.serve_quietly(&path(namespace), list(kind, "1", &[]));
        }
        let refused = server.route(Method::GET, &path("forbidden"));
        tokio::spawn(async move {
            loop {
                refused.any().await.fail(403, "pods is forbidden");
            }
        });
    }
    let operator = start(&server, &["pay", "forbidden", "shop"]);
    sleep(SCRAPE_PERIOD).await;
    alert_fires(&operator, "pods").await;
    alert_fires(&operator, "sidecarpolicies").await;
}

/// One of several Pod watches is accepted each time, and its connection carries no data. Other requests succeed.
#[tokio::test(start_paused = true)]
async fn a_silent_watch_of_one_namespace_is_out_of_sync_although_the_others_are_in_sync() {
    let server = ApiServer::default();
    let pods = |namespace: &str| format!("/api/v1/namespaces/{namespace}/pods");
    for namespace in ["pay", "shop", "silent"] {
        let policies = format!("/apis/sidewatch.dev/v1alpha1/namespaces/{namespace}/sidecarpolicies");
        server.serve_quietly(&policies, list("SidecarPolicy", "1", &[]));
        let exemptions = policies.replace("sidecarpolicies", "sidecarexemptions");
        server.serve_quietly(&exemptions, list("SidecarExemption", "1", &[]));
        if namespace != "silent" {
            server.serve_quietly(&pods(namespace), list("Pod", "1", &[]));
        }
    }
    let route = server.route(Method::GET, &pods("silent"));
    let operator = start(&server, &["pay", "shop", "silent"]);
    route.next().await.json(StatusCode::OK, &list("Pod", "1", &[]));
    let (watches, mut latest) = tokio::sync::watch::channel(None);
    tokio::spawn(async move {
        loop {
            let exchange = route.any().await;
            assert_watch(&exchange);
            watches.send_replace(Some(std::sync::Arc::new(exchange.watch())));
        }
    });
    operator.ready().await;
    sleep(secs(80)).await;
    assert_eq!(
        operator.metric(PODS_SYNCED),
        Some(1.0),
        "a healthy watch is silent for a minute"
    );
    assert_eq!(operator.readyz().0, 200);
    sleep(secs(11)).await;
    let (status, body) = operator.readyz();
    let reason = "the watch of pods in namespace silent is silent";
    assert!(status == 503 && body.contains(reason), "{body}");
    alert_fires(&operator, "pods").await;
    assert_eq!(operator.metric(&synced("sidecarpolicies")), Some(1.0));

    latest.borrow_and_update().as_ref().unwrap().bookmark("Pod", "9");
    operator.until_metric(PODS_SYNCED, 1.0).await;
    assert_eq!(operator.readyz().0, 200);
}

#[tokio::test(start_paused = true)]
async fn a_watch_is_out_of_sync_while_each_list_fails_at_the_second_page() {
    for (path, kind, resource) in READ {
        let (server, route) = server_without(path);
        let operator = start(&server, &[]);
        route.next().await.json(StatusCode::OK, &list(kind, "5", &[]));
        let watch = route.next().await;
        operator.until_metric(&synced(resource), 1.0).await;
        watch.fail(410, "too old resource version");
        tokio::spawn(fail_second_pages(route, kind));
        operator.until_metric(&synced(resource), 0.0).await;
        alert_fires(&operator, resource).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_streaming_list_that_breaks_off_each_time_is_out_of_sync() {
    let setup = Setup::start(&[]);
    setup.server.allow_streaming_lists();
    let pods = setup.pods;
    tokio::spawn(async move {
        loop {
            let exchange = pods.any().await;
            if exchange.is_watch() {
                let watch = exchange.watch();
                watch.event("ADDED", &pod("a", "1", true));
                watch.cut();
            } else {
                exchange.fail(500, "etcd has no leader");
            }
        }
    });
    sleep(SCRAPE_PERIOD).await;
    alert_fires(&setup.operator, "pods").await;
}
