//! Statuses of policies.

use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::{Value, json};
use testkit::api_server::{
    ApiServer, CLUSTER_POLICIES, EXEMPTIONS, Exchange, MESH_STATUS, NAMESPACES, PODS, POLICIES, Route,
    Running, Setup, WatchStream, list, pod, policy, start, status_error,
};

use crate::{api_writes, secs};

const OWN: &str = "sidewatch:test";

/// The field manager of a write.
fn field_manager(request: &Exchange) -> String {
    let encoded = request.parameter("fieldManager").unwrap();
    encoded.replace("%3A", ":").replace("%2F", "/")
}

/// The policy `mesh` with this status, as the API server returns it.
fn with_status(version: &str, status: &Value) -> Value {
    let mut object = policy("mesh", version);
    object["status"] = status.clone();
    object
}

/// An operator that has the Pod `a` and the policy `mesh`.
struct Mesh {
    operator: Running,
    policies: Route,
    statuses: Route,
    /// The watch of the policies.
    watch: WatchStream,
}

/// Starts an operator. The policy `mesh` is listed in this version.
async fn start_with_mesh(version: &str) -> Mesh {
    let server = ApiServer::default();
    server.serve_quietly(PODS, list("Pod", "1", &[pod("a", "1", true)]));
    server.serve_quietly(NAMESPACES, list("Namespace", "1", &[]));
    server.serve_quietly(CLUSTER_POLICIES, list("ClusterSidecarPolicy", "1", &[]));
    server.serve_quietly(EXEMPTIONS, list("SidecarExemption", "1", &[]));
    let policies = server.route(Method::GET, POLICIES);
    let statuses = server.route(Method::PATCH, MESH_STATUS);
    let operator = start(&server, &[]);
    let listed = list("SidecarPolicy", version, &[policy("mesh", version)]);
    policies.next().await.json(StatusCode::OK, &listed);
    let watch = policies.next().await.watch();
    Mesh {
        operator,
        policies,
        statuses,
        watch,
    }
}

#[tokio::test(start_paused = true)]
async fn a_status_is_applied_once_and_again_only_if_another_client_changes_it() {
    let Mesh {
        operator,
        policies,
        statuses,
        watch,
    } = start_with_mesh("3").await;

    let request = statuses.next().await;
    let content_type = request.content_type.as_deref();
    assert_eq!(content_type, Some("application/apply-patch+yaml"));
    assert_eq!(field_manager(&request), OWN);
    assert_eq!(request.parameter("force").as_deref(), Some("true"));
    let metadata = json!({"name": "mesh", "uid": "uid-mesh", "resourceVersion": "3"});
    assert_eq!(request.body["metadata"], metadata);
    let status = request.body["status"].clone();
    let conditions = status["conditions"].as_array().unwrap();
    let conditions: Vec<_> = conditions.iter().map(|c| &c["type"]).collect();
    assert_eq!(conditions, ["Ready", "SidecarsHealthy", "TargetsFound"]);
    assert_eq!(status["observedGeneration"], 1);
    assert_eq!(status["summary"]["pods"], 1);

    let written = with_status("4", &status);
    request.json(StatusCode::OK, &written);
    watch.event("MODIFIED", &written);
    operator.ready().await;
    // A relist delivers the same objects.
    drop(watch);
    policies.next().await.fail(410, "too old");
    let listed = list("SidecarPolicy", "9", std::slice::from_ref(&written));
    policies.next().await.json(StatusCode::OK, &listed);
    let watch = policies.next().await.watch();
    statuses.stays_silent(secs(30)).await;

    let mut wrong = status.clone();
    wrong["summary"]["pods"] = json!(99);
    watch.event("MODIFIED", &with_status("12", &wrong));
    let request = statuses.next().await;
    assert_eq!(request.body["status"], status, "transition times do not change");
    request.json(StatusCode::OK, &with_status("13", &status));
}

#[tokio::test(start_paused = true)]
async fn a_restarted_operator_does_not_write_the_same_status_again() {
    let first = Setup::start(&[policy("mesh", "3")]);
    let _watch = first.list_pods(&[pod("a", "1", true)]).await;
    let request = first.statuses.next().await;
    let status = request.body["status"].clone();
    request.json(StatusCode::OK, &with_status("4", &status));
    first.operator.stop().await;

    let second = Setup::start(&[with_status("4", &status)]);
    let _watch = second.list_pods(&[pod("a", "1", true)]).await;
    second.operator.ready().await;
    second.statuses.stays_silent(secs(30)).await;
}

#[tokio::test(start_paused = true)]
async fn a_failed_status_is_retried_unless_its_policy_is_deleted() {
    let setup = Setup::start(&[policy("mesh", "3"), policy("gone", "4")]);
    let gone = MESH_STATUS.replace("mesh", "gone");
    let gone = setup.server.route(Method::PATCH, &gone);
    let _watch = setup.list_pods(&[pod("a", "1", true)]).await;
    let not_found = "sidecarpolicies.sidewatch.dev \"gone\" not found";
    gone.next().await.fail(404, not_found);
    for code in [403, 500] {
        setup.statuses.next().await.fail(code, "not now");
    }
    let request = setup.statuses.next().await;
    let status = request.body["status"].clone();
    request.json(StatusCode::OK, &with_status("5", &status));
    let errors = api_writes("status", "error");
    setup.operator.until_metric(&errors, 2.0).await;
    gone.stays_silent(secs(30)).await;
}

#[tokio::test(start_paused = true)]
async fn entries_that_server_side_apply_leaves_to_other_managers_are_removed() {
    let setup = Setup::start(&[policy("mesh", "3")]);
    let statuses = &setup.statuses;
    let _watch = setup.list_pods(&[pod("a", "1", true)]).await;
    let request = statuses.next().await;
    let status = request.body["status"].clone();
    let mut merged = status.clone();
    merged["checks"] = json!([{"check": "Flapping", "firing": 3, "pending": 0}]);
    request.json(StatusCode::OK, &with_status("4", &merged));

    let request = statuses.next().await;
    let content_type = request.content_type.as_deref();
    assert_eq!(content_type, Some("application/merge-patch+json"));
    assert_eq!(
        request.body,
        json!({
            "metadata": {"uid": "uid-mesh", "resourceVersion": "4"},
            "status": {"checks": null, "violations": null, "images": status["images"]},
        })
    );
    request.json(StatusCode::OK, &with_status("5", &status));
    statuses.stays_silent(secs(30)).await;
}

#[tokio::test(start_paused = true)]
async fn field_managers_that_others_invent_cost_no_write() {
    let Mesh {
        operator: _operator,
        policies: _policies,
        statuses,
        watch,
    } = start_with_mesh("3").await;
    let request = statuses.next().await;
    let status = request.body["status"].clone();
    let written = with_status("4", &status);
    request.json(StatusCode::OK, &written);
    watch.event("MODIFIED", &written);
    for n in 5..205 {
        let manager = ["sidewatch".to_owned(), format!("sidewatch:{n}/x"), OWN.to_owned()];
        let mut forged = with_status(&n.to_string(), &status);
        forged["metadata"]["managedFields"] = json!([{
            "manager": manager[n % 3], "operation": "Apply", "subresource": "status",
            "time": "2026-11-20T10:00:00Z", "fieldsType": "FieldsV1", "fieldsV1": {},
        }]);
        watch.event("MODIFIED", &forged);
    }
    statuses.stays_silent(Duration::from_mins(5)).await;
}

#[tokio::test(start_paused = true)]
async fn a_status_for_a_changed_object_is_written_after_the_watch_delivers_the_change() {
    let Mesh {
        operator,
        policies: _policies,
        statuses,
        watch,
    } = start_with_mesh("3").await;
    let request = statuses.next().await;
    let status = request.body["status"].clone();
    request.json(
        StatusCode::CONFLICT,
        &status_error(409, "the object has been modified"),
    );
    watch.event("MODIFIED", &policy("mesh", "8"));
    let request = statuses.next().await;
    assert_eq!(request.body["metadata"]["resourceVersion"], "8");
    request.json(StatusCode::OK, &with_status("9", &status));
    statuses.stays_silent(secs(30)).await;
    let errors = operator.metric(&api_writes("status", "error"));
    assert_eq!(errors, Some(0.0), "the API server has answered");
}

/// A refusal of a status because of one field.
fn invalid(field: &str) -> Value {
    let mut refusal = status_error(422, "SidecarPolicy \"mesh\" is invalid");
    refusal["reason"] = json!("Invalid");
    refusal["details"] =
        json!({"causes": [{"reason": "FieldValueInvalid", "message": "Invalid", "field": field}]});
    refusal
}

#[tokio::test(start_paused = true)]
async fn a_refused_entry_does_not_block_the_rest_of_the_status() {
    let setup = Setup::start(&[policy("mesh", "3")]);
    let statuses = &setup.statuses;
    let _watch = setup
        .list_pods(&[pod("a", "1", false), pod("b", "1", false)])
        .await;
    for _ in 0..2 {
        setup.events.next().await.json(StatusCode::CREATED, &json!({}));
    }
    let request = statuses.next().await;
    let status = request.body["status"].clone();
    assert_eq!(status["violations"].as_array().unwrap().len(), 2);
    let unprocessable = StatusCode::UNPROCESSABLE_ENTITY;
    request.json(unprocessable, &invalid("status.violations[0].workload"));

    let request = statuses.next().await;
    let reduced = request.body["status"].clone();
    assert_eq!(reduced["violations"].as_array().unwrap().len(), 1);
    assert_eq!(reduced["violations"][0]["pod"], "b");
    assert_eq!(reduced["violationsOmitted"], 1);
    assert_eq!(reduced["summary"], status["summary"]);
    request.json(unprocessable, &invalid("status.checks[0].check"));

    let request = statuses.next().await;
    let counts_only = request.body["status"].clone();
    assert_eq!(counts_only.get("violations"), None);
    assert_eq!(counts_only.get("checks"), None);
    assert_eq!(counts_only["summary"], status["summary"]);
    assert_eq!(counts_only["conditions"][1], status["conditions"][1]);
    request.json(StatusCode::OK, &with_status("4", &counts_only));
    statuses.stays_silent(secs(1)).await;
}
