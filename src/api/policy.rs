//! The two kinds of policy. A `SidecarPolicy`'s spec is what both share; a `ClusterSidecarPolicy` adds namespaces to it.

use super::{
    checks::Checks,
    duration::Duration,
    schema::{between, compiles, kubernetes_dialect, rule},
    selector::LabelSelector,
    status::PolicyStatus,
};
use kube::CustomResource;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// What a policy watches, and when it speaks. Every field is optional.
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
    doc = "SidecarPolicy watches the sidecars of the Pods in its own namespace, and says when one lets its Pod down.",
    status = "PolicyStatus",
    derive = "PartialEq",
    selectable = ".spec.mode"
)]
pub struct SidecarPolicySpec {
    /// What comes of a violation: Alert (Events, metrics and status), Observe (metrics and status, no Events) or "Off"
    /// (nothing). Quote "Off": YAML takes a bare Off for false.
    pub mode: Mode,
    /// Selects Pods by their labels. Empty selects all.
    pub pod_selector: LabelSelector,
    /// Which containers are sidecars: all that a rule here finds, less exclude.
    pub sidecars: Sidecars,
    /// Which containers do the Pod's own work.
    pub main_containers: MainContainers,
    /// The checks and their limits.
    pub checks: Checks,
    /// How Events are written.
    pub events: Events,
    /// Where to read what to do about a violation: an http or https URL, shown wherever the policy speaks. At most 512
    /// characters.
    #[serde(rename = "runbookURL")]
    #[schemars(length(max = 512), extend("x-kubernetes-validations" = web_address()))]
    pub runbook_url: String,
}

/// What a policy watches across namespaces, and when it speaks. Every field is optional.
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
    doc = "ClusterSidecarPolicy watches the sidecars of Pods in all namespaces that it selects, and says when one lets its Pod down.",
    status = "PolicyStatus",
    derive = "PartialEq",
    selectable = ".spec.mode"
)]
pub struct ClusterSidecarPolicySpec {
    /// Selects namespaces by their labels. Empty selects all. Every namespace has its own name in the label
    /// kubernetes.io/metadata.name.
    #[serde(default)]
    pub namespace_selector: LabelSelector,
    /// What both kinds of policy share.
    #[serde(flatten)]
    pub policy: SidecarPolicySpec,
}

/// What comes of a violation. The stricter of a policy's and a check's mode holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Mode {
    /// Events, metrics and status.
    #[default]
    Alert,
    /// Metrics and status, but no Events.
    Observe,
    /// Nothing: the check or the policy is not evaluated.
    Off,
}

/// Which containers are sidecars.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
#[schemars(transform = kubernetes_dialect)]
pub struct Sidecars {
    /// Include or Exclude native sidecars: init containers with restartPolicy Always.
    pub native: Inclusion,
    /// Include or Exclude the sidecars that Sidewatch knows by name or image, such as istio-proxy or fluent-bit.
    pub well_known: Inclusion,
    /// Names of containers that are sidecars. At most 64.
    #[schemars(schema_with = "container_names")]
    pub names: Vec<String>,
    /// Containers are sidecars whose whole name matches this regular expression in RE2 syntax, such as helper-.*; empty
    /// matches none. At most 512 characters.
    #[schemars(length(max = 512), extend("x-kubernetes-validations" = compiles("sidecars.namePattern")))]
    pub name_pattern: String,
    /// Containers are sidecars whose image repository matches one of these globs, such as */istio/proxyv2. A * stands for
    /// any characters, a slash included; tag and digest are not looked at. At most 64.
    #[schemars(schema_with = "image_globs")]
    pub images: Vec<String>,
    /// Containers that are no sidecars whatever the other rules say.
    pub exclude: Exclude,
}

/// Containers that are no sidecars. An excluded native sidecar is ignored, an excluded regular container is a main one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
#[schemars(transform = kubernetes_dialect)]
pub struct Exclude {
    /// Names of containers that are no sidecars. At most 64.
    #[schemars(schema_with = "container_names")]
    pub names: Vec<String>,
    /// Containers are no sidecars whose whole name matches this regular expression in RE2 syntax; empty matches none. At
    /// most 512 characters.
    #[schemars(length(max = 512), extend("x-kubernetes-validations" = compiles("sidecars.exclude.namePattern")))]
    pub name_pattern: String,
}

/// Whether the containers of some kind are sidecars.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Inclusion {
    /// They are sidecars.
    #[default]
    Include,
    /// They are none.
    Exclude,
}

/// Which containers do the Pod's own work.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
#[schemars(transform = kubernetes_dialect)]
pub struct MainContainers {
    /// Names of the main containers; other regular containers that are no sidecars are then ignored. Empty makes every
    /// regular container that is no sidecar a main one. At most 64.
    #[schemars(schema_with = "container_names")]
    pub names: Vec<String>,
}

/// How Events are written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
#[schemars(transform = kubernetes_dialect)]
pub struct Events {
    /// How often a firing violation's Event is repeated, as Events expire after an hour. Between 15m and 24h.
    #[schemars(extend("x-kubernetes-validations" = between("events.repeatPeriod", "15m", "24h", "50m")))]
    pub repeat_period: Duration,
    /// Whether the end of a violation has an Event too: Enabled or Disabled.
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

/// Whether something is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Switch {
    /// It is done.
    Enabled,
    /// It is not.
    Disabled,
}

/// A list of container names, which are DNS labels (RFC 1123).
fn container_names(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 64,
        "x-kubernetes-list-type": "set",
        "items": {
            "type": "string",
            "maxLength": 63,
            "x-kubernetes-validations": [rule(
                "!format.dns1123Label().validate(self).hasValue()",
                "a container name has at most 63 lower-case letters, digits and '-', and starts and ends with a letter \
                 or digit",
            )],
        },
    })
}

/// A list of image globs. What could never match a repository is refused: a tag, a digest, another kind of wildcard.
fn image_globs(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 64,
        "x-kubernetes-list-type": "set",
        "items": {
            "type": "string",
            "maxLength": 512,
            "x-kubernetes-validations": [
                rule(
                    "self.matches('^[-A-Za-z0-9._/:@*]+$')",
                    "an image glob is an image's repository, such as */istio/proxyv2, in which * is the only wildcard",
                ),
                rule(
                    "!self.contains('@') && !self.matches(':[^/]*$')",
                    "an image glob has no tag or digest: write envoyproxy/envoy for envoyproxy/envoy:v1.36.0",
                ),
            ],
        },
    })
}

fn web_address() -> Value {
    json!([rule(
        "self == '' || (isURL(self) && url(self).getScheme() in ['http', 'https'] && url(self).getHostname() != '')",
        "runbookURL must be an http or https URL, such as https://example.com/runbooks/sidecars, or empty",
    )])
}
