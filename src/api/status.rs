//! The status of a policy. Only the operator writes it.
//!
//! The status changes only with the cluster: it has no durations and no "last checked" time. Another version of the
//! operator may have written it, so list entries that cannot be decoded are skipped.

use super::{checks::CheckName, common::Severity, schema::kubernetes_dialect};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, de::DeserializeOwned};
use serde_json::Value;

/// The largest number of violations in a status. `violationsOmitted` counts the others.
pub const MAX_VIOLATIONS: usize = 20;
/// The largest number of image repositories in a status. `imagesOmitted` counts the others.
pub const MAX_IMAGES: usize = 10;
/// The largest number of versions of a repository in a status. `versionsOmitted` counts the others.
pub const MAX_VERSIONS: usize = 5;
/// The largest number of characters in the name of a repository.
pub const MAX_REPOSITORY: usize = 255;
/// The largest number of characters in a version.
pub const MAX_VERSION: usize = 128;
/// The largest number of characters in the detail of a violation.
pub const MAX_DETAIL: usize = 1024;

/// The state of a policy and its violations.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = kubernetes_dialect)]
pub struct PolicyStatus {
    /// The generation of the spec that this status describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "i64", range(min = 0))]
    pub observed_generation: Option<i64>,
    /// Ready: the policy is valid and being evaluated. SidecarsHealthy: no violation is firing. TargetsFound: the policy
    /// selects at least one Pod.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "readable")]
    #[schemars(schema_with = "policy_conditions")]
    pub conditions: Vec<Condition>,
    /// Counts over all Pods that the policy selects.
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
    /// The violations. At most 20: firing ones first, the most severe and then the oldest, then pending ones, the oldest
    /// first.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "readable")]
    #[schemars(length(max = MAX_VIOLATIONS), extend("x-kubernetes-list-type" = "atomic"))]
    pub violations: Vec<Violation>,
    /// The number of violations that are not in the list.
    #[serde(default)]
    pub violations_omitted: u32,
    /// The images of the sidecars in the Pods that the policy selects. At most 10, those with the most Pods first.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "readable")]
    #[schemars(length(max = MAX_IMAGES), extend("x-kubernetes-list-type" = "atomic"))]
    pub images: Vec<ImageStatus>,
    /// The number of images that are not in the list.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub images_omitted: u32,
}

/// The versions of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = kubernetes_dialect)]
pub struct ImageStatus {
    /// The repository with its registry, without tag and digest.
    #[schemars(length(max = MAX_REPOSITORY))]
    pub repository: String,
    /// The versions. At most 5, those with the most Pods first.
    #[serde(default, deserialize_with = "readable")]
    #[schemars(length(max = MAX_VERSIONS), extend("x-kubernetes-list-type" = "atomic"))]
    pub versions: Vec<VersionStatus>,
    /// The number of versions that are not in the list.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub versions_omitted: u32,
}

/// A version of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = kubernetes_dialect)]
pub struct VersionStatus {
    /// The version, such as 1.28.1 for the tags v1.28.1 and 1.28.1-distroless. For other tags the tag itself, and for an
    /// image with a digest only the beginning of the digest.
    #[schemars(length(max = MAX_VERSION))]
    pub version: String,
    /// The number of Pods with a sidecar of this version.
    pub pods: u32,
}

/// Counts over all Pods that a policy selects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = kubernetes_dialect)]
pub struct Summary {
    /// Pods that are evaluated, with or without sidecars.
    pub pods: u32,
    /// Sidecars in those Pods.
    pub sidecars: u32,
    /// Main containers in those Pods.
    pub mains: u32,
    /// Violations that are firing.
    pub firing: u32,
    /// Violations that fire if their fault lasts long enough. A violation is counted and listed as pending once its
    /// fault has lasted for a quarter of the time after which it fires, and for at least 15 seconds.
    pub pending: u32,
    /// Sidecars without a readiness probe. They are ready whenever they run.
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
    /// Its violations that fire if their fault lasts long enough. A violation is counted once its fault has lasted for a
    /// quarter of the time after which it fires, and for at least 15 seconds.
    pub pending: u32,
}

/// A check that fails on a container of a Pod, on a workload, or on an image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = kubernetes_dialect)]
pub struct Violation {
    /// The check that fails.
    pub check: CheckName,
    /// Pending: the violation fires if the fault lasts long enough. It is listed once the fault has lasted for a quarter of
    /// that time, and for at least 15 seconds. Firing: the fault has lasted as long as the check allows, or has been gone
    /// for less than keepFiringFor.
    pub state: ViolationState,
    /// The severity: Info, Warning or Critical.
    pub severity: Severity,
    /// The Pod's namespace. For an image that of the policy, which is empty for a ClusterSidecarPolicy.
    #[schemars(length(max = 63))]
    pub namespace: String,
    /// The kind and name of the workload, or of that of the Pod, such as Deployment/web; empty if the violation is about an
    /// image.
    #[schemars(length(max = 317))]
    pub workload: String,
    /// The Pod's name; empty if the violation is about a workload or an image.
    #[serde(default)]
    #[schemars(length(max = 253))]
    pub pod: String,
    /// The Pod's UID. A restarted operator continues the violation for this Pod only.
    #[serde(rename = "podUID", default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 128))]
    pub pod_uid: String,
    /// The container's name, or the name in spec.expected of the sidecar that a workload lacks; empty if the violation is
    /// about an image.
    #[schemars(length(max = 63))]
    pub container: String,
    /// The repository of the image that the violation is about, with its registry; absent if it is about something else.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = MAX_REPOSITORY))]
    pub image: String,
    /// Whether the container is a native sidecar: an init container with restartPolicy Always.
    pub native: bool,
    /// The time at which the fault began.
    pub since: Time,
    /// The cause, from the status of the Pod.
    #[schemars(length(max = MAX_DETAIL))]
    pub detail: String,
}

/// The state of a violation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ViolationState {
    /// The fault has lasted for less time than the check allows.
    Pending,
    /// The fault has lasted for at least the time that the check allows.
    Firing,
}

fn policy_conditions(_: &mut SchemaGenerator) -> Schema {
    conditions("The type of the condition: Ready, SidecarsHealthy or TargetsFound.")
}

/// The schema of Kubernetes conditions with the bounds of the Go types. The Rust types do not have them. `types` is the
/// description of the field `type`.
pub(super) fn conditions(types: &str) -> Schema {
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
                    "description": types,
                    "type": "string",
                    "maxLength": 316,
                },
                "status": {
                    "description": "True, False or Unknown.",
                    "type": "string",
                    "enum": ["True", "False", "Unknown"],
                },
                "observedGeneration": {
                    "description": "The generation of the spec that the condition describes.",
                    "type": "integer",
                    "format": "int64",
                    "minimum": 0,
                },
                "lastTransitionTime": {
                    "description": "The time of the last change of the status.",
                    "type": "string",
                    "format": "date-time",
                },
                "reason": {
                    "description": "The machine-readable reason for the status, in CamelCase.",
                    "type": "string",
                    "minLength": 1,
                    "maxLength": 1024,
                    "pattern": "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$",
                },
                "message": {
                    "description": "The human-readable reason for the status.",
                    "type": "string",
                    "maxLength": 32768,
                },
            },
        },
    })
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(count: &u32) -> bool {
    *count == 0
}

/// Decodes a list. Skips the entries that cannot be decoded.
pub(super) fn readable<'de, D: Deserializer<'de>, T: DeserializeOwned>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    let entries = Option::<Vec<Value>>::deserialize(deserializer)?.unwrap_or_default();
    Ok(entries
        .into_iter()
        .filter_map(|entry| serde_json::from_value(entry).ok())
        .collect())
}

/// Decodes a value. Returns `None` if it cannot be decoded.
fn if_readable<'de, D: Deserializer<'de>, T: DeserializeOwned>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    Ok(serde_json::from_value(Value::deserialize(deserializer)?).ok())
}
