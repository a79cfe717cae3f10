//! Objects as the API server returns them.

use serde_json::{Value, json};

use crate::{
    kubelet::{Kind, Pod},
    policies::only,
};

/// Returns a complete list of objects of one kind, at a resource version.
pub fn list(kind: &str, version: &str, items: &[Value]) -> Value {
    let api_version = if kind.ends_with("Policy") {
        "sidewatch.dev/v1alpha1"
    } else {
        "v1"
    };
    json!({
        "kind": format!("{kind}List"), "apiVersion": api_version,
        "metadata": {"resourceVersion": version}, "items": items,
    })
}

/// Returns a Pod `pay/<name>` with a ready main container `app` and a native sidecar `proxy`.
pub fn pod(name: &str, version: &str, sidecar_ready: bool) -> Value {
    let pod = Pod::new("pay", name, 0)
        .uid(&format!("uid-{name}"))
        .container(Kind::Native, "proxy", "proxy")
        .container(Kind::Regular, "app", "app");
    let pod = if sidecar_ready {
        pod
    } else {
        pod.ready("proxy", false, 0)
    };
    let mut object = pod.object();
    object["metadata"]["resourceVersion"] = json!(version);
    object
}

/// Returns a SidecarPolicy `pay/<name>` whose MainReadySidecarNotReady fires at once. Its other checks are off.
pub fn policy(name: &str, version: &str) -> Value {
    json!({
        "kind": "SidecarPolicy", "apiVersion": "sidewatch.dev/v1alpha1",
        "metadata": {
            "name": name, "namespace": "pay", "uid": format!("uid-{name}"), "resourceVersion": version, "generation": 1,
        },
        "spec": {"checks": only("mainReadySidecarNotReady", &json!({"for": "0s", "keepFiringFor": "0s"}))},
    })
}

/// Returns the body of a failed request.
pub fn status_error(code: u16, message: &str) -> Value {
    failure(code, "", message)
}

/// Returns the body of a request that failed for this reason, or the object of an ERROR event.
pub fn failure(code: u16, reason: &str, message: &str) -> Value {
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message, "code": code,
        "reason": reason,
    })
}
