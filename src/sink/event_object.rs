//! Events as the API server takes them (`events.k8s.io/v1`): plain functions from values to requests' bodies.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    api,
    domain::{
        effects::Event,
        hash::stable_hash,
        policy::{PolicyKey, PolicyKind},
    },
};

/// Who reports: a name that the API server accepts as a controller's.
const CONTROLLER: &str = "sidewatch.dev/operator";
/// What the reporter does.
const ACTION: &str = "Evaluate";
/// The longest `reportingInstance`.
const INSTANCE_LIMIT: usize = 128;
/// The longest name of an object.
const NAME_LIMIT: usize = 253;

/// The name of this process among its like: its Pod's name, which is also the host's name there, or the host's.
pub(super) fn instance() -> String {
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

/// A new Event. `count` above one says that it stands for as many.
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
        (
            "regarding",
            json!({
                "apiVersion": "v1",
                "kind": "Pod",
                "namespace": event.namespace,
                "name": event.pod,
                "uid": event.pod_uid,
                "fieldPath": event.field_path,
            }),
        ),
        ("related", policy_reference(&event.policy, &event.policy_uid)),
    ];
    add(&mut object, fields);
    if count > 1 {
        add(&mut object, [("series", series(count, event.at))]);
    }
    object
}

/// The merge patch that makes an Event stand for `count`.
pub(super) fn raise(count: u32, at: Timestamp) -> Value {
    json!({ "series": series(count, at) })
}

/// Events of one policy that were not written.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct DroppedSummary {
    pub(super) policy: PolicyKey,
    pub(super) policy_uid: std::sync::Arc<str>,
    /// How many since the last summary.
    pub(super) dropped: u64,
    pub(super) at: Timestamp,
}

impl DroppedSummary {
    /// Where the Event is: the policy's namespace; for an object without one the API server accepts only `default`.
    pub(super) fn namespace(&self) -> &str {
        match self.policy.kind {
            PolicyKind::SidecarPolicy => &self.policy.namespace,
            PolicyKind::ClusterSidecarPolicy => "default",
        }
    }

    /// A name that this process and its replicas use once.
    fn name(&self, instance: &str) -> String {
        let at = self.at.as_nanosecond().to_be_bytes();
        let hash = stable_hash([self.policy_uid.as_bytes(), instance.as_bytes(), at.as_slice()]);
        let name = cut(&self.policy.name, NAME_LIMIT - 17);
        format!("{}.{hash:016x}", name.trim_end_matches(['.', '-']))
    }

    /// The summary Event.
    pub(super) fn event(&self, instance: &str) -> Value {
        let note = format!(
            "{} Events under {} were not written: there were more than the limits allow (25 for a Pod and then one every \
             5 minutes, 200 for the cluster and then 10 a second). The policy's status and the metrics cover them all.",
            self.dropped, self.policy
        );
        let mut object = object(&Parts {
            name: &self.name(instance),
            namespace: self.namespace(),
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

/// Kubernetes' MicroTime: exactly six digits.
fn micro_time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}

/// The beginning of a text, cut between characters.
fn cut(text: &str, limit: usize) -> &str {
    text.get(..text.floor_char_boundary(limit)).unwrap_or(text)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::domain::effects::Delivery;

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
            pod: "web-1".into(),
            namespace: "pay".into(),
            pod_uid: pod_uid.into(),
            field_path: "spec.initContainers{istio-proxy}".to_owned(),
            reason: "SidecarContainerNotReady",
            warning: true,
            note: "Sidecar 'istio-proxy' (native) is not ready.".to_owned(),
            at: "2026-11-20T10:42:07.5Z".parse().unwrap(),
            delivery: Delivery::Create,
        }
    }

    #[test]
    fn an_event_is_complete() {
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

        let mut cluster = example("web-1.0a", "pod-uid");
        cluster.policy = policy(PolicyKind::ClusterSidecarPolicy);
        cluster.warning = false;
        let object = event(&cluster, "sidewatch-0", 3);
        assert_eq!(
            object["related"].get("namespace"),
            None,
            "a cluster-scoped object has none"
        );
        assert_eq!(object["type"], "Normal");
        let series = json!({"count": 3, "lastObservedTime": "2026-11-20T10:42:07.500000Z"});
        assert_eq!(object["series"], series, "it stands for three");
        assert_eq!(raise(3, cluster.at), json!({ "series": series }));
    }

    #[test]
    fn a_storm_is_told_on_the_policy() {
        let mut storm = DroppedSummary {
            policy: policy(PolicyKind::SidecarPolicy),
            policy_uid: "policy-uid".into(),
            dropped: 1234,
            at: "2026-11-20T10:42:07Z".parse().unwrap(),
        };
        let object = storm.event("sidewatch-0");
        assert_eq!(object["metadata"]["namespace"], "pay");
        assert_eq!(object["regarding"]["kind"], "SidecarPolicy");
        assert!(
            object["note"]
                .as_str()
                .unwrap()
                .starts_with("1234 Events under SidecarPolicy pay/mesh")
        );
        assert!(object["note"].as_str().unwrap().len() <= 1024);
        assert_ne!(
            object["metadata"]["name"],
            storm.event("sidewatch-1")["metadata"]["name"],
            "a replica's own"
        );

        storm.policy = policy(PolicyKind::ClusterSidecarPolicy);
        storm.policy.name = "x.".repeat(126).into();
        let object = storm.event("sidewatch-0");
        let name = object["metadata"]["name"].as_str().unwrap();
        assert!(name.len() <= NAME_LIMIT && !name.contains(".."), "{name}");
        assert_eq!(
            object["metadata"]["namespace"], "default",
            "the only one for cluster-scoped objects"
        );
    }

    #[test]
    fn an_instance_has_a_name_that_fits() {
        let name = instance();
        assert!(!name.is_empty() && name.len() <= INSTANCE_LIMIT, "{name}");
        assert_eq!(cut("häuser", 2), "h", "cut between characters");
    }
}
