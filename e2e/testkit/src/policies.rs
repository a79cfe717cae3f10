//! Policies as the watch delivers them.

use serde_json::{Value, json};
use sidewatch::kubernetes::decode::custom::Checked;
use sidewatch::{
    api::{ClusterSidecarPolicy, SidecarPolicy},
    domain::policy::{PolicyKind, PolicyUpdate},
    kubernetes::decode::policy::policy_update,
};

/// The fields of all checks in a spec: seven checks of containers, and two of other subjects.
pub const CHECKS: [&str; 9] = [
    "notReady",
    "mainReadySidecarNotReady",
    "frequentRestarts",
    "startupBlocked",
    "jobHeldOpen",
    "oomKilled",
    "flapping",
    "sidecarMissing",
    "versionDrift",
];

/// Returns a policy with this spec. A SidecarPolicy is in the namespace `pay`.
pub fn policy(kind: PolicyKind, name: &str, generation: i64, spec: &Value) -> PolicyUpdate {
    let mut object = json!({
        "apiVersion": "sidewatch.dev/v1alpha1", "kind": kind.as_str(), "spec": spec,
        "metadata": {"name": name, "uid": format!("uid-of-{name}"), "generation": generation},
    });
    let update = match kind {
        PolicyKind::SidecarPolicy => {
            object["metadata"]["namespace"] = json!("pay");
            let object = serde_json::from_value::<Checked<SidecarPolicy>>(object);
            policy_update(&object.unwrap())
        }
        PolicyKind::ClusterSidecarPolicy => {
            let object = serde_json::from_value::<Checked<ClusterSidecarPolicy>>(object);
            policy_update(&object.unwrap())
        }
    };
    update.unwrap()
}

/// Returns settings of checks in which only `check` is on, with these settings.
pub fn only(check: &str, settings: &Value) -> Value {
    let off = json!({"mode": "Off"});
    let settings = CHECKS.map(|name| (name, if name == check { settings } else { &off }));
    settings
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.clone()))
        .collect()
}
