//! The policies of a run and their edits. Their effects last at most [`SHORT_MEMORY`] or [`LONG_MEMORY`] seconds.

use serde_json::{Value, json};
use sidewatch::{
    api::{ClusterSidecarPolicy, PolicyStatus, SidecarPolicy},
    domain::policy::{PolicyKey, PolicyKind},
    kubernetes::decode::policy::policy_update,
    kubernetes::decode::policy::status::ObservedStatus,
    kubernetes::inputs::{Input, ObservedPolicy},
    kubernetes::watch::WatchEvent,
};

use testkit::api_server::{CLUSTER_POLICIES, POLICIES};

/// The number of seconds for which a past fault affects the policy `short`.
pub(crate) const SHORT_MEMORY: i64 = 60;
/// The number of seconds for which a past fault affects the other policies.
pub(crate) const LONG_MEMORY: i64 = 300;

/// The longest `keepFiringFor` of all policies.
pub(crate) const KEEP: i64 = 60;

/// A policy as the API server stores it.
#[derive(Clone, Debug)]
pub(crate) struct StoredPolicy {
    pub(crate) kind: PolicyKind,
    pub(crate) name: &'static str,
    pub(crate) uid: String,
    pub(crate) generation: i64,
    pub(crate) version: u64,
    pub(crate) spec: Value,
    pub(crate) status: Option<Value>,
}

impl StoredPolicy {
    fn new(kind: PolicyKind, name: &'static str, spec: Value) -> Self {
        Self {
            kind,
            name,
            uid: format!("uid-of-{name}"),
            generation: 1,
            version: 1,
            spec,
            status: None,
        }
    }

    pub(crate) fn namespace(&self) -> &'static str {
        match self.kind {
            PolicyKind::SidecarPolicy => "pay",
            PolicyKind::ClusterSidecarPolicy => "",
        }
    }

    pub(crate) fn key(&self) -> PolicyKey {
        PolicyKey {
            kind: self.kind,
            namespace: self.namespace().into(),
            name: self.name.into(),
        }
    }

    /// The decoded status.
    pub(crate) fn decoded_status(&self) -> Option<PolicyStatus> {
        self.status
            .clone()
            .map(|status| serde_json::from_value(status).unwrap())
    }

    /// The path of its resource.
    pub(crate) fn path(&self) -> &'static str {
        match self.kind {
            PolicyKind::SidecarPolicy => POLICIES,
            PolicyKind::ClusterSidecarPolicy => CLUSTER_POLICIES,
        }
    }

    /// The object.
    pub(crate) fn object(&self) -> Value {
        let mut object = json!({
            "apiVersion": "sidewatch.dev/v1alpha1", "kind": self.kind.as_str(), "spec": self.spec,
            "metadata": {"name": self.name, "uid": self.uid, "generation": self.generation,
                "resourceVersion": self.version.to_string()},
        });
        if self.kind == PolicyKind::SidecarPolicy {
            object["metadata"]["namespace"] = json!(self.namespace());
        }
        if let Some(status) = &self.status {
            object["status"] = status.clone();
        }
        object
    }

    /// The decoded object.
    pub(crate) fn decoded(&self) -> Box<ObservedPolicy> {
        let object = self.object();
        let update = match self.kind {
            PolicyKind::SidecarPolicy => {
                policy_update::<SidecarPolicy>(&serde_json::from_value(object).unwrap())
            }
            PolicyKind::ClusterSidecarPolicy => {
                policy_update::<ClusterSidecarPolicy>(&serde_json::from_value(object).unwrap())
            }
        };
        Box::new(ObservedPolicy {
            update: update.unwrap(),
            status: ObservedStatus {
                uid: self.uid.as_str().into(),
                version: self.version,
                status: self.decoded_status(),
            },
        })
    }

    /// An event of its watch.
    pub(crate) fn input(&self, event: fn(Box<ObservedPolicy>) -> WatchEvent<Box<ObservedPolicy>>) -> Input {
        Input::Policy(self.kind, None, event(self.decoded()))
    }
}

/// The policies at the start.
pub(crate) fn policies() -> Vec<StoredPolicy> {
    vec![
        StoredPolicy::new(PolicyKind::SidecarPolicy, "short", short()),
        StoredPolicy::new(PolicyKind::ClusterSidecarPolicy, "long", long()),
        StoredPolicy::new(
            PolicyKind::ClusterSidecarPolicy,
            "teams",
            json!({
                "mode": "Observe",
                "namespaceSelector": {"matchLabels": {"team": "pay"}},
                "checks": {
                    "notReady": {"for": "20s", "keepFiringFor": "0s"},
                    "mainReadySidecarNotReady": {"mode": "Off"},
                    "frequentRestarts": {"window": "20s", "keepFiringFor": "10s"},
                    "oomKilled": {"keepFiringFor": "20s"},
                    "flapping": {"window": "60s", "keepFiringFor": "10s"},
                },
            }),
        ),
    ]
}

fn short() -> Value {
    json!({"checks": {
        "notReady": {"for": "0s", "keepFiringFor": "10s"},
        "mainReadySidecarNotReady": {"for": "5s", "keepFiringFor": "0s", "severity": "Critical"},
        "frequentRestarts": {"count": 2, "window": "10s", "keepFiringFor": "5s", "scope": "AllContainers"},
        "startupBlocked": {"for": "0s", "initContainersFor": "10s", "keepFiringFor": "5s"},
        "jobHeldOpen": {"for": "0s"},
        "oomKilled": {"keepFiringFor": "10s"},
        "flapping": {"count": 2, "window": "20s", "keepFiringFor": "5s"},
    }})
}

fn long() -> Value {
    json!({"checks": {
        "notReady": {"for": "60s", "keepFiringFor": "60s"},
        "mainReadySidecarNotReady": {"for": "30s", "keepFiringFor": "30s"},
        "frequentRestarts": {"count": 3, "window": "60s", "keepFiringFor": "30s"},
        "startupBlocked": {"for": "60s", "initContainersFor": "120s", "keepFiringFor": "20s"},
        "jobHeldOpen": {"for": "60s", "keepFiringFor": "10s"},
        "oomKilled": {"keepFiringFor": "60s"},
        "flapping": {"count": 3, "window": "120s", "keepFiringFor": "30s"},
    }})
}

/// An edit that makes a policy invalid.
pub(crate) const INVALID: (&str, &str, &str) = ("short", "/checks/notReady/for", "\"25h\"");

/// Valid edits: policy, field, value.
pub(crate) const EDITS: [(&str, &str, &str); 8] = [
    ("short", "/checks/notReady/for", "\"20s\""),
    ("short", "/checks/mainReadySidecarNotReady/mode", "\"Observe\""),
    ("short", "/sidecars", "{\"exclude\": {\"names\": [\"envoy\"]}}"),
    ("long", "/checks/notReady/severity", "\"Critical\""),
    ("long", "/podSelector", "{\"matchLabels\": {\"app\": \"web\"}}"),
    ("long", "/mode", "\"Off\""),
    ("teams", "/mode", "\"Alert\""),
    (
        "teams",
        "/namespaceSelector",
        "{\"matchLabels\": {\"team\": \"shop\"}}",
    ),
];
