//! Missing permissions, a missing CRD, a policy that does not decode, a server that hangs.

use futures::future::join_all;
use http::{Method, StatusCode};
use serde_json::json;
use testkit::api_server::{
    ApiServer, MESH_STATUS, POLICIES, READ, Setup, list, pod, policy, server_without, start, until,
};
use tokio::time::Instant;

use crate::{assert_watch, secs, synced, watch_errors};

fn forbidden(verb: &str, resource: &str) -> String {
    let user = "system:serviceaccount:x:y";
    format!("{resource} is forbidden: User \"{user}\" cannot {verb} resource \"{resource}\"")
}

#[tokio::test(start_paused = true)]
async fn the_operator_waits_for_each_permission_to_list() {
    join_all(READ.map(|(path, kind, resource)| async move {
        let (server, route) = server_without(path);
        let operator = start(&server, &[]);
        for _ in 0..2 {
            route.next().await.fail(403, &forbidden("list", resource));
        }
        let request = route.next().await;
        let (status, body) = operator.readyz();
        assert_eq!(status, 503, "{resource}");
        let missing = format!("cannot list {resource}: forbidden: {resource} is forbidden");
        assert!(body.contains(&missing), "{missing} in {body}");
        assert_eq!(
            operator.metric(&watch_errors(resource, "forbidden")),
            Some(2.0),
            "{resource}"
        );
        request.json(StatusCode::OK, &list(kind, "5", &[]));
        let _watch = route.next().await.watch();
        operator.ready().await;
    }))
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_operator_waits_for_each_permission_to_watch() {
    join_all(READ.map(|(path, kind, resource)| async move {
        let (server, route) = server_without(path);
        let operator = start(&server, &[]);
        let synced = synced(resource);
        route.next().await.json(StatusCode::OK, &list(kind, "5", &[]));
        for _ in 0..2 {
            route.next().await.fail(403, &forbidden("watch", resource));
        }
        let request = route.next().await;
        assert_watch(&request);
        assert_eq!(operator.metric(&synced), Some(0.0), "{resource}");
        assert_eq!(
            operator.metric(&watch_errors(resource, "forbidden")),
            Some(2.0),
            "{resource}"
        );
        let _watch = request.watch();
        operator.until_metric(&synced, 1.0).await;
    }))
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_operator_waits_for_a_missing_crd() {
    let (server, policies) = server_without(POLICIES);
    let operator = start(&server, &[]);
    let missing = policies.next().await;
    missing.text(StatusCode::NOT_FOUND, "404 page not found\n");
    let request = policies.next().await;
    let (status, body) = operator.readyz();
    assert_eq!(status, 503);
    for text in [
        "CRD sidecarpolicies.sidewatch.dev is not installed",
        "kubectl apply -f",
    ] {
        assert!(body.contains(text), "{body}");
    }
    request.json(StatusCode::OK, &list("SidecarPolicy", "1", &[]));
    let _watch = policies.next().await.watch();
    operator.ready().await;
}

#[tokio::test(start_paused = true)]
async fn a_namespaced_installation_reads_only_its_namespaces() {
    let server = ApiServer::default();
    let mut routes = Vec::new();
    for namespace in ["pay", "shop"] {
        for (group, resource, kind) in [
            ("/api/v1", "pods", "Pod"),
            ("/apis/sidewatch.dev/v1alpha1", "sidecarpolicies", "SidecarPolicy"),
            (
                "/apis/sidewatch.dev/v1alpha1",
                "sidecarexemptions",
                "SidecarExemption",
            ),
        ] {
            let path = format!("{group}/namespaces/{namespace}/{resource}");
            routes.push((server.route(Method::GET, &path), kind));
        }
    }
    let elsewhere = READ.map(|(path, ..)| server.route(Method::GET, path));
    let operator = start(&server, &["pay", "shop"]);
    let mut watches = Vec::new();
    for (route, kind) in &routes {
        route.next().await.json(StatusCode::OK, &list(kind, "5", &[]));
        watches.push(route.next().await.watch());
    }
    operator.ready().await;
    for route in elsewhere {
        route.stays_silent(secs(10)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_policy_that_does_not_decode_does_not_affect_others() {
    let mut broken = policy("broken", "2");
    broken["spec"]["checks"]["notReady"] = json!("whenever");
    let setup = Setup::start(&[broken, policy("mesh", "3")]);
    let broken = MESH_STATUS.replace("mesh", "broken");
    let broken = setup.server.route(Method::PATCH, &broken);
    let _watch = setup.list_pods(&[pod("a", "1", true)]).await;
    setup.operator.ready().await;

    let body = setup.statuses.next().await.body.clone();
    assert_eq!(body["status"]["summary"]["sidecars"], 1, "{body}");
    let body = broken.next().await.body.clone();
    let ready = &body["status"]["conditions"][0];
    let shown = [&ready["type"], &ready["status"], &ready["reason"]];
    assert_eq!(shown, ["Ready", "False", "Invalid"]);
    let labels = r#"policy="broken",policy_kind="SidecarPolicy",policy_namespace="pay""#;
    for (series, value) in [
        (format!("sidewatch_policy_ready{{{labels}}}"), 0.0),
        (watch_errors("sidecarpolicies", "decode"), 1.0),
    ] {
        assert_eq!(setup.operator.metric(&series), Some(value), "{series}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_operator_stops_within_eight_seconds_although_the_server_hangs() {
    let setup = Setup::start(&[policy("mesh", "3")]);
    let _watch = setup.list_pods(&[pod("a", "1", false)]).await;
    let _unanswered = setup.statuses.next().await;
    until("the operator is ready", || setup.operator.readyz().0 == 200).await;
    let begun = Instant::now();
    setup.operator.stop().await;
    assert!(begun.elapsed() < secs(8), "{:?}", begun.elapsed());
}
