//! Pods: every Pod that the type of `k8s_openapi` accepts also decodes here, and the index keeps its invariants.

use serde_json::{Value, json};
use sidewatch::kubernetes::decode::{
    intern::Interner,
    object::from_json,
    pod::{LeanPod, observe},
};

use super::{
    checked_index::{CheckedIndex, Input, policy},
    lines,
};

/// Creates, updates and deletes Pods, under policies with short, default and unusual settings.
pub fn pods(data: &[u8]) {
    let mut interner = Interner::default();
    let mut index = CheckedIndex::new(&[
        policy("usual", &json!({})),
        policy("sensitive", &sensitive()),
        policy("odd", &odd()),
    ]);
    let mut alive = Vec::new();
    for line in lines(data) {
        let Ok(json) = serde_json::from_str::<Value>(line.json) else {
            continue;
        };
        let Some(lean) = decode(&json) else { continue };
        let again = observe(lean.clone(), &mut Interner::default());
        let observed = observe(lean, &mut interner);
        assert_eq!(observed, again, "an interner makes a difference");
        let Ok(observation) = observed else { continue };
        assert_eq!(observation.statuses.len(), observation.shape.containers.len());
        index.pass(line.seconds);
        if line.deleted {
            index.take(&Input::PodDeleted(&observation));
        } else {
            index.take(&Input::Pod(&observation));
            alive.push(observation);
        }
    }
    index.pass(7200);
    index.empty(&alive);
}

/// Every limit is as short as possible.
fn sensitive() -> Value {
    json!({"checks": {
        "notReady": {"for": "0s", "keepFiringFor": "0s"},
        "mainReadySidecarNotReady": {"for": "10s", "keepFiringFor": "45s", "severity": "Critical"},
        "frequentRestarts": {"count": 1, "window": "10s", "keepFiringFor": "0s", "scope": "AllContainers"},
        "startupBlocked": {"for": "0s", "initContainersFor": "10s", "keepFiringFor": "60s"},
        "jobHeldOpen": {"for": "0s", "severity": "Info"},
        "oomKilled": {"keepFiringFor": "0s"},
        "flapping": {"count": 1, "window": "10s"},
    }, "events": {"repeatPeriod": "15m"}})
}

/// The roles of containers are swapped.
fn odd() -> Value {
    json!({
        "mode": "Observe",
        "sidecars": {"native": "Exclude", "namePattern": ".*", "images": ["*"], "exclude": {"names": ["envoy"]}},
        "mainContainers": {"names": ["app", "worker"]},
        "events": {"onRecovery": "Disabled"},
    })
}

/// Decodes a Pod. If this fails, the type of `k8s_openapi` must also refuse the Pod. `managedFields` are not decoded, and
/// clients can write times in them that the type does not support.
fn decode(json: &Value) -> Option<LeanPod> {
    let text = json.to_string();
    match from_json(text.as_bytes()) {
        Ok(lean) => Some(lean),
        Err(error) => {
            let mut reference = json.clone();
            if let Some(metadata) = reference.get_mut("metadata").and_then(Value::as_object_mut) {
                metadata.remove("managedFields");
            }
            let full = serde_json::from_value::<k8s_openapi::api::core::v1::Pod>(reference);
            assert!(full.is_err(), "{error}, but k8s_openapi accepts {text}");
            None
        }
    }
}
