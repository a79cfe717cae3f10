//! Policies: every stored object becomes a policy or an error message, and does not affect other policies.

use kube::core::DeserializeGuard;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sidewatch::{
    api::{ClusterSidecarPolicy, SidecarPolicy},
    domain::{observation::Observation, policy::PolicyUpdate},
    kubernetes::decode::{
        intern::Interner,
        pod::observe,
        policy::{PolicyObject, policy_update},
    },
};

use super::{
    checked_index::{CheckedIndex, Fact, policy},
    lines,
};

/// Creates, edits and deletes policies. Another policy must not be affected.
pub fn policies(data: &[u8]) {
    let bystander = policy("bystander", &json!({"checks": {"notReady": {"for": "1m"}}}));
    let mut index = CheckedIndex::new(std::slice::from_ref(&bystander));
    let mut alone = CheckedIndex::new(std::slice::from_ref(&bystander));
    let pods = examples();
    for pod in &pods {
        index.take(&Fact::Pod(pod));
        alone.take(&Fact::Pod(pod));
    }
    for line in lines(data) {
        let Ok(json) = serde_json::from_str::<Value>(line.json) else {
            continue;
        };
        let update = if json["kind"] == "ClusterSidecarPolicy" {
            decode::<ClusterSidecarPolicy>(&json)
        } else {
            decode::<SidecarPolicy>(&json)
        };
        let Some(update) = update.filter(|update| update.key != bystander.key) else {
            continue;
        };
        index.pass(line.seconds);
        alone.pass(line.seconds);
        if line.deleted {
            index.take(&Fact::PolicyDeleted(&update.key));
        } else {
            let before = index.report(&update.key);
            index.take(&Fact::Policy(&update));
            if let (Err(_), Some(before)) = (&update.spec, before) {
                let after = index.report(&update.key).unwrap();
                assert_eq!(
                    before.summary, after.summary,
                    "an invalid version changes the evaluation"
                );
                assert_eq!(
                    before.violations, after.violations,
                    "an invalid version changes the violations"
                );
            }
        }
        assert_eq!(
            index.report(&bystander.key),
            alone.report(&bystander.key),
            "a policy affects another: {json}"
        );
    }
    index.pass(7200);
    index.empty(&pods);
}

/// Decodes an object as the watch does, or `None` if the list that contains it would fail.
fn decode<K: PolicyObject + DeserializeOwned>(json: &Value) -> Option<PolicyUpdate> {
    let object = serde_json::from_value::<DeserializeGuard<K>>(json.clone()).ok()?;
    let update = policy_update(&object).ok()?;
    if let Err(error) = &update.spec {
        let message = error.to_string();
        assert!(!message.is_empty() && message.len() < 100_000, "{message}");
    }
    Some(update)
}

/// Returns two Pods with several faults, and one Pod without a fault.
fn examples() -> Vec<Observation> {
    let mut interner = Interner::default();
    let mut pod = |name: &str, labels: Value, init: Value, regular: Value, statuses: Value| {
        let pod = json!({
            "metadata": {"name": name, "namespace": "pay", "uid": format!("uid-of-{name}"), "labels": labels,
                "creationTimestamp": "2026-11-21T09:40:00Z"},
            "spec": {"nodeName": "n", "restartPolicy": "OnFailure", "initContainers": init, "containers": regular},
            "status": {"phase": "Running", "containerStatuses": statuses, "conditions": [
                {"type": "Initialized", "status": "True"},
                {"type": "ContainersReady", "status": "False", "lastTransitionTime": "2026-11-21T09:45:00Z"},
            ]},
        });
        observe(serde_json::from_value(pod).unwrap(), &mut interner).unwrap()
    };
    let container = |name: &str, policy: Value| json!({"name": name, "image": name, "restartPolicy": policy});
    let status = |name: &str, ready: bool, restarts: u32, state: Value| {
        let exit = json!({"exitCode": 137, "reason": "OOMKilled", "containerID": format!("c://{name}"),
            "startedAt": "2026-11-21T09:44:00Z", "finishedAt": "2026-11-21T09:45:00Z"});
        let last = if restarts > 0 {
            json!({"terminated": exit})
        } else {
            Value::Null
        };
        json!({"name": name, "ready": ready, "started": ready, "restartCount": restarts, "state": state, "lastState": last})
    };
    let running = || json!({"running": {"startedAt": "2026-11-21T09:45:00Z"}});
    let done = json!({"terminated": {"exitCode": 0, "finishedAt": "2026-11-21T09:46:00Z"}});
    let waiting = json!({"waiting": {"reason": "CrashLoopBackOff"}});
    vec![
        pod(
            "web-1",
            json!({"app": "web", "team": "a"}),
            json!([container("istio-proxy", json!("Always"))]),
            json!([container("app", Value::Null), container("helper", Value::Null)]),
            json!([
                status("istio-proxy", false, 0, running()),
                status("app", true, 0, running()),
                status("helper", false, 5, waiting)
            ]),
        ),
        pod(
            "job-1",
            json!({"app": "job"}),
            json!([]),
            json!([
                container("main", Value::Null),
                container("fluent-bit", Value::Null)
            ]),
            json!([
                status("main", false, 0, done),
                status("fluent-bit", true, 1, running())
            ]),
        ),
        pod(
            "fine-1",
            json!({}),
            json!([]),
            json!([container("app", Value::Null), container("envoy", Value::Null)]),
            json!([
                status("app", true, 0, running()),
                status("envoy", true, 0, running())
            ]),
        ),
    ]
}
