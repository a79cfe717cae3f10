//! The status of a policy: the operator's answer, written by it alone.
//!
//! Nothing here changes while the cluster does not: no durations, no "last checked". What an operator of another
//! version wrote must not hide the policy from this one, so list entries that do not decode are left out when a status
//! is read.

use super::checks::{CheckName, Severity};
use super::schema::kubernetes_dialect;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, de::DeserializeOwned};
use serde_json::Value;

/// How many violations a status lists at most; the rest are counted in `violationsOmitted`.
pub const MAX_VIOLATIONS: usize = 20;
/// How many characters a violation's detail has at most.
pub const MAX_DETAIL: usize = 1024;

/// What Sidewatch last found under a policy.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = kubernetes_dialect)]
pub struct PolicyStatus {
    /// The generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "i64", range(min = 0))]
    pub observed_generation: Option<i64>,
    /// Ready: the policy is valid and being evaluated. SidecarsHealthy: no violation is firing. TargetsFound: the policy
    /// selects at least one Pod.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "readable")]
    #[schemars(schema_with = "conditions")]
    pub conditions: Vec<Condition>,
    /// Counts over all that the policy selects.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "if_readable"
    )]
    #[schemars(with = "Summary")]
    pub summary: Option<Summary>,
    /// Counts by check.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "readable")]
    #[schemars(
        length(max = 64),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["check"])
    )]
    pub checks: Vec<CheckStatus>,
    /// The violations, worst first. At most 20.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "readable")]
    #[schemars(length(max = MAX_VIOLATIONS), extend("x-kubernetes-list-type" = "atomic"))]
    pub violations: Vec<Violation>,
    /// How many more violations there are than the list has room for.
    #[serde(default)]
    pub violations_omitted: u32,
}

/// Counts over all that a policy selects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = kubernetes_dialect)]
pub struct Summary {
    /// Pods that are evaluated, with sidecars or without.
    pub pods: u32,
    /// Sidecars in those Pods.
    pub sidecars: u32,
    /// Main containers in those Pods.
    pub mains: u32,
    /// Violations that are firing.
    pub firing: u32,
    /// Violations that will fire if their fault stays.
    pub pending: u32,
    /// Sidecars that have no readiness probe, and so are ready whenever they run.
    pub without_readiness_probe: u32,
}

/// The counts of one check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = kubernetes_dialect)]
pub struct CheckStatus {
    /// The check.
    pub check: CheckName,
    /// Its violations that are firing.
    pub firing: u32,
    /// Its violations that will fire if their fault stays.
    pub pending: u32,
}

/// One check failing on one container of one Pod.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = kubernetes_dialect)]
pub struct Violation {
    /// The check that fails.
    pub check: CheckName,
    /// Pending: it will fire if the fault stays. Firing: it has stayed for as long as the check allows, or is gone for
    /// less than keepFiringFor.
    pub state: ViolationState,
    /// How bad it is: Info, Warning or Critical.
    pub severity: Severity,
    /// The Pod's namespace.
    #[schemars(length(max = 63))]
    pub namespace: String,
    /// What the Pod belongs to, as kind and name, such as Deployment/web.
    #[schemars(length(max = 317))]
    pub workload: String,
    /// The Pod's name.
    #[schemars(length(max = 253))]
    pub pod: String,
    /// The container's name.
    #[schemars(length(max = 63))]
    pub container: String,
    /// Whether the container is a native sidecar: an init container with restartPolicy Always.
    pub native: bool,
    /// Since when the fault is there.
    pub since: Time,
    /// What is wrong, as far as the Pod's status tells.
    #[schemars(length(max = MAX_DETAIL))]
    pub detail: String,
}

/// How far a violation has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ViolationState {
    /// The fault is there, for less time than the check allows.
    Pending,
    /// The fault has been there for longer than the check allows.
    Firing,
}

/// The schema of Kubernetes' own conditions, with the bounds of its Go types, which the Rust ones lack.
fn conditions(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 16,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "type": "object",
            "required": ["type", "status", "lastTransitionTime", "reason", "message"],
            "properties": {
                "type": {
                    "description": "What the condition speaks of: Ready, SidecarsHealthy or TargetsFound.",
                    "type": "string",
                    "maxLength": 316,
                },
                "status": {
                    "description": "True, False or Unknown.",
                    "type": "string",
                    "enum": ["True", "False", "Unknown"],
                },
                "observedGeneration": {
                    "description": "The generation of the spec that the condition speaks of.",
                    "type": "integer",
                    "format": "int64",
                    "minimum": 0,
                },
                "lastTransitionTime": {
                    "description": "Since when the condition has this status.",
                    "type": "string",
                    "format": "date-time",
                },
                "reason": {
                    "description": "Why, in one word for programs.",
                    "type": "string",
                    "minLength": 1,
                    "maxLength": 1024,
                    "pattern": "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$",
                },
                "message": {
                    "description": "Why, in one sentence for people.",
                    "type": "string",
                    "maxLength": 32768,
                },
            },
        },
    })
}

/// The entries of a list that decode.
fn readable<'de, D: Deserializer<'de>, T: DeserializeOwned>(deserializer: D) -> Result<Vec<T>, D::Error> {
    let entries = Option::<Vec<Value>>::deserialize(deserializer)?.unwrap_or_default();
    Ok(entries
        .into_iter()
        .filter_map(|entry| serde_json::from_value(entry).ok())
        .collect())
}

/// A value if it decodes.
fn if_readable<'de, D: Deserializer<'de>, T: DeserializeOwned>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    Ok(serde_json::from_value(Value::deserialize(deserializer)?).ok())
}
