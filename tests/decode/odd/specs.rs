//! What may be odd in a spec.

use serde_json::{Value, json};
use sidewatch::domain::observation::{ContainerKind, Observation, RestartPolicy};

use super::{APP, Row, joined, merge, odd, status};

/// The Pod with changes to container `app` of its spec.
fn container(changes: Value) -> Value {
    let mut container = json!({"name": "app", "image": "app"});
    merge(&mut container, changes);
    odd(json!({"spec": {"containers": [container, {"name": "log", "image": "log"}]}}))
}

pub(super) fn specs() -> Vec<Row> {
    vec![
        (
            odd(json!({})),
            |pod| joined(pod) == [Some(0), Some(1), Some(2), Some(3)],
            "nothing odd",
        ),
        (
            odd(json!({})),
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
        (
            odd(json!({"spec": null, "status": null})),
            |pod| pod.shape.containers.is_empty(),
            "no spec, no status",
        ),
        (
            odd(json!({"spec": {"containers": null, "initContainers": null}})),
            |pod| pod.stray_statuses == 4,
            "lists of containers that are null",
        ),
        (
            odd(json!({"spec": {"containers": [null, {"name": "app", "image": null}, {}]}})),
            |pod| joined(pod) == [Some(0), Some(1), Some(2), None],
            "containers that are null, have no image, have nothing at all",
        ),
        (
            odd(
                json!({"spec": {"containers": [{"image": "a"}, {"name": null}, {"name": ""}, {"name": "app"}]}}),
            ),
            |pod| joined(pod)[2..] == [None, None, None, Some(2)],
            "containers without a name have no status",
        ),
        (
            odd(json!({"spec": {"containers": [{"name": "app"}, {"name": "app"}]}})),
            |pod| joined(pod)[2..] == [Some(2), None],
            "of two containers with one name the first has the status",
        ),
        (
            odd(
                json!({"spec": {"ephemeralContainers": [{"name": "debug"}]}, "status": {
                    "ephemeralContainerStatuses": [status("debug", 9)],
                }}),
            ),
            |pod| pod.shape.containers.len() == 4 && pod.stray_statuses == 0,
            "ephemeral containers are not there",
        ),
        (
            odd(json!({"spec": {"nodeName": null}})),
            |pod| !pod.scheduled,
            "nodeName null",
        ),
        (
            odd(json!({"spec": {"nodeName": ""}})),
            |pod| !pod.scheduled,
            "nodeName empty",
        ),
        (
            odd(json!({"spec": {"restartPolicy": "Sometimes"}})),
            |pod| pod.shape.restart_policy == RestartPolicy::Always,
            "an unknown restart policy of a Pod is the default",
        ),
        (
            odd(json!({"spec": {"restartPolicy": "Never"}})),
            |pod| pod.shape.restart_policy == RestartPolicy::Never,
            "a known one is itself",
        ),
        (
            odd(json!({"spec": {"initContainers": [{"name": "proxy", "restartPolicy": "Sometimes"}]}})),
            |pod| {
                let proxy = &pod.shape.containers[0];
                proxy.kind == ContainerKind::Init && proxy.restart_policy.is_none()
            },
            "an unknown restart policy of an init container does not make it native",
        ),
        (
            odd(json!({"spec": {"initContainers": [{"name": "proxy", "restartPolicy": "OnFailure"}]}})),
            |pod| pod.shape.containers[0].kind == ContainerKind::Init,
            "nor does any but Always",
        ),
    ]
}

pub(super) fn containers() -> Vec<Row> {
    vec![
        (
            container(json!({"restartPolicy": "Always"})),
            |pod| pod.shape.containers[APP].kind == ContainerKind::Regular,
            "a regular container with restartPolicy Always is no native sidecar",
        ),
        (
            container(json!({"readinessProbe": {}, "livenessProbe": null, "startupProbe": {"odd": [null]}})),
            |pod| {
                let probes = pod.shape.containers[APP].probes;
                probes.readiness && !probes.liveness && probes.startup
            },
            "a probe is there unless it is null",
        ),
        (
            container(json!({"resources": {"limits": {"memory": "64Mi", "cpu": 2}}})),
            |pod| pod.shape.containers[APP].memory_limit.as_deref() == Some("64Mi"),
            "only the limit of memory is read",
        ),
        (
            container(json!({"resources": {"limits": null}})),
            |pod| pod.shape.containers[APP].memory_limit.is_none(),
            "limits of null",
        ),
    ]
}

pub(super) fn rules() -> Vec<Row> {
    let with = |rules: Value| container(json!({"restartPolicy": "Never", "restartPolicyRules": rules}));
    let rule = |action: &str, operator: &str| {
        with(json!([{"action": action, "exitCodes": {"operator": operator, "values": [42, 43]}}]))
    };
    vec![
        (
            rule("Restart", "In"),
            |pod| !is_final(pod, 42) && is_final(pod, 1),
            "restart these exit codes",
        ),
        (
            rule("RestartAllContainers", "In"),
            |pod| !is_final(pod, 43),
            "restart them with all containers",
        ),
        (
            rule("Restart", "NotIn"),
            |pod| is_final(pod, 42) && !is_final(pod, 1),
            "restart all other exit codes",
        ),
        (
            rule("Reboot", "In"),
            |pod| is_final(pod, 42),
            "an unknown action is no rule",
        ),
        (
            rule("Restart", "Near"),
            |pod| is_final(pod, 42),
            "an unknown operator is no rule",
        ),
        (with(Value::Null), |pod| is_final(pod, 42), "rules of null"),
        (
            with(json!([null, {}, {"action": "Restart"}])),
            |pod| is_final(pod, 42),
            "rules without exit codes",
        ),
        (
            with(json!([{"action": "Restart", "exitCodes": {"operator": "In", "values": [null, 42, 1e30]}}])),
            |pod| !is_final(pod, 42) && is_final(pod, 0),
            "values that are no exit codes",
        ),
    ]
}

fn is_final(pod: &Observation, code: i32) -> bool {
    pod.shape.containers[APP].is_final(code, pod.shape.restart_policy)
}
