//! The schemas of both kinds of policy with a real API server: rejected specs, defaults, status, and output of kubectl.

mod coverage;
mod invalid;
mod patterns;
mod presentation;
mod status;
mod valid;

use e2e::ControlPlane;
use kube::Client;
use kube::core::Status;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

/// The CRDs.
const CRDS: &str = concat!(
    include_str!("../../../../crds/sidewatch.dev_sidecarpolicies.yaml"),
    include_str!("../../../../crds/sidewatch.dev_clustersidecarpolicies.yaml"),
    include_str!("../../../../crds/sidewatch.dev_sidecarexemptions.yaml"),
);

/// A kind and the path of its collection in the namespace `default`.
pub(crate) type Kind = (&'static str, &'static str);

/// The namespaced kind.
const SIDECAR_POLICY: Kind = (
    "SidecarPolicy",
    "/apis/sidewatch.dev/v1alpha1/namespaces/default/sidecarpolicies",
);
const CLUSTER_SIDECAR_POLICY: Kind = (
    "ClusterSidecarPolicy",
    "/apis/sidewatch.dev/v1alpha1/clustersidecarpolicies",
);

/// The shared control plane, with the definitions installed, and a client for it.
pub(crate) async fn plane() -> (&'static ControlPlane, Client) {
    static INSTALLED: OnceCell<()> = OnceCell::const_new();
    let plane = e2e::shared().await.unwrap();
    INSTALLED
        .get_or_init(async || plane.apply(CRDS).await.unwrap())
        .await;
    (plane, plane.client().await.unwrap())
}

/// Creates an object by a dry run with strict validation of fields.
pub(crate) async fn try_create(client: &Client, kind: Kind, body: &Value) -> Result<Value, Box<Status>> {
    let mut object = json!({
        "apiVersion": "sidewatch.dev/v1alpha1",
        "kind": kind.0,
        "metadata": { "name": "tried" },
    });
    let fields = object.as_object_mut().unwrap();
    fields.extend(body.as_object().unwrap().clone());
    let request = http::Request::post(format!("{}?dryRun=All&fieldValidation=Strict", kind.1))
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(object.to_string().into_bytes())
        .unwrap();
    match client.request::<Value>(request).await {
        Ok(object) => Ok(object),
        Err(kube::Error::Api(status)) => Err(status),
        Err(error) => panic!("request failed: {error}"),
    }
}

/// The fields and messages of a rejection, in the words of the newest Kubernetes. An unknown field is rejected before
/// validation: then there is one message without a field.
pub(crate) fn causes(status: &Status) -> Vec<(String, String)> {
    // An object with other faults has this addition: CEL cannot validate it.
    let notice = "some validation rules were not checked because the object was invalid";
    let causes = status.details.iter().flat_map(|details| &details.causes);
    let causes: Vec<_> = causes
        .filter(|cause| !cause.message.contains(notice))
        .map(|cause| {
            // The words of Kubernetes 1.30.
            let message = cause
                .message
                .replace("may not be longer than", "may not be more than");
            (cause.field.clone(), message)
        })
        .collect();
    if causes.is_empty() {
        return vec![(String::new(), status.message.clone())];
    }
    causes
}

/// A condition with a time, as JSON.
pub(crate) fn condition(kind: &str, status: &str, message: &str) -> Value {
    json!({
        "type": kind, "status": status, "reason": "Because", "message": message,
        "lastTransitionTime": "2026-01-02T03:04:05Z", "observedGeneration": 1,
    })
}

/// Words of each line that kubectl prints.
pub(crate) fn words(printed: &str) -> Vec<Vec<&str>> {
    let lines = printed.lines();
    lines.map(|line| line.split_whitespace().collect()).collect()
}
