//! What may be odd in a Pod beside its containers.

use serde_json::{Value, json};
use sidewatch::domain::observation::{Conditions, Phase};

use super::{Row, joined, odd, time};

/// The Pod with these conditions.
fn with_conditions(list: &Value) -> Value {
    odd(json!({"status": {"conditions": list}}))
}

pub(super) fn metadata() -> Vec<Row> {
    vec![
        (
            odd(json!({"status": {"phase": null}})),
            |pod| pod.phase == Phase::Pending,
            "a phase of null",
        ),
        (
            odd(json!({"status": {"phase": "Dreaming"}})),
            |pod| pod.phase == Phase::Unknown,
            "an unknown phase",
        ),
        (
            odd(json!({"status": {"phase": "Failed"}})),
            |pod| pod.phase == Phase::Failed,
            "a known phase",
        ),
        (
            odd(json!({"metadata": {"labels": null, "ownerReferences": null, "creationTimestamp": null}})),
            |pod| pod.created.get().is_none() && pod.workload.to_string() == "Pod/web-0",
            "metadata of null",
        ),
        (
            odd(json!({"metadata": {"labels": {"app": null}}})),
            |pod| pod.labels.get("app") == Some(""),
            "a label of null is set, to nothing",
        ),
        (
            odd(
                json!({"metadata": {"ownerReferences": [null, {}, {"kind": "Job", "name": "j", "controller": null}]}}),
            ),
            |pod| pod.workload.to_string() == "Pod/web-0",
            "owners that say nothing",
        ),
        (
            odd(json!({"metadata": {"ownerReferences": [
                {"kind": "Job", "name": "a"}, {"kind": "StatefulSet", "name": "db", "controller": true},
            ]}})),
            |pod| pod.workload.to_string() == "StatefulSet/db",
            "of several owners the controller counts",
        ),
        (
            odd(
                json!({"metadata": {"deletionTimestamp": "soon", "creationTimestamp": "2026-11-20T10:42:07Z"}}),
            ),
            |pod| pod.terminating && pod.created.get() == time(),
            "a Pod that is deleted some time",
        ),
        (
            odd(json!({"metadata": {"deletionTimestamp": null}})),
            |pod| !pod.terminating,
            "a Pod that is not deleted",
        ),
        (
            odd(
                json!({"future": [{}], "metadata": {"future": 1}, "spec": {"future": {}}, "status": {"future": "x"}}),
            ),
            |pod| joined(pod).len() == 4,
            "unknown fields",
        ),
    ]
}

pub(super) fn conditions() -> Vec<Row> {
    let ready =
        |reason: Value| with_conditions(&json!([{"type": "Ready", "status": "False", "reason": reason}]));
    vec![
        (
            ready(Value::Null),
            |pod| pod.conditions.ready_false_without_reason,
            "Ready=False, reason null",
        ),
        (
            ready(json!("")),
            |pod| pod.conditions.ready_false_without_reason,
            "Ready=False, reason empty",
        ),
        (
            ready(json!("Why")),
            |pod| !pod.conditions.ready_false_without_reason,
            "Ready=False, with a reason",
        ),
        (
            with_conditions(&json!([{"type": "Ready", "status": "Unknown"}])),
            |pod| !pod.conditions.ready_false_without_reason,
            "Ready=Unknown is not False",
        ),
        (
            with_conditions(
                &json!([null, {}, {"type": null, "status": null}, {"type": "Initialized", "status": "Perhaps"}]),
            ),
            |pod| pod.conditions == Conditions::default(),
            "conditions that say nothing known",
        ),
        (
            with_conditions(&json!([
                {"type": "ContainersReady", "status": "True", "lastTransitionTime": null},
                {"type": "PodReadyToStartContainers", "status": "False", "lastTransitionTime": "2026-11-20T10:42:07Z"},
            ])),
            |pod| {
                let (containers, sandbox) = (pod.conditions.containers_ready, pod.conditions.sandbox_ready);
                containers.is_some_and(|c| c.holds && c.since.get().is_none())
                    && sandbox.is_some_and(|c| !c.holds && c.since.get() == time())
            },
            "a transition time of null",
        ),
        (
            with_conditions(&json!([
                {"type": "Initialized", "status": "True"}, {"type": "Initialized", "status": "False"},
                {"type": "DisruptionTarget", "status": "False"}, {"type": "DisruptionTarget", "status": "True"},
            ])),
            |pod| !pod.conditions.initialized && pod.conditions.disruption_target,
            "of several conditions of one type the last holds",
        ),
    ]
}
