//! The sidecars that a policy expects in Pods.

use super::{
    duration::Duration,
    schema::{
        DNS_LABEL, between, compiles, image_glob_rules, is_label_key, kubernetes_dialect, matches, rule,
    },
};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// A sidecar that some of the selected Pods must have.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = kubernetes_dialect, extend("x-kubernetes-validations" = preset_or_sidecar()))]
pub struct Expected {
    /// A name that is unique in the policy. Status, metrics and Events show it as the container.
    #[schemars(length(max = 63), extend("x-kubernetes-validations" = entry_name()))]
    pub name: String,
    /// The rules of a project that injects a sidecar: Istio, Linkerd, Vault, Dapr or OpenTelemetry. In place of sidecar, when
    /// and unless.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Preset")]
    pub preset: Option<Preset>,
    /// The sidecar, native or not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "ExpectedSidecar")]
    pub sidecar: Option<ExpectedSidecar>,
    /// A Pod must have the sidecar if one of these conditions holds. If empty, every Pod must. At most 16.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "atomic"))]
    pub when: Vec<Condition>,
    /// A Pod need not have the sidecar if one of these conditions holds. At most 16.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "atomic"))]
    pub unless: Vec<Condition>,
    /// How long Pods of a workload may lack the sidecar before the violation fires. Between 0s (at once) and 24h.
    #[serde(default = "default_for")]
    #[schemars(extend("x-kubernetes-validations" = between("expected[].for", "0s", "24h", "5m")))]
    pub r#for: Duration,
}

fn default_for() -> Duration {
    Duration::new("5m")
}

/// A project that injects a sidecar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Preset {
    /// The container istio-proxy.
    Istio,
    /// The container linkerd-proxy.
    Linkerd,
    /// The container vault-agent.
    Vault,
    /// The container daprd.
    Dapr,
    /// The container otc-container.
    OpenTelemetry,
}

/// Which container is the sidecar. Exactly one field is set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = kubernetes_dialect, extend("x-kubernetes-validations" = one_field()))]
pub struct ExpectedSidecar {
    /// The name of the container.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 63))]
    pub name: String,
    /// A regular expression in RE2 syntax that matches the whole name of the container. At most 512 characters.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 512), extend("x-kubernetes-validations" = compiles("expected.sidecar.namePattern")))]
    pub name_pattern: String,
    /// A glob such as */istio/proxyv2 that matches the image repository of the container.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(schema_with = "image_glob")]
    pub image: String,
}

/// A condition on a Pod or its namespace.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = kubernetes_dialect, extend("x-kubernetes-validations" = key_of_source()))]
pub struct Condition {
    /// What the condition is about: PodLabel, PodAnnotation, NamespaceLabel, NamespaceAnnotation, or HostNetwork (the Pod
    /// uses the network of its node).
    pub from: Source,
    /// The key of the label or annotation. An annotation must be one that a preset reads.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 317))]
    pub key: String,
    /// The values for which the condition holds. If empty, it holds for any value. At most 16.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "values")]
    pub values: Vec<String>,
}

/// What a condition is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Source {
    /// A label of the Pod.
    PodLabel,
    /// An annotation of the Pod.
    PodAnnotation,
    /// A label of the namespace.
    NamespaceLabel,
    /// An annotation of the namespace.
    NamespaceAnnotation,
    /// The Pod uses the network of its node.
    HostNetwork,
}

fn entry_name() -> Value {
    json!([rule(
        &matches(DNS_LABEL),
        "name has at most 63 lower-case letters, digits and '-', and starts and ends with a letter or digit",
    )])
}

fn preset_or_sidecar() -> Value {
    json!([
        rule(
            "has(self.preset) != has(self.sidecar)",
            "an entry of expected has either a preset or a sidecar",
        ),
        rule(
            "!has(self.preset) || (!has(self.when) && !has(self.unless))",
            "a preset has its own conditions: remove when and unless, or write the sidecar instead",
        ),
    ])
}

fn one_field() -> Value {
    json!([rule(
        "(has(self.name) ? 1 : 0) + (has(self.namePattern) ? 1 : 0) + (has(self.image) ? 1 : 0) == 1",
        "a sidecar has exactly one of name, namePattern and image",
    )])
}

fn key_of_source() -> Value {
    let known = ANNOTATIONS.map(|key| format!("'{key}'")).join(", ");
    json!([
        rule(
            "self.from == 'HostNetwork' ? !has(self.key) && !has(self.values) : has(self.key)",
            "a condition has a key, unless it is from HostNetwork",
        ),
        rule(
            &format!("!has(self.key) || ({})", is_label_key("self.key")),
            "key must be the key of a label or annotation, such as app or example.com/team",
        ),
        rule(
            &format!(
                "!(self.from in ['PodAnnotation', 'NamespaceAnnotation']) || (has(self.key) && self.key in [{known}])"
            ),
            "an annotation must be one that a preset reads; use a label for others",
        ),
    ])
}

/// The annotations that the presets read. Conditions can name no others.
pub const ANNOTATIONS: [&str; 6] = [
    "dapr.io/enabled",
    "linkerd.io/inject",
    "sidecar.istio.io/inject",
    "sidecar.opentelemetry.io/inject",
    "vault.hashicorp.com/agent-inject",
    "vault.hashicorp.com/agent-pre-populate-only",
];

fn values(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 16,
        "x-kubernetes-list-type": "atomic",
        "items": { "type": "string", "maxLength": 253 },
    })
}

fn image_glob(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "maxLength": 512,
        "x-kubernetes-validations": image_glob_rules(),
    })
}
