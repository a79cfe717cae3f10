//! Events of the operator.

use http::StatusCode;
use serde_json::{Value, json};
use testkit::api_server::{Running, Setup, WatchStream, pod, policy, status_error};
use tokio::time::{Duration, Instant, sleep};

use crate::{PODS_SYNCED, api_writes, secs};

/// An operator with the policy `mesh` and the Pod `a`, and the watch of Pods.
async fn setup(ready: bool) -> (Setup, WatchStream) {
    let setup = Setup::start(&[policy("mesh", "3")]);
    let watch = setup.list_pods(&[pod("a", "1", ready)]).await;
    (setup, watch)
}

async fn written(operator: &Running, events: f64) {
    operator.until_metric(&api_writes("event", "ok"), events).await;
}

#[tokio::test(start_paused = true)]
async fn a_fault_has_one_event_within_three_seconds() {
    let (Setup { events, operator, .. }, watch) = setup(true).await;
    operator.ready().await;

    let begun = Instant::now();
    watch.event("MODIFIED", &pod("a", "6", false));
    let event = events.next().await;
    assert!(begun.elapsed() < secs(3), "{:?}", begun.elapsed());
    let body = &event.body;
    assert_eq!(body["reason"], "MainContainerReadyButSidecarNot");
    assert_eq!(body["regarding"]["fieldPath"], "spec.initContainers{proxy}");
    assert_eq!(body["regarding"]["uid"], "uid-a");
    assert_eq!(body["related"]["name"], "mesh");
    assert_eq!(body["reportingController"], "sidewatch.dev/operator");
    assert_eq!(event.parameter("fieldManager").as_deref(), Some("sidewatch"));
    event.json(StatusCode::CREATED, &json!({}));
    written(&operator, 1.0).await;

    // An update of the same Pod that changes nothing relevant.
    let mut same = pod("a", "7", false);
    same["metadata"]["annotations"] = json!({"touched": "yes"});
    watch.event("MODIFIED", &same);
    events.stays_silent(secs(30)).await;
}

#[tokio::test(start_paused = true)]
async fn a_refused_event_is_retried_as_the_server_asks_and_blocks_no_other() {
    let (Setup { events, operator, .. }, watch) = setup(false).await;
    let name = |event: &Value| event["metadata"]["name"].clone();

    let refused = events.next().await;
    let first = name(&refused.body);
    let begun = Instant::now();
    refused.fail_for(429, 2);
    watch.event("ADDED", &pod("b", "6", false));
    let other = events.next().await;
    assert_eq!(other.body["regarding"]["name"], "b", "another Event goes first");
    other.json(StatusCode::CREATED, &json!({}));
    let second_try = events.next().await;
    assert_eq!(name(&second_try.body), first);
    assert!(begun.elapsed() >= secs(2), "{:?}", begun.elapsed());
    second_try.fail(500, "etcd has no leader");
    let third_try = events.next().await;
    assert_eq!(name(&third_try.body), first);
    third_try.json(StatusCode::CREATED, &json!({}));
    written(&operator, 2.0).await;
    assert_eq!(operator.metric(&api_writes("event", "error")), Some(2.0));
}

#[tokio::test(start_paused = true)]
async fn a_forbidden_event_is_retried_and_delays_the_status_for_a_limited_time() {
    let (setup, _watch) = setup(false).await;
    let first = setup.events.next().await;
    let name = first.body["metadata"]["name"].clone();
    setup.statuses.stays_silent(secs(1)).await;
    let forbidden = "events.events.k8s.io is forbidden: User cannot create resource";
    first.fail(403, forbidden);
    let again = setup.events.next().await;
    assert_eq!(again.body["metadata"]["name"], name);
    // The second try stays unanswered. The status is written nevertheless, after some seconds.
    let status = setup.statuses.next().await;
    assert_eq!(status.body["status"]["summary"]["firing"], 1);
    // The write has a limit of 4 s, so there is a third try.
    let third = setup.events.next().await;
    assert_eq!(third.body["metadata"]["name"], name);
    third.json(StatusCode::CREATED, &json!({}));
    written(&setup.operator, 1.0).await;
}

#[tokio::test(start_paused = true)]
async fn an_event_of_a_terminating_namespace_is_dropped_and_counted() {
    let (Setup { events, operator, .. }, watch) = setup(false).await;
    let ending = "unable to create new content because the namespace is being terminated";
    let mut ending = status_error(403, ending);
    ending["details"] =
        json!({"causes": [{"reason": "NamespaceTerminating", "field": "metadata.namespace"}]});
    events.next().await.json(StatusCode::FORBIDDEN, &ending);
    let refused = r#"sidewatch_events_dropped_total{reason="refused"}"#;
    operator.until_metric(refused, 1.0).await;
    events.stays_silent(secs(30)).await;
    watch.event("ADDED", &pod("b", "6", false));
    events.next().await.json(StatusCode::CREATED, &json!({}));
    written(&operator, 1.0).await;
}

#[tokio::test(start_paused = true)]
async fn a_fault_that_ends_during_an_outage_has_no_event() {
    let mut slow = policy("mesh", "3");
    slow["spec"]["checks"]["mainReadySidecarNotReady"]["for"] = json!("20s");
    let setup = Setup::start(&[slow]);
    let watch = setup.list_pods(&[pod("a", "1", true)]).await;
    let Setup {
        pods,
        events,
        operator,
        ..
    } = &setup;
    operator.ready().await;
    watch.event("MODIFIED", &pod("a", "6", false));
    let pending = concat!(
        r#"sidewatch_workload_violations{check="MainReadySidecarNotReady",container="proxy",image="proxy",mode="alert","#,
        r#"namespace="pay",native="true",policy="mesh",policy_kind="SidecarPolicy",policy_namespace="pay","#,
        r#"repository="docker.io/library/proxy",severity="warning",state="pending",workload="a",workload_kind="Pod"}"#
    );
    operator.until_metric(pending, 1.0).await;
    watch.cut();
    pods.next().await.fail(503, "the server is starting");
    let request = pods.next().await;
    // The deadline passes while the state of the fault is unknown.
    events.stays_silent(secs(10)).await;
    assert_eq!(operator.metric(pending), Some(1.0), "the violation stays pending");
    let watch = request.watch();
    // The missed event arrives some time after the head of the response.
    sleep(Duration::from_millis(200)).await;
    watch.event("MODIFIED", &pod("a", "7", true));
    operator.until_metric(PODS_SYNCED, 1.0).await;
    events.stays_silent(secs(5)).await;
    assert_eq!(operator.metric(pending), None);
}
