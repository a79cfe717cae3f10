//! Objects as the API server returns them.

use serde_json::{Value, json};

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
    let status = |name: &str, ready: bool| {
        json!({
            "name": name, "ready": ready, "started": true, "restartCount": 0, "image": "i", "imageID": "",
            "containerID": format!("containerd://{name}"), "state": {"running": {"startedAt": "2026-11-20T10:00:00Z"}},
        })
    };
    let condition = |kind: &str, holds: bool| {
        let mut condition = json!({
            "type": kind, "status": if holds { "True" } else { "False" }, "lastTransitionTime": "2026-11-20T10:00:00Z",
        });
        if !holds {
            condition["reason"] = json!("ContainersNotReady");
        }
        condition
    };
    json!({
        "kind": "Pod", "apiVersion": "v1",
        "metadata": {
            "name": name, "namespace": "pay", "uid": format!("uid-{name}"), "resourceVersion": version,
            "creationTimestamp": "2026-11-20T09:59:00Z",
        },
        "spec": {
            "nodeName": "n1",
            "initContainers": [{"name": "proxy", "image": "proxy", "restartPolicy": "Always", "readinessProbe": {}}],
            "containers": [{"name": "app", "image": "app"}],
        },
        "status": {
            "phase": "Running",
            "conditions": [
                condition("Initialized", true),
                condition("PodReadyToStartContainers", true),
                condition("ContainersReady", sidecar_ready),
                condition("Ready", sidecar_ready),
            ],
            "initContainerStatuses": [status("proxy", sidecar_ready)],
            "containerStatuses": [status("app", true)],
        },
    })
}

/// Returns a SidecarPolicy `pay/<name>` whose MainReadySidecarNotReady fires at once. Its other checks are off.
pub fn policy(name: &str, version: &str) -> Value {
    let off = json!({"mode": "Off"});
    json!({
        "kind": "SidecarPolicy", "apiVersion": "sidewatch.dev/v1alpha1",
        "metadata": {
            "name": name, "namespace": "pay", "uid": format!("uid-{name}"), "resourceVersion": version, "generation": 1,
        },
        "spec": {"checks": {
            "mainReadySidecarNotReady": {"for": "0s", "keepFiringFor": "0s"},
            "notReady": off, "frequentRestarts": off, "startupBlocked": off, "jobHeldOpen": off, "oomKilled": off,
            "flapping": off,
        }},
    })
}

/// Returns the body of a failed request.
pub fn status_error(code: u16, message: &str) -> Value {
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message, "code": code,
        "reason": "",
    })
}
