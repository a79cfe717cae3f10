//! The fields of a Pod that a recording contains. All other fields are left out, so that a recording can be attached to a
//! bug report: no environment variables, commands, arguments, other annotations, headers of probes, volumes, addresses, messages.
//!
//! The list contains all fields that the evaluation reads, and those that help to understand a Pod. `docs/recordings.md`
//! describes them for users.

use serde_json::{Map, Value};

/// A field to keep.
enum Keep {
    /// A number, a string or a boolean. A list or an object is left out.
    Scalar,
    /// A list of scalars.
    Scalars,
    /// An object whose keys are chosen by users and whose values are scalars, such as labels.
    Map,
    /// The presence of an object, whose content is left out.
    Present,
    /// Some fields of an object, or of each object of a list.
    Fields(&'static [(&'static str, Keep)]),
}

use Keep::{Fields, Map as MapOf, Present, Scalar, Scalars};

const POD: &[(&str, Keep)] = &[
    ("apiVersion", Scalar),
    ("kind", Scalar),
    ("metadata", Fields(METADATA)),
    ("spec", Fields(SPEC)),
    ("status", Fields(STATUS)),
];

const METADATA: &[(&str, Keep)] = &[
    ("name", Scalar),
    ("namespace", Scalar),
    ("uid", Scalar),
    ("generation", Scalar),
    ("resourceVersion", Scalar),
    ("labels", MapOf),
    ("annotations", Fields(ANNOTATIONS)),
    ("creationTimestamp", Scalar),
    ("deletionTimestamp", Scalar),
    ("deletionGracePeriodSeconds", Scalar),
    ("ownerReferences", Fields(OWNER)),
];

/// The annotations that the presets of `spec.expected` and the roles read.
const ANNOTATIONS: &[(&str, Keep)] = &[
    ("dapr.io/enabled", Scalar),
    ("kubectl.kubernetes.io/default-container", Scalar),
    ("linkerd.io/inject", Scalar),
    ("sidecar.istio.io/inject", Scalar),
    ("sidecar.opentelemetry.io/inject", Scalar),
    ("vault.hashicorp.com/agent-inject", Scalar),
    ("vault.hashicorp.com/agent-pre-populate-only", Scalar),
];

const OWNER: &[(&str, Keep)] = &[
    ("apiVersion", Scalar),
    ("kind", Scalar),
    ("name", Scalar),
    ("uid", Scalar),
    ("controller", Scalar),
];

const SPEC: &[(&str, Keep)] = &[
    ("nodeName", Scalar),
    ("restartPolicy", Scalar),
    ("terminationGracePeriodSeconds", Scalar),
    ("shareProcessNamespace", Scalar),
    ("hostNetwork", Scalar),
    ("initContainers", Fields(CONTAINER)),
    ("containers", Fields(CONTAINER)),
];

const CONTAINER: &[(&str, Keep)] = &[
    ("name", Scalar),
    ("image", Scalar),
    ("restartPolicy", Scalar),
    ("restartPolicyRules", Fields(RESTART_RULE)),
    ("ports", Fields(PORT)),
    ("readinessProbe", Fields(PROBE)),
    ("livenessProbe", Fields(PROBE)),
    ("startupProbe", Fields(PROBE)),
    ("lifecycle", Fields(LIFECYCLE)),
    ("resources", Fields(RESOURCES)),
    ("resizePolicy", Fields(RESIZE_POLICY)),
];

const RESTART_RULE: &[(&str, Keep)] = &[
    ("action", Scalar),
    ("exitCodes", Fields(&[("operator", Scalar), ("values", Scalars)])),
];

const PORT: &[(&str, Keep)] = &[("name", Scalar), ("containerPort", Scalar), ("protocol", Scalar)];

const PROBE: &[(&str, Keep)] = &[
    ("initialDelaySeconds", Scalar),
    ("timeoutSeconds", Scalar),
    ("periodSeconds", Scalar),
    ("successThreshold", Scalar),
    ("failureThreshold", Scalar),
    ("terminationGracePeriodSeconds", Scalar),
    ("httpGet", Fields(&[("port", Scalar), ("scheme", Scalar)])),
    ("tcpSocket", Fields(&[("port", Scalar)])),
    ("grpc", Fields(&[("port", Scalar)])),
    ("exec", Present),
];

const LIFECYCLE: &[(&str, Keep)] = &[("postStart", Fields(HOOK)), ("preStop", Fields(HOOK))];

const HOOK: &[(&str, Keep)] = &[
    ("httpGet", Fields(&[("port", Scalar), ("scheme", Scalar)])),
    ("tcpSocket", Fields(&[("port", Scalar)])),
    ("sleep", Fields(&[("seconds", Scalar)])),
    ("exec", Present),
];

const RESOURCES: &[(&str, Keep)] = &[("limits", MapOf), ("requests", MapOf)];

const RESIZE_POLICY: &[(&str, Keep)] = &[("resourceName", Scalar), ("restartPolicy", Scalar)];

const STATUS: &[(&str, Keep)] = &[
    ("phase", Scalar),
    ("reason", Scalar),
    ("qosClass", Scalar),
    ("startTime", Scalar),
    ("conditions", Fields(CONDITION)),
    ("initContainerStatuses", Fields(CONTAINER_STATUS)),
    ("containerStatuses", Fields(CONTAINER_STATUS)),
];

const CONDITION: &[(&str, Keep)] = &[
    ("type", Scalar),
    ("status", Scalar),
    ("reason", Scalar),
    ("observedGeneration", Scalar),
    ("lastTransitionTime", Scalar),
];

const CONTAINER_STATUS: &[(&str, Keep)] = &[
    ("name", Scalar),
    ("image", Scalar),
    ("imageID", Scalar),
    ("containerID", Scalar),
    ("ready", Scalar),
    ("started", Scalar),
    ("restartCount", Scalar),
    ("state", Fields(STATE)),
    ("lastState", Fields(STATE)),
];

const STATE: &[(&str, Keep)] = &[
    ("waiting", Fields(&[("reason", Scalar)])),
    ("running", Fields(&[("startedAt", Scalar)])),
    ("terminated", Fields(TERMINATED)),
];

const TERMINATED: &[(&str, Keep)] = &[
    ("exitCode", Scalar),
    ("signal", Scalar),
    ("reason", Scalar),
    ("startedAt", Scalar),
    ("finishedAt", Scalar),
    ("containerID", Scalar),
];

/// Returns a Pod with the recorded fields only.
pub fn recorded(pod: &Value) -> Value {
    kept(pod, &Fields(POD)).unwrap_or_default()
}

fn kept(value: &Value, keep: &Keep) -> Option<Value> {
    match (keep, value) {
        (Scalar, Value::Array(_) | Value::Object(_)) => None,
        (Scalar, scalar) => Some(scalar.clone()),
        (Scalars, Value::Array(items)) => Some(items.iter().filter_map(|item| kept(item, &Scalar)).collect()),
        (MapOf, Value::Object(fields)) => {
            let entries = fields
                .iter()
                .filter_map(|(key, value)| Some((key.clone(), kept(value, &Scalar)?)));
            Some(Value::Object(entries.collect()))
        }
        (Present, Value::Object(_)) => Some(Value::Object(Map::new())),
        (Fields(_), Value::Array(items)) => Some(items.iter().filter_map(|item| kept(item, keep)).collect()),
        (Fields(names), Value::Object(fields)) => {
            let entries = names.iter().filter_map(|(name, keep)| {
                let value = kept(fields.get(*name)?, keep)?;
                Some(((*name).to_owned(), value))
            });
            Some(Value::Object(entries.collect()))
        }
        (Scalars | MapOf | Present | Fields(_), _) => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_recording_contains_no_field_that_can_have_a_secret() {
        let secret = "SECRET";
        let handler = json!({
            "exec": {"command": [secret]},
            "httpGet": {"path": secret, "host": secret, "port": 80, "httpHeaders": [{"name": secret, "value": secret}]},
        });
        let container = json!({
            "name": "app", "image": "registry/app:1", "command": [secret], "args": [secret], "workingDir": secret,
            "env": [{"name": secret, "value": secret}], "envFrom": [{"secretRef": {"name": secret}}],
            "volumeMounts": [{"name": secret, "mountPath": secret}], "securityContext": {"seLinuxOptions": {"user": secret}},
            "readinessProbe": handler, "livenessProbe": handler, "startupProbe": handler,
            "lifecycle": {"postStart": handler, "preStop": handler},
        });
        let state = json!({"terminated": {"exitCode": 1, "reason": "Error", "message": secret}});
        let status =
            json!({"name": "app", "state": state, "lastState": state, "volumeMounts": [{"name": secret}]});
        let pod = json!({
            "metadata": {
                "name": "web", "namespace": "shop", "uid": "1", "annotations": {secret: secret},
                "managedFields": [{"manager": secret}], "labels": {"app": "web"},
            },
            "spec": {
                "containers": [container], "initContainers": [container], "ephemeralContainers": [container],
                "volumes": [{"name": secret, "secret": {"secretName": secret}}], "serviceAccountName": secret,
                "imagePullSecrets": [{"name": secret}], "hostname": secret, "nodeSelector": {secret: secret},
            },
            "status": {
                "phase": "Running", "message": secret, "hostIP": secret, "podIP": secret, "nominatedNodeName": secret,
                "conditions": [{"type": "Ready", "status": "False", "reason": "x", "message": secret}],
                "containerStatuses": [status], "initContainerStatuses": [status], "ephemeralContainerStatuses": [status],
            },
        });
        let recorded = recorded(&pod);
        assert!(!recorded.to_string().contains(secret), "{recorded:#}");
        assert_eq!(
            recorded["spec"]["containers"][0]["readinessProbe"]["exec"],
            json!({})
        );
        assert_eq!(recorded["metadata"]["labels"]["app"], "web");
    }

    #[test]
    fn a_field_of_an_unexpected_type_is_left_out() {
        let pod = json!({"metadata": {"name": {"a": 1}, "labels": ["x"]}, "spec": 5, "status": {"conditions": "x"}});
        assert_eq!(recorded(&pod), json!({"metadata": {}, "status": {}}));
        assert_eq!(recorded(&json!("text")), Value::Null);
    }
}
