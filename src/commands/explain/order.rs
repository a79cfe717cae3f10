//! The order in which the containers of a Pod start and stop.
//!
//! Sources: KEP-753 (native sidecars), and the recordings of a real kubelet in `tests/traces`.

use serde::Serialize;
use serde_json::Value;

use crate::domain::observation::{Container, ContainerKind, Shape};

/// The default of `terminationGracePeriodSeconds`.
const GRACE_PERIOD: i64 = 30;

/// A step of the start or of the stop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Step {
    /// The containers that start or stop in this step.
    pub(super) containers: Vec<String>,
    /// The event for which the next step waits.
    pub(super) then: String,
}

/// Returns the steps in which the containers start.
pub(super) fn start(shape: &Shape) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut regular: Vec<String> = Vec::new();
    for container in &shape.containers {
        let name = container.name.to_string();
        match container.kind {
            ContainerKind::Init => steps.push(Step {
                containers: vec![name],
                then: "the next container starts when it has exited with code 0".to_owned(),
            }),
            ContainerKind::Native => steps.push(Step {
                containers: vec![name],
                then: format!(
                    "the next container starts when {}; it need not be ready",
                    started(container)
                ),
            }),
            ContainerKind::Regular => {
                regular.push(name.clone());
                if container.has_post_start {
                    steps.push(Step {
                        containers: std::mem::take(&mut regular),
                        then: format!(
                            "the next container starts when the postStart hook of '{name}' has returned"
                        ),
                    });
                }
            }
        }
    }
    if !regular.is_empty() {
        steps.push(Step {
            containers: regular,
            then: "they start one after the other, without waiting for probes".to_owned(),
        });
    }
    if let Some(last) = steps.last_mut().filter(|last| last.then.starts_with("the next")) {
        "nothing waits for it".clone_into(&mut last.then);
    }
    steps
}

/// Says when a native sidecar counts as started.
fn started(container: &Container) -> &'static str {
    match (container.probes.startup, container.has_post_start) {
        (true, true) => "its startup probe has passed and its postStart hook has returned",
        (true, false) => "its startup probe has passed",
        (false, true) => "its postStart hook has returned",
        (false, false) => "its process runs, because it has no startup probe and no postStart hook",
    }
}

/// Returns the steps in which the containers of a deleted Pod stop. `pod` is the Pod of `shape`.
pub(super) fn stop(shape: &Shape, pod: &Value) -> Vec<Step> {
    let names = |kind: ContainerKind| -> Vec<String> {
        let of_kind = shape.containers.iter().filter(|container| container.kind == kind);
        of_kind.map(|container| container.name.to_string()).collect()
    };
    let mut steps = Vec::new();
    let hooks = hooks(shape, pod);
    if !hooks.is_empty() {
        steps.push(Step {
            containers: hooks,
            then: "their preStop hooks run at the same time, and count towards the grace period; a container receives SIGTERM \
                   also after a hook that failed"
                .to_owned(),
        });
    }
    let natives = names(ContainerKind::Native);
    steps.push(Step {
        containers: names(ContainerKind::Regular),
        then: if natives.is_empty() {
            "they receive SIGTERM at the same time".to_owned()
        } else {
            "they receive SIGTERM at the same time; the native sidecars keep running until all of them have exited".to_owned()
        },
    });
    for name in natives.into_iter().rev() {
        steps.push(Step {
            containers: vec![name],
            then: "it receives SIGTERM after the containers before it in this list have exited".to_owned(),
        });
    }
    steps.push(Step {
        containers: Vec::new(),
        then: deadline(pod),
    });
    steps
}

/// Says when the kubelet kills what still runs.
fn deadline(pod: &Value) -> String {
    if let Some(at) = pod.pointer("/metadata/deletionTimestamp").and_then(Value::as_str) {
        return format!("what still runs at {at} is killed (deletionTimestamp)");
    }
    let grace = pod.pointer("/spec/terminationGracePeriodSeconds");
    let grace = grace.and_then(Value::as_i64).unwrap_or(GRACE_PERIOD);
    format!("what still runs {grace} s after the deletion is killed (terminationGracePeriodSeconds)")
}

/// Returns the names of the containers with a preStop hook. Plain init containers have none, whatever a manifest says.
fn hooks(shape: &Shape, pod: &Value) -> Vec<String> {
    let lists = ["/spec/initContainers", "/spec/containers"]
        .into_iter()
        .filter_map(|list| pod.pointer(list)?.as_array());
    let can_have = |name: &&str| {
        let container = shape
            .containers
            .iter()
            .find(|container| *container.name == **name);
        container.is_some_and(|container| container.kind != ContainerKind::Init)
    };
    let with_hook = lists.flatten().filter(|container| {
        container
            .pointer("/lifecycle/preStop")
            .is_some_and(|hook| !hook.is_null())
    });
    with_hook
        .filter_map(|container| container.get("name")?.as_str())
        .filter(can_have)
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kubernetes::decode::{intern::Interner, pod::observe};

    fn shape(spec: &Value) -> std::sync::Arc<Shape> {
        let pod = json!({"metadata": {"name": "web", "namespace": "shop", "uid": "1"}, "spec": spec});
        observe(serde_json::from_value(pod).unwrap(), &mut Interner::default())
            .unwrap()
            .shape
    }

    fn lines(steps: &[Step]) -> Vec<String> {
        let line = |step: &Step| format!("{}: {}", step.containers.join(" "), step.then);
        steps.iter().map(line).collect()
    }

    #[test]
    fn containers_start_in_the_order_of_the_kubelet() {
        let spec = json!({
            "initContainers": [
                {"name": "setup"},
                {"name": "proxy", "restartPolicy": "Always", "startupProbe": {"exec": {}}},
                {"name": "logs", "restartPolicy": "Always"},
            ],
            "containers": [{"name": "hold", "lifecycle": {"postStart": {"exec": {}}}}, {"name": "a"}, {"name": "b"}],
        });
        assert_eq!(
            lines(&start(&shape(&spec))),
            [
                "setup: the next container starts when it has exited with code 0",
                "proxy: the next container starts when its startup probe has passed; it need not be ready",
                "logs: the next container starts when its process runs, because it has no startup probe and no postStart \
                 hook; it need not be ready",
                "hold: the next container starts when the postStart hook of 'hold' has returned",
                "a b: they start one after the other, without waiting for probes",
            ]
        );
        let only = json!({"containers": [{"name": "a", "lifecycle": {"postStart": {"exec": {}}}}]});
        assert_eq!(lines(&start(&shape(&only))), ["a: nothing waits for it"]);
    }

    #[test]
    fn native_sidecars_stop_last_and_in_reverse_order() {
        let spec = json!({
            "terminationGracePeriodSeconds": 60,
            "initContainers": [
                {"name": "proxy", "restartPolicy": "Always", "lifecycle": {"preStop": {"sleep": {"seconds": 5}}}},
                {"name": "setup", "lifecycle": {"preStop": {"sleep": {"seconds": 5}}}},
                {"name": "logs", "restartPolicy": "Always"},
            ],
            "containers": [{"name": "app"}],
        });
        let steps = stop(&shape(&spec), &json!({"spec": spec}));
        let order: Vec<String> = steps.iter().map(|step| step.containers.join(" ")).collect();
        assert_eq!(order, ["proxy", "app", "logs", "proxy", ""]);
        assert!(steps[4].then.contains("60 s after"), "{steps:?}");
        let plain = json!({"containers": [{"name": "app"}]});
        let steps = stop(&shape(&plain), &json!({"spec": plain}));
        assert_eq!(steps.len(), 2);
        assert!(steps[1].then.contains("30 s after"), "{steps:?}");
        let deleted = json!({"metadata": {"deletionTimestamp": "2026-11-20T10:00:30Z"}, "spec": plain});
        let steps = stop(&shape(&plain), &deleted);
        assert!(steps[1].then.contains("at 2026-11-20T10:00:30Z"), "{steps:?}");
    }
}
