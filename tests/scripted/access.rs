//! What the operator lacks, it waits for, and says so.

use http::{Method, StatusCode};
use serde_json::json;

use crate::support::{
    CLUSTER_POLICIES, MESH_STATUS, NAMESPACES, PODS, POLICIES, Server, list, pod, pods, policy,
    quiet_but_pods, soon, start, until,
};

#[tokio::test]
async fn a_missing_role_is_waited_for() {
    let server = Server::start().await;
    quiet_but_pods(&server, &[]);
    let pods = pods(&server);
    let operator = start(&server, &[]);

    let message = "pods is forbidden: User \"system:serviceaccount:x:y\" cannot list resource \"pods\"";
    for _ in 0..2 {
        pods.next().await.fail(403, message);
    }
    let request = pods.next().await;
    let (status, body) = operator.readyz();
    assert_eq!(status, 503);
    assert!(
        body.contains("cannot list pods: forbidden: pods is forbidden"),
        "{body}"
    );
    let forbidden = r#"sidewatch_watch_errors_total{reason="forbidden",resource="pods"}"#;
    assert_eq!(operator.metric(forbidden), Some(2.0));
    request.json(StatusCode::OK, &list("Pod", "5", &[]));
    let _watch = pods.next().await.watch();
    operator.ready().await;
}

#[tokio::test]
async fn a_missing_crd_is_waited_for() {
    let server = Server::start().await;
    server.serve_quietly(PODS, list("Pod", "1", &[]));
    server.serve_quietly(NAMESPACES, list("Namespace", "1", &[]));
    server.serve_quietly(CLUSTER_POLICIES, list("ClusterSidecarPolicy", "1", &[]));
    let policies = server.route(Method::GET, POLICIES);
    let operator = start(&server, &[]);

    policies
        .next()
        .await
        .text(StatusCode::NOT_FOUND, "404 page not found\n");
    let request = policies.next().await;
    let (status, body) = operator.readyz();
    assert_eq!(status, 503);
    assert!(
        body.contains("CRD sidecarpolicies.sidewatch.dev is not installed"),
        "{body}"
    );
    assert!(body.contains("kubectl apply -f"), "says what to do: {body}");
    request.json(StatusCode::OK, &list("SidecarPolicy", "1", &[]));
    let _watch = policies.next().await.watch();
    operator.ready().await;
}

#[tokio::test]
async fn a_namespaced_installation_asks_for_its_namespaces_only() {
    let server = Server::start().await;
    let mut routes = Vec::new();
    for namespace in ["pay", "shop"] {
        for (resource, kind) in [
            (format!("/api/v1/namespaces/{namespace}/pods"), "Pod"),
            (
                format!("/apis/sidewatch.dev/v1alpha1/namespaces/{namespace}/sidecarpolicies"),
                "SidecarPolicy",
            ),
        ] {
            routes.push((server.route(Method::GET, &resource), kind));
        }
    }
    let elsewhere =
        [PODS, NAMESPACES, POLICIES, CLUSTER_POLICIES].map(|path| server.route(Method::GET, path));
    let operator = start(&server, &["pay", "shop"]);
    let mut watches = Vec::new();
    for (route, kind) in &routes {
        route.next().await.json(StatusCode::OK, &list(kind, "5", &[]));
        watches.push(route.next().await.watch());
    }
    operator.ready().await;
    for route in elsewhere {
        route.stays_silent(std::time::Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn one_unreadable_policy_disturbs_no_other() {
    let server = Server::start().await;
    let mut broken = policy("broken", "2");
    broken["spec"]["checks"]["notReady"] = json!("whenever");
    quiet_but_pods(&server, &[broken, policy("mesh", "3")]);
    server.serve_quietly(PODS, list("Pod", "1", &[pod("a", "1", true)]));
    let status = server.route(Method::PATCH, MESH_STATUS);
    let broken = server.route(Method::PATCH, &MESH_STATUS.replace("mesh", "broken"));
    let operator = start(&server, &[]);
    operator.ready().await;

    let written = status.next().await;
    assert_eq!(
        written.body["status"]["summary"]["sidecars"], 1,
        "{}",
        written.body
    );
    let told = broken.next().await;
    let ready = &told.body["status"]["conditions"][0];
    assert_eq!(
        (&ready["type"], &ready["status"], &ready["reason"]),
        (&json!("Ready"), &json!("False"), &json!("Invalid"))
    );
    let labels = r#"policy="broken",policy_kind="SidecarPolicy",policy_namespace="pay""#;
    assert_eq!(
        operator.metric(&format!("sidewatch_policy_ready{{{labels}}}")),
        Some(0.0)
    );
    let decode = r#"sidewatch_watch_errors_total{reason="decode",resource="sidecarpolicies"}"#;
    assert_eq!(operator.metric(decode), Some(1.0));
}

#[tokio::test]
async fn an_operator_that_is_told_to_stop_does_so_while_the_server_hangs() {
    let server = Server::start().await;
    quiet_but_pods(&server, &[policy("mesh", "3")]);
    server.serve_quietly(PODS, list("Pod", "1", &[pod("a", "1", false)]));
    let status = server.route(Method::PATCH, MESH_STATUS);
    let operator = start(&server, &[]);
    let _unanswered = status.next().await;
    until("an Event is on its way", || operator.readyz().0 == 200).await;
    let begun = tokio::time::Instant::now();
    soon("the end", operator.stop()).await;
    assert!(
        begun.elapsed() < std::time::Duration::from_secs(8),
        "{:?}",
        begun.elapsed()
    );
}
