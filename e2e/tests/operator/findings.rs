//! A fault is visible at once.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use e2e::simulated_kubelet::Step;

use super::support::{TestNamespace, eventually, no_series, series, shared_cluster, web};

/// The documented time is a second; the rest is for a busy machine.
const IMMEDIATELY: Duration = Duration::from_secs(5);

#[tokio::test]
async fn a_status_change_is_in_metrics_and_an_event_immediately() {
    let cluster = shared_cluster().await;
    let place = TestNamespace::new(cluster.plane, "at-once").await;
    place
        .policy("p", "{checks: {notReady: {for: 0s, keepFiringFor: 0s}}}")
        .await;
    let mut pod = place.kubelet.run(&place.namespace, web()).await.unwrap();
    place
        .status_when("p", "the Pod counted", |status| status["summary"]["pods"] == 1)
        .await;

    // A short unready time after the start may have caused Events.
    let before = place.events().await.len();
    pod.step(Step::Unready("istio-proxy")).await.unwrap();
    let began = Instant::now();
    let labels = [
        ("namespace", &*place.namespace),
        ("check", "NotReady"),
        ("state", "firing"),
    ];
    let found = eventually("the series", || async {
        let found = series(&cluster.operator, "sidewatch_violation", &labels).await;
        found.first().cloned().context("no series")
    })
    .await;
    let in_metrics = began.elapsed();
    eventually("the Event", || async {
        let events = place.events().await.len();
        ensure!(events > before, "{events} Events");
        Ok(())
    })
    .await;
    let in_event = began.elapsed();
    assert!(in_metrics < IMMEDIATELY, "in the metrics after {in_metrics:?}");
    assert!(in_event < IMMEDIATELY, "in an Event after {in_event:?}");
    assert!(found.ends_with(" 1"), "{found}");

    pod.step(Step::Ready("istio-proxy")).await.unwrap();
    no_series(&cluster.operator, "sidewatch_violation", &labels).await;
    let recovered = place.event("SidecarRecovered").await;
    assert_eq!(recovered.type_.as_deref(), Some("Normal"));
}
