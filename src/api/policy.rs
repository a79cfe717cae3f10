//! The two kinds of policy. The spec of a `ClusterSidecarPolicy` is that of a `SidecarPolicy` and a namespace selector.

use super::{
    checks::Checks,
    common::Mode,
    duration::Duration,
    expected::Expected,
    schema::{DNS_LABEL, between, compiles, image_glob_rules, kubernetes_dialect, matches, rule},
    selector::LabelSelector,
    status::PolicyStatus,
};
use kube::CustomResource;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Which Pods a policy selects, and when it reports a violation. All fields are optional.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
#[schemars(transform = kubernetes_dialect)]
#[kube(
    group = "sidewatch.dev",
    version = "v1alpha1",
    kind = "SidecarPolicy",
    plural = "sidecarpolicies",
    shortname = "scpol",
    category = "sidecars",
    namespaced,
    doc = "SidecarPolicy watches the sidecars of the Pods in its own namespace and reports when one fails.",
    status = "PolicyStatus",
    derive = "PartialEq",
    selectable = ".spec.mode"
)]
pub struct SidecarPolicySpec {
    /// How Sidewatch reports a violation: Alert (Events, metrics and status), Observe (metrics and status, no Events)
    /// or "Off" (nothing). Quote "Off", because YAML reads a bare Off as false.
    pub mode: Mode,
    /// Selects Pods by their labels. Empty selects all.
    pub pod_selector: LabelSelector,
    /// Which containers are sidecars: those that one of the rules finds, except those in exclude.
    pub sidecars: Sidecars,
    /// Which containers are the main containers.
    pub main_containers: MainContainers,
    /// Sidecars that Pods must have, for the check SidecarMissing. At most 16.
    #[schemars(
        length(max = 16),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub expected: Vec<Expected>,
    /// The checks and their limits.
    pub checks: Checks,
    /// How Events are written.
    pub events: Events,
    /// The runbook for the violations of this policy: an http or https URL, which the Events contain. At most 512
    /// characters.
    #[serde(rename = "runbookURL")]
    #[schemars(length(max = 512), extend("x-kubernetes-validations" = web_address()))]
    pub runbook_url: String,
}

/// Which Pods a policy selects across namespaces, and when it reports a violation. All fields are optional.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = kubernetes_dialect)]
#[kube(
    group = "sidewatch.dev",
    version = "v1alpha1",
    kind = "ClusterSidecarPolicy",
    plural = "clustersidecarpolicies",
    shortname = "cscpol",
    category = "sidecars",
    doc = "ClusterSidecarPolicy watches the sidecars of the Pods in all namespaces that it selects and reports when one fails.",
    status = "PolicyStatus",
    derive = "PartialEq",
    selectable = ".spec.mode"
)]
pub struct ClusterSidecarPolicySpec {
    /// Selects namespaces by their labels. Empty selects all. Every namespace has its own name in the label
    /// kubernetes.io/metadata.name.
    #[serde(default)]
    pub namespace_selector: LabelSelector,
    /// Which SidecarExemptions hide violations of this policy. Without this field none do, because those who write exemptions
    /// have rights in one namespace only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "AllowedExemptions")]
    pub exemptions: Option<AllowedExemptions>,
    /// The fields that both kinds of policy have.
    #[serde(flatten)]
    pub policy: SidecarPolicySpec,
}

/// The SidecarExemptions that hide violations of a ClusterSidecarPolicy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = kubernetes_dialect)]
pub struct AllowedExemptions {
    /// Selects the namespaces whose SidecarExemptions hide violations. Empty selects all.
    #[serde(default)]
    pub namespace_selector: LabelSelector,
    /// How long after its creation a SidecarExemption hides violations, if its own end is not earlier. Between 1m and 8760h.
    #[schemars(extend("x-kubernetes-validations" = between("exemptions.maxDuration", "1m", "8760h", "168h")))]
    pub max_duration: Duration,
}

/// Which containers are sidecars.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
#[schemars(transform = kubernetes_dialect)]
pub struct Sidecars {
    /// Include or Exclude native sidecars: init containers with restartPolicy Always.
    pub native: Inclusion,
    /// Include or Exclude the containers in the built-in catalogue of sidecars, such as istio-proxy or fluent-bit.
    pub well_known: Inclusion,
    /// Names of containers that are sidecars. At most 64.
    #[schemars(schema_with = "container_names")]
    pub names: Vec<String>,
    /// A regular expression in RE2 syntax, such as helper-.*. Containers whose whole name matches are sidecars; empty
    /// matches none. At most 512 characters.
    #[schemars(length(max = 512), extend("x-kubernetes-validations" = compiles("sidecars.namePattern")))]
    pub name_pattern: String,
    /// Globs such as */istio/proxyv2. Containers whose image repository matches one of them are sidecars. A * matches any
    /// characters, slashes included; the tag and the digest are ignored. At most 64.
    #[schemars(schema_with = "image_globs")]
    pub images: Vec<String>,
    /// Containers that are not sidecars, even if another rule finds them.
    pub exclude: Exclude,
}

/// Containers that are not sidecars. An excluded native sidecar is ignored; an excluded regular container is a main
/// container.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
#[schemars(transform = kubernetes_dialect)]
pub struct Exclude {
    /// Names of containers that are not sidecars. At most 64.
    #[schemars(schema_with = "container_names")]
    pub names: Vec<String>,
    /// A regular expression in RE2 syntax. Containers whose whole name matches are not sidecars; empty matches none. At
    /// most 512 characters.
    #[schemars(length(max = 512), extend("x-kubernetes-validations" = compiles("sidecars.exclude.namePattern")))]
    pub name_pattern: String,
}

/// Whether containers of a kind are sidecars.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Inclusion {
    /// They are sidecars.
    #[default]
    Include,
    /// They are not sidecars.
    Exclude,
}

/// Which containers are the main containers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
#[schemars(transform = kubernetes_dialect)]
pub struct MainContainers {
    /// Names of the main containers. Other regular containers that are not sidecars are then ignored. If empty, all
    /// regular containers that are not sidecars are main containers. At most 64.
    #[schemars(schema_with = "container_names")]
    pub names: Vec<String>,
}

/// How Events are written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
#[schemars(transform = kubernetes_dialect)]
pub struct Events {
    /// The period in which the Event of a firing violation is repeated, because Events expire after an hour. Between 15m
    /// and 24h.
    #[schemars(extend("x-kubernetes-validations" = between("events.repeatPeriod", "15m", "24h", "50m")))]
    pub repeat_period: Duration,
    /// Whether a resolved violation has an Event: Enabled or Disabled.
    pub on_recovery: Switch,
}

impl Default for Events {
    fn default() -> Self {
        Self {
            repeat_period: Duration::new("50m"),
            on_recovery: Switch::Enabled,
        }
    }
}

/// Whether a feature is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Switch {
    /// The feature is on.
    Enabled,
    /// The feature is off.
    Disabled,
}

/// A list of container names, which are DNS labels (RFC 1123).
pub(super) fn container_names(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 64,
        "x-kubernetes-list-type": "set",
        "items": {
            "type": "string",
            "maxLength": 63,
            "x-kubernetes-validations": [rule(
                &matches(DNS_LABEL),
                "a container name has at most 63 lower-case letters, digits and '-', and starts and ends with a letter \
                 or digit",
            )],
        },
    })
}

/// A list of image globs. Globs that cannot match a repository are invalid: with a tag, a digest or another wildcard.
fn image_globs(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 64,
        "x-kubernetes-list-type": "set",
        "items": {
            "type": "string",
            "maxLength": 512,
            "x-kubernetes-validations": image_glob_rules(),
        },
    })
}

fn web_address() -> Value {
    json!([rule(
        "self == '' || (isURL(self) && url(self).getScheme() in ['http', 'https'] && url(self).getHostname() != '')",
        "runbookURL must be an http or https URL, such as https://example.com/runbooks/sidecars, or empty",
    )])
}
