//! Statuses of the whole operator.

use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::{Value, json};

use testkit::api_server::{
    CLUSTER_POLICIES, MESH_STATUS, NAMESPACES, PODS, POLICIES, Server, list, pod, policy, quiet_but_pods,
    start,
};

/// The policy as the API server holds it after a status was applied.
fn with_status(version: &str, status: &Value) -> Value {
    let mut object = policy("mesh", version);
    object["status"] = status.clone();
    object
}

#[tokio::test]
async fn a_status_is_applied_once_and_then_all_is_quiet() {
    let server = Server::start().await;
    server.serve_quietly(PODS, list("Pod", "1", &[pod("a", "1", true)]));
    server.serve_quietly(NAMESPACES, list("Namespace", "1", &[]));
    server.serve_quietly(CLUSTER_POLICIES, list("ClusterSidecarPolicy", "1", &[]));
    let policies = server.route(Method::GET, POLICIES);
    let statuses = server.route(Method::PATCH, MESH_STATUS);
    let operator = start(&server, &[]);
    policies.next().await.json(
        StatusCode::OK,
        &list("SidecarPolicy", "3", &[policy("mesh", "3")]),
    );
    let watch = policies.next().await.watch();

    let request = statuses.next().await;
    assert_eq!(
        request.content_type.as_deref(),
        Some("application/apply-patch+yaml")
    );
    assert_eq!(request.parameter("fieldManager").as_deref(), Some("sidewatch"));
    assert_eq!(request.parameter("force").as_deref(), Some("true"));
    assert_eq!(
        request.body["metadata"],
        json!({"name": "mesh", "uid": "uid-mesh"})
    );
    let status = request.body["status"].clone();
    let conditions: Vec<_> = status["conditions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| &c["type"])
        .collect();
    assert_eq!(conditions, ["Ready", "SidecarsHealthy", "TargetsFound"]);
    assert_eq!(status["observedGeneration"], 1);
    assert_eq!(status["summary"]["pods"], 1);

    let written = with_status("4", &status);
    request.json(StatusCode::OK, &written);
    watch.event("MODIFIED", &written);
    operator.ready().await;
    // A resync brings everything again, and there is still nothing to say.
    drop(watch);
    let again = policies.next().await;
    again.fail(410, "too old");
    policies.next().await.json(
        StatusCode::OK,
        &list("SidecarPolicy", "9", std::slice::from_ref(&written)),
    );
    let watch = policies.next().await.watch();
    statuses.stays_silent(Duration::from_secs(1)).await;

    // Somebody else writes nonsense: it is put right, ten seconds after the last write.
    let mut nonsense = status.clone();
    nonsense["summary"]["pods"] = json!(99);
    watch.event("MODIFIED", &with_status("12", &nonsense));
    let request = statuses.next().await;
    assert_eq!(
        request.body["status"], status,
        "as before, transition times included"
    );
    request.json(StatusCode::OK, &with_status("13", &status));
}

#[tokio::test]
async fn a_restarted_operator_with_nothing_new_to_say_is_silent() {
    let server = Server::start().await;
    let first = start(&server, &[]);
    quiet_but_pods(&server, &[policy("mesh", "3")]);
    server.serve_quietly(PODS, list("Pod", "1", &[pod("a", "1", true)]));
    let statuses = server.route(Method::PATCH, MESH_STATUS);
    let request = statuses.next().await;
    let status = request.body["status"].clone();
    request.json(StatusCode::OK, &with_status("4", &status));
    first.stop().await;

    let server = Server::start().await;
    quiet_but_pods(&server, &[with_status("4", &status)]);
    server.serve_quietly(PODS, list("Pod", "1", &[pod("a", "1", true)]));
    let second = start(&server, &[]);
    second.ready().await;
    server
        .route(Method::PATCH, MESH_STATUS)
        .stays_silent(Duration::from_secs(1))
        .await;
}

#[tokio::test]
async fn a_status_that_fails_is_tried_again_and_one_of_a_deleted_policy_is_not() {
    let server = Server::start().await;
    quiet_but_pods(&server, &[policy("mesh", "3"), policy("gone", "4")]);
    server.serve_quietly(PODS, list("Pod", "1", &[pod("a", "1", true)]));
    let statuses = server.route(Method::PATCH, MESH_STATUS);
    let gone = server.route(Method::PATCH, &MESH_STATUS.replace("mesh", "gone"));
    let operator = start(&server, &[]);
    gone.next()
        .await
        .fail(404, "sidecarpolicies.sidewatch.dev \"gone\" not found");
    for code in [403, 500] {
        statuses.next().await.fail(code, "not now");
    }
    let request = statuses.next().await;
    let status = request.body["status"].clone();
    request.json(StatusCode::OK, &with_status("5", &status));
    operator
        .until_metric(
            r#"sidewatch_api_writes_total{kind="status",outcome="error"}"#,
            2.0,
        )
        .await;
    gone.stays_silent(Duration::from_millis(500)).await;
}
