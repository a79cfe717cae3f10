//! Unusual fields of a spec.

use serde_json::{Value, json};
use sidewatch::domain::observation::{ContainerKind, Observation, RestartPolicy};

use super::{APP, Row, joined, merge, status, unusual};

/// Returns the Pod with changes to container `app` of its spec.
fn container(changes: Value) -> Value {
    let mut container = json!({"name": "app", "image": "app"});
    merge(&mut container, changes);
    unusual(json!({"spec": {"containers": [container, {"name": "log", "image": "log"}]}}))
}

#[rustfmt::skip]
pub(super) fn specs() -> Vec<Row> {
    vec![
        (unusual(json!({})), |pod| joined(pod) == [Some(0), Some(1), Some(2), Some(3)], "no change"),
        (
            unusual(json!({})),
            |pod| {
                let kinds: Vec<_> = pod
                    .shape
                    .containers
                    .iter()
                    .map(|container| container.kind)
                    .collect();
                kinds
                    == [
                        ContainerKind::Init,
                        ContainerKind::Native,
                        ContainerKind::Regular,
                        ContainerKind::Regular,
                    ]
            },
            "an init container with restartPolicy Always is native",
        ),
        (unusual(json!({"spec": null, "status": null})), |pod| pod.shape.containers.is_empty(), "no spec and no status"),
        (unusual(json!({"spec": {"containers": null, "initContainers": null}})), |pod| pod.stray_statuses == 4,
            "the lists of containers are null"),
        (unusual(json!({"spec": {"containers": [null, {"name": "app", "image": null}, {}]}})),
            |pod| joined(pod) == [Some(0), Some(1), Some(2), None],
            "containers that are null, without an image, or empty"),
        (unusual(json!({"spec": {"containers": [{"image": "a"}, {"name": null}, {"name": ""}, {"name": "app"}]}})),
            |pod| joined(pod)[2..] == [None, None, None, Some(2)], "containers without a name have no status"),
        (unusual(json!({"spec": {"containers": [{"name": "app"}, {"name": "app"}]}})),
            |pod| joined(pod)[2..] == [Some(2), None], "the first of two containers with the same name has the status"),
        (
            unusual(
                json!({"spec": {"ephemeralContainers": [{"name": "debug"}]}, "status": {
                    "ephemeralContainerStatuses": [status("debug", 9)],
                }}),
            ),
            |pod| pod.shape.containers.len() == 4 && pod.stray_statuses == 0,
            "ephemeral containers are ignored",
        ),
        (unusual(json!({"spec": {"nodeName": null}})), |pod| !pod.scheduled, "nodeName is null"),
        (unusual(json!({"spec": {"nodeName": ""}})), |pod| !pod.scheduled, "nodeName is empty"),
        (unusual(json!({"spec": {"restartPolicy": "Sometimes"}})), |pod| pod.shape.restart_policy == RestartPolicy::Always,
            "an unknown restart policy of a Pod is the default"),
        (unusual(json!({"spec": {"restartPolicy": "Never"}})), |pod| pod.shape.restart_policy == RestartPolicy::Never,
            "a known restart policy of a Pod"),
        (
            unusual(json!({"spec": {"initContainers": [{"name": "proxy", "restartPolicy": "Sometimes"}]}})),
            |pod| {
                let proxy = &pod.shape.containers[0];
                proxy.kind == ContainerKind::Init && proxy.restart_policy.is_none()
            },
            "an unknown restart policy of an init container does not make it native",
        ),
        (unusual(json!({"spec": {"initContainers": [{"name": "proxy", "restartPolicy": "OnFailure"}]}})),
            |pod| pod.shape.containers[0].kind == ContainerKind::Init, "only Always makes an init container native"),
    ]
}

pub(super) fn containers() -> Vec<Row> {
    vec![
        (
            container(json!({"restartPolicy": "Always"})),
            |pod| pod.shape.containers[APP].kind == ContainerKind::Regular,
            "a regular container with restartPolicy Always is not a native sidecar",
        ),
        (
            container(json!({"readinessProbe": {}, "livenessProbe": null, "startupProbe": {"odd": [null]}})),
            |pod| {
                let probes = pod.shape.containers[APP].probes;
                probes.readiness && !probes.liveness && probes.startup
            },
            "a probe exists unless it is null",
        ),
        (
            container(json!({"lifecycle": {"postStart": {"exec": null}, "preStop": null}})),
            |pod| pod.shape.containers[APP].has_post_start,
            "a postStart hook exists unless it is null",
        ),
        (
            container(json!({"lifecycle": {"postStart": null, "preStop": {"sleep": {"seconds": 1}}}})),
            |pod| !pod.shape.containers[APP].has_post_start,
            "a preStop hook is not a postStart hook",
        ),
        (
            container(json!({"lifecycle": null, "resizePolicy": null})),
            |pod| {
                let app = &pod.shape.containers[APP];
                !app.has_post_start && !app.restarts_on_resize
            },
            "lifecycle and resizePolicy are null",
        ),
        (
            container(json!({"resizePolicy": [
                null,
                {"resourceName": "cpu", "restartPolicy": "NotRequired"},
                {"resourceName": "memory", "restartPolicy": "RestartContainer"},
            ]})),
            |pod| pod.shape.containers[APP].restarts_on_resize,
            "a resize of one resource restarts the container",
        ),
        (
            container(json!({"resizePolicy": [{"resourceName": "cpu", "restartPolicy": "NotRequired"}, {}]})),
            |pod| !pod.shape.containers[APP].restarts_on_resize,
            "no resize restarts the container",
        ),
        (
            container(json!({"resources": {"limits": {"memory": "64Mi", "cpu": 2}}})),
            |pod| pod.shape.containers[APP].memory_limit.as_deref() == Some("64Mi"),
            "only the memory limit is read",
        ),
        (
            container(json!({"resources": {"limits": null}})),
            |pod| pod.shape.containers[APP].memory_limit.is_none(),
            "limits are null",
        ),
    ]
}

#[rustfmt::skip]
pub(super) fn rules() -> Vec<Row> {
    let with = |rules: Value| container(json!({"restartPolicy": "Never", "restartPolicyRules": rules}));
    let rule = |action: &str, operator: &str| {
        with(json!([{"action": action, "exitCodes": {"operator": operator, "values": [42, 43]}}]))
    };
    vec![
        (rule("Restart", "In"), |pod| !is_final(pod, 42) && is_final(pod, 1), "a rule restarts the listed exit codes"),
        (rule("RestartAllContainers", "In"), |pod| !is_final(pod, 43),
            "a rule restarts all containers for the listed exit codes"),
        (rule("Restart", "NotIn"), |pod| is_final(pod, 42) && !is_final(pod, 1),
            "a rule restarts all other exit codes"),
        (rule("Reboot", "In"), |pod| is_final(pod, 42), "a rule with an unknown action is ignored"),
        (rule("Restart", "Near"), |pod| is_final(pod, 42), "a rule with an unknown operator is ignored"),
        (with(Value::Null), |pod| is_final(pod, 42), "rules are null"),
        (with(json!([null, {}, {"action": "Restart"}])), |pod| is_final(pod, 42),
            "a rule without exit codes is ignored"),
        (with(json!([{"action": "Restart", "exitCodes": {"operator": "In", "values": [null, 42, 1e30]}}])),
            |pod| !is_final(pod, 42) && is_final(pod, 0), "values that are not exit codes are ignored"),
    ]
}

fn is_final(pod: &Observation, code: i32) -> bool {
    pod.shape.containers[APP].is_final(code, pod.shape.restart_policy)
}
