//! Pods: whatever a status writer makes up decodes where the API's own type does, and the index lives with it.

use serde_json::{Value, json};
use sidewatch::kubernetes::decode::{
    intern::Interner,
    pod::{LeanPod, observe},
};

use super::{
    lines,
    watched::{Fact, Watched, policy},
};

/// A life of Pods in the namespace `pay`, under policies from sensitive to patient.
pub fn pods(data: &[u8]) {
    let mut interner = Interner::default();
    let mut watched = Watched::new(&[
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
        watched.pass(line.seconds);
        if line.deleted {
            watched.take(&Fact::Gone(&observation));
        } else {
            watched.take(&Fact::Pod(&observation));
            alive.push(observation);
        }
    }
    watched.pass(7200);
    watched.empty(&alive);
}

/// Everything counts, at once or after seconds.
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

/// Roles turned around.
fn odd() -> Value {
    json!({
        "mode": "Observe",
        "sidecars": {"native": "Exclude", "namePattern": ".*", "images": ["*"], "exclude": {"names": ["envoy"]}},
        "mainContainers": {"names": ["app", "worker"]},
        "events": {"onRecovery": "Disabled"},
    })
}

/// Decodes a Pod; one that the whole type can be made of must be one here too.
fn decode(json: &Value) -> Option<LeanPod> {
    let text = json.to_string();
    match serde_json::from_str(&text) {
        Ok(lean) => Some(lean),
        Err(error) => {
            let whole = serde_json::from_str::<k8s_openapi::api::core::v1::Pod>(&text);
            assert!(whole.is_err(), "{error}, but the whole type takes {text}");
            None
        }
    }
}
