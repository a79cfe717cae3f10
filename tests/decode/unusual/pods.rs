//! Unusual fields of a Pod, except its containers.

use std::num::NonZeroU32;

use jiff::Timestamp;
use serde_json::{Value, json};
use sidewatch::domain::observation::{Conditions, Observation, Phase};

use super::{Row, joined, merge, time, unusual};

/// Returns the Pod with these conditions.
fn with_conditions(list: &Value) -> Value {
    unusual(json!({"status": {"conditions": list}}))
}

/// Returns the Pod with a condition `PodResizeInProgress` that has these fields.
fn resize(fields: Value) -> Value {
    let mut condition = json!({"type": "PodResizeInProgress"});
    merge(&mut condition, fields);
    with_conditions(&json!([condition]))
}

fn resize_of(pod: &Observation) -> Option<u32> {
    pod.conditions.resize_in_progress.map(NonZeroU32::get)
}

#[rustfmt::skip]
pub(super) fn metadata() -> Vec<Row> {
    vec![
        (unusual(json!({"status": {"phase": null}})), |pod| pod.phase == Phase::Pending, "phase is null"),
        (unusual(json!({"status": {"phase": "Dreaming"}})), |pod| pod.phase == Phase::Unknown, "an unknown phase"),
        (unusual(json!({"status": {"phase": "Failed"}})), |pod| pod.phase == Phase::Failed, "a known phase"),
        (unusual(json!({"metadata": {"labels": null, "ownerReferences": null, "creationTimestamp": null}})),
            |pod| pod.created.get().is_none() && pod.workload.to_string() == "Pod/web-0",
            "labels, owners and creation time are null"),
        (unusual(json!({"metadata": {"labels": {"app": null}}})), |pod| pod.labels.get("app") == Some(""),
            "a null label is an empty label"),
        (unusual(json!({"metadata": {"ownerReferences": [null, {}, {"kind": "Job", "name": "j", "controller": null}]}})),
            |pod| pod.workload.to_string() == "Pod/web-0", "owners without a controller"),
        (
            unusual(json!({"metadata": {"ownerReferences": [
                {"kind": "Job", "name": "a"}, {"kind": "StatefulSet", "name": "db", "controller": true},
            ]}})),
            |pod| pod.workload.to_string() == "StatefulSet/db",
            "the controller is the owner",
        ),
        (unusual(json!({"metadata": {"deletionTimestamp": "soon", "creationTimestamp": "2026-11-20T10:42:07Z"}})),
            |pod| pod.terminating && pod.created.get() == time(),
            "an invalid deletionTimestamp marks the Pod as terminating"),
        (unusual(json!({"metadata": {"deletionTimestamp": null}})), |pod| !pod.terminating, "a null deletionTimestamp"),
        (unusual(json!({"future": [{}], "metadata": {"future": 1}, "spec": {"future": {}}, "status": {"future": "x"}})),
            |pod| joined(pod).len() == 4, "unknown fields"),
    ]
}

#[rustfmt::skip]
pub(super) fn conditions() -> Vec<Row> {
    let ready =
        |reason: Value| with_conditions(&json!([{"type": "Ready", "status": "False", "reason": reason}]));
    vec![
        (ready(Value::Null), |pod| pod.conditions.ready_false_without_reason, "Ready=False with a null reason"),
        (ready(json!("")), |pod| pod.conditions.ready_false_without_reason, "Ready=False with an empty reason"),
        (ready(json!("Why")), |pod| !pod.conditions.ready_false_without_reason, "Ready=False with a reason"),
        (with_conditions(&json!([{"type": "Ready", "status": "Unknown"}])),
            |pod| !pod.conditions.ready_false_without_reason, "Ready=Unknown is not False"),
        (
            with_conditions(
                &json!([null, {}, {"type": null, "status": null}, {"type": "Initialized", "status": "Perhaps"}]),
            ),
            |pod| pod.conditions == Conditions::default(),
            "unknown conditions",
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
            "the transition time is null",
        ),
        (
            with_conditions(&json!([
                {"type": "Initialized", "status": "True"}, {"type": "Initialized", "status": "False"},
                {"type": "DisruptionTarget", "status": "False"}, {"type": "DisruptionTarget", "status": "True"},
            ])),
            |pod| !pod.conditions.initialized && pod.conditions.disruption_target,
            "the last condition of a type applies",
        ),
        (
            resize(
                json!({"status": "True", "observedGeneration": 7, "lastTransitionTime": "2026-11-20T10:42:07Z"}),
            ),
            |pod| resize_of(pod) == Some(7),
            "the generation identifies a resize",
        ),
        (
            resize(
                json!({"status": "True", "observedGeneration": null, "lastTransitionTime": "2026-11-20T10:42:07Z"}),
            ),
            |pod| resize_of(pod).map(i64::from) == time().map(Timestamp::as_second),
            "without a generation the transition time identifies a resize",
        ),
        (
            resize(json!({"status": "True"})),
            |pod| resize_of(pod).is_some(),
            "a resize without an identity",
        ),
        (
            resize(json!({"status": "False", "observedGeneration": 7})),
            |pod| resize_of(pod).is_none(),
            "no resize is in progress",
        ),
    ]
}
