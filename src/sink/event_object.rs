//! Converts Events to request bodies of `events.k8s.io/v1`.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    api,
    domain::{
        effects::{Event, Regarding},
        hash::stable_hash,
        policy::{PolicyKey, PolicyKind},
    },
};

/// `reportingController`.
const CONTROLLER: &str = "sidewatch.dev/operator";
/// `action`.
const ACTION: &str = "Evaluate";
/// Maximum length of `reportingInstance`.
const INSTANCE_LIMIT: usize = 128;
/// Maximum length of the name of an object.
const NAME_LIMIT: usize = 253;

/// Returns the name of this process: the name of its Pod, or the name of the host outside a cluster.
pub fn instance() -> String {
    let named = ["POD_NAME", "HOSTNAME"]
        .iter()
        .find_map(|name| std::env::var(name).ok());
    let name = named
        .or_else(|| std::fs::read_to_string("/proc/sys/kernel/hostname").ok())
        .unwrap_or_default();
    let name = cut(name.trim(), INSTANCE_LIMIT);
    if name.is_empty() {
        "sidewatch".to_owned()
    } else {
        name.to_owned()
    }
}

/// Returns the body that creates an Event. A `count` above one adds a series with that count.
pub(super) fn event(event: &Event, instance: &str, count: u32) -> Value {
    let mut object = object(&Parts {
        name: &event.name,
        namespace: &event.namespace,
        at: event.at,
        reason: event.reason,
        warning: event.warning,
        note: &event.note,
        instance,
    });
    let fields = [
        ("regarding", regarding(&event.regarding, &event.namespace)),
        ("related", policy_reference(&event.policy, &event.policy_uid)),
    ];
    add(&mut object, fields);
    if count > 1 {
        add(&mut object, [("series", series(count, event.at))]);
    }
    object
}

fn regarding(object: &Regarding, namespace: &str) -> Value {
    let Regarding {
        kind,
        name,
        uid,
        field_path,
    } = object;
    let mut reference = json!({ "kind": kind, "name": name });
    let policy = PolicyKind::parse(kind);
    let namespace = if policy == Some(PolicyKind::ClusterSidecarPolicy) {
        ""
    } else {
        namespace
    };
    let of_policies = format!("{}/{}", api::GROUP, api::VERSION);
    let is_own = policy.is_some() || **kind == *"SidecarExemption";
    let api_version = if is_own { &of_policies } else { api_version(kind) };
    let optional = [
        ("namespace", namespace),
        ("apiVersion", api_version),
        ("uid", uid),
        ("fieldPath", field_path),
    ];
    for (field, value) in optional.into_iter().filter(|(_, value)| !value.is_empty()) {
        add(&mut reference, [(field, json!(value))]);
    }
    reference
}

/// Returns the API version of a Pod or of a workload of Kubernetes. That of other kinds is not known: a Pod names only its
/// direct owner, which can be another object.
fn api_version(kind: &str) -> &'static str {
    match kind {
        "Pod" | "ReplicationController" => "v1",
        "Deployment" | "ReplicaSet" | "StatefulSet" | "DaemonSet" => "apps/v1",
        "Job" | "CronJob" => "batch/v1",
        _ => "",
    }
}

/// Returns the merge patch that sets the series of an Event to `count`.
pub(super) fn series_patch(count: u32, at: Timestamp) -> Value {
    json!({ "series": series(count, at) })
}

/// Returns the namespace of the summary of dropped Events: that of the policy, or `default` for a cluster-scoped policy,
/// because the API server accepts no other namespace for it.
pub(super) fn summary_namespace(policy: &PolicyKey) -> Arc<str> {
    match policy.kind {
        PolicyKind::SidecarPolicy => Arc::clone(&policy.namespace),
        PolicyKind::ClusterSidecarPolicy => "default".into(),
    }
}

/// The Events of one policy that were dropped.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct DroppedSummary {
    pub(super) policy: PolicyKey,
    pub(super) policy_uid: Arc<str>,
    /// Number of dropped Events since the last summary.
    pub(super) dropped: u64,
    pub(super) at: Timestamp,
}

impl DroppedSummary {
    /// Returns a name that is unique among the summaries of this process and its replicas.
    fn name(&self, instance: &str) -> String {
        let at = self.at.as_nanosecond().to_be_bytes();
        let hash = stable_hash([self.policy_uid.as_bytes(), instance.as_bytes(), at.as_slice()]);
        let name = cut(&self.policy.name, NAME_LIMIT - 17);
        format!("{}.{hash:016x}", name.trim_end_matches(['.', '-']))
    }

    /// Returns the body of the summary Event.
    pub(super) fn event(&self, instance: &str) -> Value {
        let note = format!(
            "{} Events of {} were dropped because they exceeded the limits: 25 per Pod and one more every 5 minutes, 200 per \
             cluster and 10 more per second. The status of the policy and the metrics are complete.",
            self.dropped, self.policy
        );
        let mut object = object(&Parts {
            name: &self.name(instance),
            namespace: &summary_namespace(&self.policy),
            at: self.at,
            reason: "SidecarEventsDropped",
            warning: true,
            note: &note,
            instance,
        });
        add(
            &mut object,
            [("regarding", policy_reference(&self.policy, &self.policy_uid))],
        );
        object
    }
}

struct Parts<'a> {
    name: &'a str,
    namespace: &'a str,
    at: Timestamp,
    reason: &'a str,
    warning: bool,
    note: &'a str,
    instance: &'a str,
}

fn object(parts: &Parts<'_>) -> Value {
    json!({
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": { "name": parts.name, "namespace": parts.namespace },
        "eventTime": micro_time(parts.at),
        "reportingController": CONTROLLER,
        "reportingInstance": parts.instance,
        "action": ACTION,
        "type": if parts.warning { "Warning" } else { "Normal" },
        "reason": parts.reason,
        "note": parts.note,
    })
}

fn add<const N: usize>(object: &mut Value, fields: [(&str, Value); N]) {
    if let Some(object) = object.as_object_mut() {
        object.extend(fields.map(|(name, value)| (name.to_owned(), value)));
    }
}

fn series(count: u32, at: Timestamp) -> Value {
    json!({ "count": count, "lastObservedTime": micro_time(at) })
}

fn policy_reference(policy: &PolicyKey, uid: &str) -> Value {
    let mut reference = json!({
        "apiVersion": format!("{}/{}", api::GROUP, api::VERSION),
        "kind": policy.kind.as_str(),
        "name": policy.name,
        "uid": uid,
    });
    if policy.kind == PolicyKind::SidecarPolicy {
        add(&mut reference, [("namespace", json!(policy.namespace))]);
    }
    reference
}

/// Formats a Kubernetes MicroTime, which has exactly six fractional digits.
fn micro_time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}

/// Cuts a text to at most `limit` bytes, at a character boundary.
fn cut(text: &str, limit: usize) -> &str {
    text.get(..text.floor_char_boundary(limit)).unwrap_or(text)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::domain::{effects::Delivery, policy::Severity};

    pub(in crate::sink) fn policy(kind: PolicyKind) -> PolicyKey {
        PolicyKey {
            kind,
            namespace: if kind == PolicyKind::SidecarPolicy {
                "pay".into()
            } else {
                "".into()
            },
            name: "mesh".into(),
        }
    }

    pub(in crate::sink) fn example(name: &str, pod_uid: &str) -> Event {
        Event {
            name: name.to_owned(),
            policy: policy(PolicyKind::SidecarPolicy),
            policy_uid: "policy-uid".into(),
            namespace: "pay".into(),
            regarding: Regarding {
                kind: "Pod".into(),
                name: "web-1".into(),
                uid: pod_uid.into(),
                field_path: "spec.initContainers{istio-proxy}".to_owned(),
            },
            reason: "SidecarContainerNotReady",
            warning: true,
            severity: Severity::Warning,
            recovers: Vec::new(),
            note: "Sidecar 'istio-proxy' (native) is not ready.".to_owned(),
            at: "2026-11-20T10:42:07.5Z".parse().unwrap(),
            delivery: Delivery::Create,
        }
    }

    #[test]
    fn an_event_has_all_fields() {
        let expected = json!({
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"name": "web-1.0a", "namespace": "pay"},
            "eventTime": "2026-11-20T10:42:07.500000Z",
            "reportingController": "sidewatch.dev/operator",
            "reportingInstance": "sidewatch-0",
            "action": "Evaluate",
            "type": "Warning",
            "reason": "SidecarContainerNotReady",
            "note": "Sidecar 'istio-proxy' (native) is not ready.",
            "regarding": {
                "apiVersion": "v1", "kind": "Pod", "namespace": "pay", "name": "web-1", "uid": "pod-uid",
                "fieldPath": "spec.initContainers{istio-proxy}",
            },
            "related": {
                "apiVersion": "sidewatch.dev/v1alpha1", "kind": "SidecarPolicy", "namespace": "pay", "name": "mesh",
                "uid": "policy-uid",
            },
        });
        assert_eq!(event(&example("web-1.0a", "pod-uid"), "sidewatch-0", 1), expected);

        let table = [
            ("Deployment", json!("apps/v1")),
            ("CronJob", json!("batch/v1")),
            ("Rollout", Value::Null),
        ];
        for (kind, version) in table {
            let mut of_workload = example("web.0a", "");
            of_workload.regarding.kind = kind.into();
            of_workload.regarding.field_path = String::new();
            let regarding = &event(&of_workload, "sidewatch-0", 1)["regarding"];
            assert_eq!(
                (&regarding["kind"], &regarding["apiVersion"]),
                (&json!(kind), &version)
            );
            assert_eq!((regarding.get("uid"), regarding.get("fieldPath")), (None, None));
        }

        let mut cluster = example("web-1.0a", "pod-uid");
        cluster.policy = policy(PolicyKind::ClusterSidecarPolicy);
        cluster.warning = false;
        let object = event(&cluster, "sidewatch-0", 3);
        assert_eq!(
            object["related"].get("namespace"),
            None,
            "a cluster-scoped object has no namespace"
        );
        assert_eq!(object["type"], "Normal");
        let series = json!({"count": 3, "lastObservedTime": "2026-11-20T10:42:07.500000Z"});
        assert_eq!(object["series"], series, "a series of three");
        assert_eq!(series_patch(3, cluster.at), json!({ "series": series }));
    }

    #[test]
    fn a_summary_of_dropped_events_regards_the_policy() {
        let mut summary = DroppedSummary {
            policy: policy(PolicyKind::SidecarPolicy),
            policy_uid: "policy-uid".into(),
            dropped: 1234,
            at: "2026-11-20T10:42:07Z".parse().unwrap(),
        };
        let object = summary.event("sidewatch-0");
        assert_eq!(object["metadata"]["namespace"], "pay");
        assert_eq!(object["regarding"]["kind"], "SidecarPolicy");
        assert!(
            object["note"]
                .as_str()
                .unwrap()
                .starts_with("1234 Events of SidecarPolicy pay/mesh")
        );
        assert!(object["note"].as_str().unwrap().len() <= 1024);
        assert_ne!(
            object["metadata"]["name"],
            summary.event("sidewatch-1")["metadata"]["name"],
            "each replica has its own name"
        );

        summary.policy = policy(PolicyKind::ClusterSidecarPolicy);
        summary.policy.name = "x.".repeat(126).into();
        let object = summary.event("sidewatch-0");
        let name = object["metadata"]["name"].as_str().unwrap();
        assert!(name.len() <= NAME_LIMIT && !name.contains(".."), "{name}");
        assert_eq!(
            object["metadata"]["namespace"], "default",
            "the namespace for cluster-scoped objects"
        );
    }

    #[test]
    fn the_instance_name_is_within_the_limit() {
        let name = instance();
        assert!(!name.is_empty() && name.len() <= INSTANCE_LIMIT, "{name}");
        assert_eq!(cut("häuser", 2), "h", "the cut is between characters");
    }
}
