//! Exemptions: their watch, their status, and an API server without their CRD.

use http::{Method, StatusCode};
use serde_json::{Value, json};
use testkit::api_server::{
    ApiServer, CLUSTER_POLICIES, EVENTS, EXEMPTIONS, MESH_STATUS, NAMESPACES, PODS, POLICIES, list, pod,
    policy, start,
};

use crate::{assert_list, secs, synced};

const SNOOZE_STATUS: &str = "/apis/sidewatch.dev/v1alpha1/namespaces/pay/sidecarexemptions/snooze/status";

/// An exemption of all Pods until this time.
fn exemption(version: &str, until: &str) -> Value {
    json!({
        "apiVersion": "sidewatch.dev/v1alpha1", "kind": "SidecarExemption",
        "metadata": {"name": "snooze", "namespace": "pay", "uid": "uid-snooze", "resourceVersion": version,
            "generation": 1, "creationTimestamp": "2026-11-20T09:00:00Z"},
        "spec": {"selector": {}, "reason": "vendor", "until": until},
    })
}

/// A server that answers everything but the requests for Pods and exemptions.
fn server() -> ApiServer {
    let server = ApiServer::default();
    server.serve_quietly(NAMESPACES, list("Namespace", "1", &[]));
    server.serve_quietly(CLUSTER_POLICIES, list("ClusterSidecarPolicy", "1", &[]));
    server.serve_quietly(POLICIES, list("SidecarPolicy", "1", &[policy("mesh", "3")]));
    server
}

#[tokio::test(start_paused = true)]
async fn the_operator_works_without_their_crd_and_finds_it_later() {
    let server = server();
    server.serve_quietly(PODS, list("Pod", "5", &[pod("a", "1", true)]));
    let exemptions = server.route(Method::GET, EXEMPTIONS);
    let statuses = server.route(Method::PATCH, MESH_STATUS);
    let operator = start(&server, &[]);
    for _ in 0..8 {
        let missing = exemptions.any().await;
        missing.text(StatusCode::NOT_FOUND, "404 page not found\n");
        operator.ready().await;
    }
    operator.until_metric(&synced("sidecarexemptions"), 1.0).await;
    let errors = operator.series("sidewatch_watch_errors_total");
    assert_eq!(errors, [""; 0]);
    assert_eq!(statuses.next().await.body["status"]["summary"]["pods"], 1);
    let again = exemptions.any().await;
    assert_list(&again);
    let snooze = server.route(Method::PATCH, SNOOZE_STATUS);
    let listed = exemption("7", "2126-11-20T10:00:00Z");
    again.json(StatusCode::OK, &list("SidecarExemption", "7", &[listed]));
    let _watch = exemptions.next().await.watch();
    let status = &snooze.next().await.body["status"];
    assert_eq!(status["conditions"][0]["reason"], "Active", "{status}");
}

#[tokio::test(start_paused = true)]
async fn a_status_waits_for_the_first_list_and_lists_what_is_hidden() {
    let server = server();
    server.serve_quietly(PODS, list("Pod", "5", &[pod("a", "1", false)]));
    let exemptions = server.route(Method::GET, EXEMPTIONS);
    let snooze = server.route(Method::PATCH, SNOOZE_STATUS);
    let mesh = server.route(Method::PATCH, MESH_STATUS);
    let events = server.route(Method::POST, EVENTS);
    let operator = start(&server, &[]);
    let first = exemptions.next().await;
    events.stays_silent(secs(5)).await;
    assert_eq!(operator.readyz().0, 503);
    let until = "2126-11-20T10:00:00Z";
    first.json(
        StatusCode::OK,
        &list("SidecarExemption", "7", &[exemption("7", until)]),
    );
    let watch = exemptions.next().await.watch();
    let event = events.next().await;
    assert_eq!(event.body["reason"], "ExemptionActive", "{}", event.body);
    let regarding = &event.body["regarding"];
    assert_eq!(regarding["apiVersion"], "sidewatch.dev/v1alpha1");
    assert_eq!(
        (&regarding["kind"], &regarding["uid"]),
        (&json!("SidecarExemption"), &json!("uid-snooze"))
    );
    assert_eq!(event.body["related"]["name"], "mesh");
    let body = event.body.clone();
    event.json(StatusCode::CREATED, &body);
    let applied = snooze.next().await;
    let status = applied.body["status"].clone();
    assert_eq!(
        (&status["hides"], &status["workload"]),
        (&json!(1), &json!("all Pods")),
        "{status}"
    );
    assert_eq!(status["hidden"][0]["pod"], "a", "{status}");
    assert_eq!(status["hidden"][0]["policy"], "mesh", "{status}");
    let mut written = exemption("8", until);
    written["status"] = status;
    applied.json(StatusCode::OK, &written);
    watch.event("MODIFIED", &written);
    let status = &mesh.next().await.body["status"];
    assert_eq!(status["summary"]["firing"], 0, "{status}");
    let hidden = operator.series("sidewatch_exempted_violations");
    assert_eq!(hidden.len(), 1, "{hidden:?}");
    assert_eq!(operator.series("sidewatch_workload_violations"), [""; 0]);
    events.stays_silent(secs(20)).await;
    snooze.stays_silent(secs(20)).await;

    watch.event("DELETED", &written);
    let event = events.next().await;
    assert_eq!(event.body["regarding"]["kind"], "Pod", "{}", event.body);
}
