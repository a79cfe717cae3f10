//! Unusual Pods: fields that are missing, null, repeated or invalid.

mod pods;
mod specs;
mod statuses;

use jiff::Timestamp;
use kube::core::{ObjectList, WatchEvent};
use serde_json::{Value, json};
use sidewatch::{
    domain::observation::Observation,
    kubernetes::decode::{
        MissingIdentity,
        intern::Interner,
        pod::{LeanPod, observe},
    },
};

fn decoded(pod: &Value) -> Result<Observation, MissingIdentity> {
    // The Pod passes through text, as from the API server.
    let pod: LeanPod =
        serde_json::from_str(&pod.to_string()).unwrap_or_else(|error| panic!("{error}: {pod}"));
    observe(pod, &mut Interner::default())
}

/// Returns a Pod with a plain init container, a native sidecar and two regular containers, with `changes` merged in.
fn unusual(changes: Value) -> Value {
    let mut pod = json!({
        "metadata": {"name": "web-0", "namespace": "pay", "uid": "u-0"},
        "spec": {
            "nodeName": "node1",
            "initContainers": [
                {"name": "setup", "image": "setup"}, {"name": "proxy", "image": "envoy", "restartPolicy": "Always"},
            ],
            "containers": [{"name": "app", "image": "app"}, {"name": "log", "image": "log"}],
        },
        "status": {
            "phase": "Running",
            "initContainerStatuses": [status("setup", 0), status("proxy", 1)],
            "containerStatuses": [status("app", 2), status("log", 3)],
        },
    });
    merge(&mut pod, changes);
    pod
}

/// Returns a container status. Its `restartCount` identifies it.
fn status(name: &str, restarts: u32) -> Value {
    json!({"name": name, "ready": true, "restartCount": restarts, "state": {"running": {}}})
}

/// Merges objects key by key. Any other value, also null, replaces the old value.
fn merge(into: &mut Value, changes: Value) {
    match (into, changes) {
        (Value::Object(into), Value::Object(changes)) => {
            for (key, change) in changes {
                merge(into.entry(key).or_insert(Value::Null), change);
            }
        }
        (into, change) => *into = change,
    }
}

/// Returns the `restartCount` of each status, in the order of the spec.
fn joined(pod: &Observation) -> Vec<Option<u32>> {
    pod.statuses
        .iter()
        .map(|status| status.as_ref().map(|status| status.restart_count))
        .collect()
}

type Row = (Value, fn(&Observation) -> bool, &'static str);

/// The index of container `app` in the spec.
const APP: usize = 2;

/// Returns the Pod with these changes in the status of container `app`.
fn app(changes: Value) -> Value {
    let mut app = status("app", 2);
    merge(&mut app, changes);
    unusual(json!({"status": {"containerStatuses": [app, status("log", 3)]}}))
}

fn time() -> Option<Timestamp> {
    "2026-11-20T10:42:07Z".parse().ok()
}

fn all() -> Vec<Row> {
    let rows = [
        specs::specs(),
        specs::containers(),
        specs::rules(),
        statuses::joins(),
        statuses::statuses(),
        statuses::last_states(),
        pods::metadata(),
        pods::conditions(),
        vec![statuses::thousand()],
    ];
    rows.into_iter().flatten().collect()
}

#[test]
fn an_unusual_pod_decodes_to_the_expected_values() {
    for (pod, holds, why) in all() {
        let observation = decoded(&pod).unwrap();
        assert!(holds(&observation), "{why}: {observation:?}");
    }
}

fn without_identity() -> Vec<(Value, &'static str, &'static str)> {
    vec![
        (unusual(json!({"metadata": null})), "name", "metadata is null"),
        (json!({}), "name", "an empty object"),
        (
            unusual(json!({"metadata": {"name": null}})),
            "name",
            "name is null",
        ),
        (
            unusual(json!({"metadata": {"name": ""}})),
            "name",
            "an empty name",
        ),
        (unusual(json!({"metadata": {"uid": null}})), "uid", "uid is null"),
        (unusual(json!({"metadata": {"uid": ""}})), "uid", "an empty uid"),
        (
            unusual(json!({"metadata": {"namespace": null}})),
            "namespace",
            "namespace is null",
        ),
    ]
}

#[test]
fn a_pod_without_an_identity_is_an_error() {
    for (pod, missing, why) in without_identity() {
        assert_eq!(decoded(&pod).unwrap_err().missing, missing, "{why}");
    }
    let error = decoded(&unusual(json!({"metadata": {"uid": null}}))).unwrap_err();
    assert_eq!(error.to_string(), "Pod \"pay\"/\"web-0\" has no metadata.uid");
}

#[test]
fn an_invalid_pod_does_not_stop_the_rest_of_its_page() {
    let good: Vec<Value> = all().into_iter().map(|(pod, ..)| pod).collect();
    let bad: Vec<Value> = without_identity().into_iter().map(|(pod, ..)| pod).collect();
    let items: Vec<_> = bad.iter().chain(&good).collect();
    let page = json!({
        "apiVersion": "v1", "kind": "PodList", "metadata": {"resourceVersion": "9", "continue": "c"}, "items": items,
    });
    let page: ObjectList<LeanPod> = serde_json::from_str(&page.to_string()).unwrap();
    let mut interner = Interner::default();
    let observed = page.items.into_iter().map(|pod| observe(pod, &mut interner));
    let (read, skipped): (Vec<_>, Vec<_>) = observed.partition(Result::is_ok);
    assert_eq!((read.len(), skipped.len()), (good.len(), bad.len()));
    let empty: ObjectList<LeanPod> =
        serde_json::from_value(json!({"kind": "PodList", "metadata": {}, "items": null})).unwrap();
    assert!(empty.items.is_empty(), "null items are an empty list");
}

#[test]
fn a_watch_event_contains_a_pod() {
    let event = json!({"type": "MODIFIED", "object": unusual(json!({}))});
    match serde_json::from_str(&event.to_string()).unwrap() {
        WatchEvent::<LeanPod>::Modified(pod) => assert_eq!(pod.identity().unwrap().name, "web-0"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn json_of_another_type_is_an_error_and_no_panic() {
    let table = [
        (
            unusual(json!({"spec": {"containers": 7}})),
            "expected a list or null",
        ),
        (
            unusual(json!({"spec": {"nodeName": 7}})),
            "expected a string or null",
        ),
        (app(json!({"restartCount": "many"})), "expected a number or null"),
        (app(json!({"ready": "yes"})), "expected a boolean"),
    ];
    for (pod, expected) in table {
        let error = serde_json::from_str::<LeanPod>(&pod.to_string())
            .unwrap_err()
            .to_string();
        assert!(error.contains(expected), "{error}");
    }
}
