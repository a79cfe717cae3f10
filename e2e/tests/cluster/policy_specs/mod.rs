//! The schemas of both kinds of policy before the real API server: what it refuses and says, what it takes and fills in,
//! and what kubectl makes of it.

mod coverage;
mod invalid;
mod presentation;
mod status;
mod valid;

use e2e::ControlPlane;
use kube::Client;
use kube::core::Status;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

/// The definitions as people apply them.
const CRDS: &str = concat!(
    include_str!("../../../../crds/sidewatch.dev_sidecarpolicies.yaml"),
    include_str!("../../../../crds/sidewatch.dev_clustersidecarpolicies.yaml"),
);

/// The kinds, each with the path of its collection in the namespace `default`.
const SIDECAR_POLICY: (&str, &str) = (
    "SidecarPolicy",
    "/apis/sidewatch.dev/v1alpha1/namespaces/default/sidecarpolicies",
);
const CLUSTER_SIDECAR_POLICY: (&str, &str) = (
    "ClusterSidecarPolicy",
    "/apis/sidewatch.dev/v1alpha1/clustersidecarpolicies",
);

/// The shared control plane, with the definitions installed, and a client for it.
async fn plane() -> (&'static ControlPlane, Client) {
    static INSTALLED: OnceCell<()> = OnceCell::const_new();
    let plane = e2e::shared().await.unwrap();
    INSTALLED
        .get_or_init(async || plane.apply(CRDS).await.unwrap())
        .await;
    (plane, plane.client().await.unwrap())
}

/// Asks the API server what it would make of a new object, unknown fields forbidden; nothing is stored.
async fn try_create(client: &Client, kind: (&str, &str), body: &Value) -> Result<Value, Box<Status>> {
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
        Err(error) => panic!("the API server does not answer: {error}"),
    }
}
