//! Objects that clients of the API server written in Go can read, and others perhaps not.

use e2e::simulated_kubelet::{Container, PodSpec};
use http::header::{ACCEPT, CONTENT_TYPE};
use serde_json::{Value, json};
use testkit::protobuf;

use super::{AT_ONCE, Tenant, object, policy, threatened};
use crate::support::web;

/// Replaced in the bytes of a Pod by a text of the same length that is not UTF-8.
const PLACEHOLDER: &[u8] = b"enabled~~~";
const INVALID: &[u8] = b"enabled\xff\xc0~";

/// `managedFields` with this time and this nesting, as a client can write them. The field is one of the status that the object
/// does not have yet: the API server removes entries of fields that the request sets.
fn managed_fields(api_version: &str, field: &str, time: &str, depth: usize) -> Value {
    let mut fields = json!({"f:status": {field: {}}});
    for _ in 0..depth {
        fields = json!({"f:status": fields});
    }
    json!([{
        "manager": "x", "operation": "Update", "apiVersion": api_version, "fieldsType": "FieldsV1", "fieldsV1": fields,
        "time": time,
    }])
}

/// A Pod in protobuf whose annotations are not UTF-8.
fn invalid_utf8() -> Vec<u8> {
    // Without probes: the encoder knows no handlers.
    let mut pod = PodSpec::new("utf8")
        .container(Container::native("istio-proxy"))
        .container(Container::regular("app"))
        .pod();
    let placeholder = str::from_utf8(PLACEHOLDER).unwrap();
    pod["metadata"]["annotations"] = json!({"linkerd.io/inject": placeholder, "a": placeholder});
    let mut bytes = protobuf::object(&pod);
    let found = bytes.windows(PLACEHOLDER.len()).enumerate();
    let positions: Vec<_> = found
        .filter(|(_, part)| *part == PLACEHOLDER)
        .map(|(at, _)| at)
        .collect();
    assert_eq!(positions.len(), 2);
    for at in positions {
        bytes[at..at + INVALID.len()].copy_from_slice(INVALID);
    }
    bytes
}

#[tokio::test]
async fn undecodable_object() {
    let cluster = threatened().await;
    let tenant = Tenant::new("undecodable").await;
    let place = &tenant.place;
    let request = http::Request::post(tenant.path("pods"))
        .header(CONTENT_TYPE, protobuf::CONTENT_TYPE)
        .header(ACCEPT, "application/json")
        .body(invalid_utf8());
    let created: Value = tenant.client.request(request.unwrap()).await.unwrap();
    assert_eq!(created["metadata"]["name"], "utf8");

    let year_9999 = "9999-12-31T23:59:59Z";
    let exemption = json!({"selector": {"matchLabels": {"none": "none"}}, "reason": "x", "until": "2100-01-01T00:00:00Z"});
    let mut pod = web().pod();
    for (name, time, depth) in [
        ("time", year_9999, 0),
        ("deep", "2026-01-01T00:00:00Z", 200),
        ("both", year_9999, 200),
    ] {
        pod["metadata"]["name"] = json!(name);
        for (resource, field, mut object) in [
            ("pods", "f:message", pod.clone()),
            ("sidecarpolicies", "f:summary", policy(name, &json!({}))),
            (
                "sidecarexemptions",
                "f:hides",
                object("SidecarExemption", name, &exemption),
            ),
        ] {
            let api_version = object["apiVersion"].as_str().unwrap().to_owned();
            object["metadata"]["managedFields"] = managed_fields(&api_version, field, time, depth);
            let created = tenant.create(resource, &object).await.unwrap();
            if depth == 0 && resource != "pods" {
                let stored = created["metadata"]["managedFields"].to_string();
                assert!(stored.contains(time), "{resource}: {stored}");
            }
        }
    }
    place.policy("p", AT_ONCE).await;
    tenant.run_unready(vec![web()]).await;
    cluster.is_served(place, "p").await;
    cluster.others_are_served().await;
    // A new process has them in its lists.
    let started = cluster.reader_of(place).await;
    assert!(started.stop().await.unwrap().success());
}
