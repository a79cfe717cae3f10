//! What the operator lacks, it waits for, and says so.

use futures::future::join_all;
use http::{Method, StatusCode};
use serde_json::json;

use testkit::api_server::{
    CLUSTER_POLICIES, MESH_STATUS, NAMESPACES, PODS, POLICIES, Route, Server, list, pod, policy,
    quiet_but_pods, soon, start, until,
};

/// What a cluster-wide installation reads: path, kind, resource.
const READ: [(&str, &str, &str); 4] = [
    (PODS, "Pod", "pods"),
    (NAMESPACES, "Namespace", "namespaces"),
    (POLICIES, "SidecarPolicy", "sidecarpolicies"),
    (CLUSTER_POLICIES, "ClusterSidecarPolicy", "clustersidecarpolicies"),
];

/// A server on which all is quiet but the requests for one resource, which the test answers.
async fn quiet_but(path: &str) -> (Server, Route) {
    let server = Server::start().await;
    for (other, kind, _) in READ.into_iter().filter(|(other, ..)| *other != path) {
        server.serve_quietly(other, list(kind, "1", &[]));
    }
    let route = server.route(Method::GET, path);
    (server, route)
}

fn forbidden(verb: &str, resource: &str) -> String {
    format!(
        "{resource} is forbidden: User \"system:serviceaccount:x:y\" cannot {verb} resource \"{resource}\""
    )
}

#[tokio::test]
async fn each_right_to_list_is_waited_for() {
    join_all(READ.map(|(path, kind, resource)| async move {
        let (server, route) = quiet_but(path).await;
        let operator = start(&server, &[]);
        for _ in 0..2 {
            route.next().await.fail(403, &forbidden("list", resource));
        }
        let request = route.next().await;
        let (status, body) = operator.readyz();
        assert_eq!(status, 503, "{resource}");
        let missing = format!("cannot list {resource}: forbidden: {resource} is forbidden");
        assert!(body.contains(&missing), "{missing} in {body}");
        assert_eq!(operator.metric(&errors(resource)), Some(2.0), "{resource}");
        request.json(StatusCode::OK, &list(kind, "5", &[]));
        let _watch = route.next().await.watch();
        operator.ready().await;
    }))
    .await;
}

#[tokio::test]
async fn each_right_to_watch_is_waited_for() {
    join_all(READ.map(|(path, kind, resource)| async move {
        let (server, route) = quiet_but(path).await;
        let operator = start(&server, &[]);
        let synced = format!(r#"sidewatch_watch_synced{{resource="{resource}"}}"#);
        route.next().await.json(StatusCode::OK, &list(kind, "5", &[]));
        for _ in 0..2 {
            route.next().await.fail(403, &forbidden("watch", resource));
        }
        let request = route.next().await;
        assert!(request.is_watch(), "nothing is listed again: {}", request.query);
        assert_eq!(operator.metric(&synced), Some(0.0), "{resource}");
        assert_eq!(operator.metric(&errors(resource)), Some(2.0), "{resource}");
        let _watch = request.watch();
        operator.until_metric(&synced, 1.0).await;
    }))
    .await;
}

fn errors(resource: &str) -> String {
    format!(r#"sidewatch_watch_errors_total{{reason="forbidden",resource="{resource}"}}"#)
}

#[tokio::test]
async fn a_missing_crd_is_waited_for() {
    let (server, policies) = quiet_but(POLICIES).await;
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
