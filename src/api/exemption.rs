//! The exemption: which violations of a namespace are hidden, why, and until when.

use super::{
    checks::CheckName,
    policy::container_names,
    schema::{DNS_LABEL, kubernetes_dialect, matches, rule},
    selector::{LabelSelector, LabelSelectorRequirement, SelectorOperator},
    status::{conditions, readable},
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::CustomResource;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The largest number of violations in a status. `hides` counts all.
pub const MAX_HIDDEN: usize = 10;
/// The largest number of characters in `status.workload` and `status.checks`.
pub const MAX_SHOWN: usize = 317;

/// The checks that an exemption can name: those about a container of a Pod.
pub const EXEMPTED_CHECKS: [CheckName; 7] = [
    CheckName::NotReady,
    CheckName::MainReadySidecarNotReady,
    CheckName::FrequentRestarts,
    CheckName::StartupBlocked,
    CheckName::JobHeldOpen,
    CheckName::OomKilled,
    CheckName::Flapping,
];

/// Which violations are hidden, why, and until when.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = kubernetes_dialect, extend("x-kubernetes-validations" = selector_or_workload()))]
#[kube(
    group = "sidewatch.dev",
    version = "v1alpha1",
    kind = "SidecarExemption",
    plural = "sidecarexemptions",
    shortname = "scex",
    category = "sidecars",
    namespaced,
    doc = "SidecarExemption hides violations of Pods in its own namespace until a time. Violations of a ClusterSidecarPolicy are hidden only if its field exemptions allows it.",
    status = "SidecarExemptionStatus",
    derive = "PartialEq"
)]
pub struct SidecarExemptionSpec {
    /// Selects Pods by their labels. Empty selects all Pods of the namespace. In place of workload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "LabelSelector")]
    pub selector: Option<LabelSelector>,
    /// Selects the Pods of one workload. In place of selector.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "ExemptedWorkload")]
    pub workload: Option<ExemptedWorkload>,
    /// Names of the containers whose violations are hidden. If empty, those of all containers are. At most 64.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "container_names")]
    pub containers: Vec<String>,
    /// The checks whose violations are hidden. If empty, those of all checks about containers are. SidecarMissing and
    /// VersionDrift are not about containers, and are never hidden. At most 16.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "container_checks")]
    pub checks: Vec<CheckName>,
    /// Why the violations are hidden, for those who read the exemption later. At most 1024 characters.
    #[schemars(length(max = 1024), extend("x-kubernetes-validations" = not_blank()))]
    pub reason: String,
    /// The time at which the exemption ends, with a time zone, such as 2026-03-01T18:00:00Z. A violation that still fires
    /// is then reported.
    #[schemars(schema_with = "date_time")]
    pub until: String,
}

/// A workload as Sidewatch shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = kubernetes_dialect)]
pub struct ExemptedWorkload {
    /// The kind: Deployment, StatefulSet, DaemonSet, CronJob, Job, Pod (without an owner), or another owner of Pods.
    #[schemars(length(max = 63), extend("x-kubernetes-validations" = kind_rule()))]
    pub kind: String,
    /// The name.
    #[schemars(length(max = 253), extend("x-kubernetes-validations" = name_rule()))]
    pub name: String,
}

/// The effect of an exemption. Only the operator writes it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = kubernetes_dialect)]
pub struct SidecarExemptionStatus {
    /// The generation of the spec that this status describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "i64", range(min = 0))]
    pub observed_generation: Option<i64>,
    /// Active: the exemption is valid, has not ended, and is one of the oldest in its namespace.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "readable")]
    #[schemars(schema_with = "active")]
    pub conditions: Vec<Condition>,
    /// The workload or the selector as one text, such as Deployment/web or app=web.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = MAX_SHOWN))]
    pub workload: String,
    /// The checks as one text, such as NotReady,Flapping or all.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = MAX_SHOWN))]
    pub checks: String,
    /// The number of firing violations that are hidden now.
    #[serde(default)]
    pub hides: u32,
    /// The oldest firing violations that are hidden now. At most 10.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "readable")]
    #[schemars(length(max = MAX_HIDDEN), extend("x-kubernetes-list-type" = "atomic"))]
    pub hidden: Vec<HiddenViolation>,
}

/// A firing violation that an exemption hides.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = kubernetes_dialect)]
pub struct HiddenViolation {
    /// The Pod's name.
    #[schemars(length(max = 253))]
    pub pod: String,
    /// The container's name.
    #[schemars(length(max = 63))]
    pub container: String,
    /// The check that fails.
    pub check: CheckName,
    /// The kind of the policy: SidecarPolicy or ClusterSidecarPolicy.
    #[schemars(schema_with = "policy_kind")]
    pub policy_kind: String,
    /// The name of the policy. A SidecarPolicy is in the namespace of the Pod.
    #[schemars(length(max = 253))]
    pub policy: String,
    /// The time at which the fault began.
    pub since: Time,
}

impl SidecarExemptionSpec {
    /// The text of `status.workload`.
    pub fn shown_workload(&self) -> String {
        let text = match (&self.workload, &self.selector) {
            (Some(ExemptedWorkload { kind, name }), _) => format!("{kind}/{name}"),
            (None, Some(selector)) => shown_selector(selector),
            (None, None) => String::new(),
        };
        shortened(text)
    }

    /// The text of `status.checks`.
    pub fn shown_checks(&self) -> String {
        if self.checks.is_empty() {
            return "all".to_owned();
        }
        let names = self.checks.iter().filter_map(|check| {
            let name = serde_json::to_value(check).ok()?;
            name.as_str().map(ToOwned::to_owned)
        });
        shortened(names.collect::<Vec<_>>().join(","))
    }
}

/// Returns a selector in the form of `kubectl get --selector`, or `all Pods`.
fn shown_selector(selector: &LabelSelector) -> String {
    let LabelSelector {
        match_labels,
        match_expressions,
    } = selector;
    let labels = match_labels.iter().map(|(key, value)| format!("{key}={value}"));
    let expressions = match_expressions.iter().map(|requirement| {
        let LabelSelectorRequirement {
            key,
            operator,
            values,
        } = requirement;
        let values = values.join(",");
        match operator {
            SelectorOperator::In => format!("{key} in ({values})"),
            SelectorOperator::NotIn => format!("{key} notin ({values})"),
            SelectorOperator::Exists => key.clone(),
            SelectorOperator::DoesNotExist => format!("!{key}"),
        }
    });
    let parts: Vec<String> = labels.chain(expressions).collect();
    if parts.is_empty() {
        return "all Pods".to_owned();
    }
    parts.join(",")
}

/// Cuts a text to the characters that the schema allows.
fn shortened(text: String) -> String {
    if text.chars().count() <= MAX_SHOWN {
        return text;
    }
    text.chars().take(MAX_SHOWN - 1).chain(['…']).collect()
}

fn selector_or_workload() -> Value {
    json!([rule(
        "has(self.selector) != has(self.workload)",
        "an exemption has exactly one of selector and workload",
    )])
}

fn kind_rule() -> Value {
    json!([rule(
        &matches("[A-Z][A-Za-z0-9]*"),
        "kind is the kind of a workload in singular, such as Deployment",
    )])
}

fn name_rule() -> Value {
    json!([rule(
        &matches(&format!("{DNS_LABEL}([.]{DNS_LABEL})*")),
        "name has lower-case letters, digits, '-' and '.', and starts and ends with a letter or digit",
    )])
}

fn not_blank() -> Value {
    json!([rule(
        r"self.matches('[^\\s]')",
        "reason says why the violations are hidden, and is not empty"
    )])
}

fn container_checks(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 16,
        "x-kubernetes-list-type": "set",
        "items": { "type": "string", "enum": EXEMPTED_CHECKS },
    })
}

fn date_time(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "format": "date-time" })
}

fn policy_kind(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "enum": ["SidecarPolicy", "ClusterSidecarPolicy"] })
}

fn active(_: &mut SchemaGenerator) -> Schema {
    conditions("The type of the condition: Active.")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(fields: Value) -> SidecarExemptionSpec {
        let mut spec = json!({ "reason": "vendor", "until": "2026-03-01T18:00:00Z" });
        let Value::Object(fields) = fields else { panic!() };
        spec.as_object_mut().unwrap().extend(fields);
        serde_json::from_value(spec).unwrap()
    }

    #[test]
    fn the_columns_show_the_pods_and_the_checks_of_an_exemption() {
        let many: Vec<String> = (0..64).map(|i| format!("value-{i}")).collect();
        let table = [
            (
                json!({"workload": {"kind": "Deployment", "name": "web"}}),
                "Deployment/web",
            ),
            (
                json!({"selector": {"matchLabels": {"app": "web", "tier": ""}}}),
                "app=web,tier=",
            ),
            (
                json!({"selector": {"matchLabels": {"app": "web"}, "matchExpressions": [
                    {"key": "env", "operator": "In", "values": ["a", "b"]},
                    {"key": "env", "operator": "NotIn", "values": ["c"]},
                    {"key": "team", "operator": "Exists"},
                    {"key": "old", "operator": "DoesNotExist"},
                ]}}),
                "app=web,env in (a,b),env notin (c),team,!old",
            ),
            (json!({"selector": {}}), "all Pods"),
        ];
        for (fields, expected) in table {
            assert_eq!(spec(fields.clone()).shown_workload(), expected, "{fields}");
        }
        let long =
            json!({"selector": {"matchExpressions": [{"key": "a", "operator": "In", "values": many}]}});
        let shown = spec(long).shown_workload();
        assert_eq!(shown.chars().count(), MAX_SHOWN, "{shown}");
        assert!(shown.ends_with('…'), "{shown}");

        let workload = json!({"kind": "Deployment", "name": "web"});
        assert_eq!(spec(json!({"workload": workload})).shown_checks(), "all");
        let checks = json!({"workload": workload, "checks": ["OOMKilled", "NotReady"]});
        assert_eq!(spec(checks).shown_checks(), "OOMKilled,NotReady");
        let all = spec(json!({"workload": workload, "checks": EXEMPTED_CHECKS})).shown_checks();
        assert!(all.ends_with("OOMKilled,Flapping"), "{all}");
    }
}
