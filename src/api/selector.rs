//! Label selectors with bounds.
//!
//! They have the meaning of `LabelSelector` in Kubernetes. This type exists because the schema of the Kubernetes type has
//! no bounds and accepts invalid values (an unknown operator, `Exists` with values, `not a key!`). The API server rejects
//! them with this schema, so that their author sees the error at once.

use super::schema::{LABEL_VALUE, is_label_key, kubernetes_dialect, matches, rule};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Selects objects by their labels. An empty selector selects all.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = kubernetes_dialect, extend("x-kubernetes-map-type" = "atomic"))]
pub struct LabelSelector {
    /// Labels that an object must have with exactly these values. At most 64.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "match_labels")]
    pub match_labels: BTreeMap<String, String>,
    /// Requirements that an object's labels must all meet. At most 64.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "atomic"))]
    pub match_expressions: Vec<LabelSelectorRequirement>,
}

/// A requirement on one label.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = pairing()))]
pub struct LabelSelectorRequirement {
    /// The label's key.
    #[schemars(length(max = 317), extend("x-kubernetes-validations" = label_key()))]
    pub key: String,
    /// The relation between the label's value and values: In, NotIn, Exists or DoesNotExist.
    pub operator: SelectorOperator,
    /// The values for In and NotIn: at least one and at most 64. Exists and DoesNotExist take none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "values")]
    pub values: Vec<String>,
}

/// The relation between a label's value and the values of a requirement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SelectorOperator {
    /// The label exists with one of the values.
    In,
    /// The label does not exist or has none of the values.
    NotIn,
    /// The label exists.
    Exists,
    /// The label does not exist.
    DoesNotExist,
}

fn label_key() -> Value {
    json!([rule(
        &is_label_key("self"),
        "key must be a label key, such as app or example.com/team",
    )])
}

fn label_value() -> Value {
    json!([rule(
        &matches(LABEL_VALUE),
        "a label value has at most 63 letters, digits, '-', '_' and '.', and starts and ends with a letter or digit",
    )])
}

fn pairing() -> Value {
    let values = "has(self.values) && size(self.values) > 0";
    json!([
        {
            "rule": format!("!(self.operator in ['In', 'NotIn']) || ({values})"),
            "message": "operators In and NotIn need at least one value in values",
            "fieldPath": ".values",
        },
        {
            "rule": format!("self.operator in ['In', 'NotIn'] || !({values})"),
            "message": "operators Exists and DoesNotExist take no values: remove them, or use In or NotIn",
            "fieldPath": ".values",
        },
    ])
}

fn match_labels(_: &mut SchemaGenerator) -> Schema {
    let is_key = is_label_key("key");
    json_schema!({
        "type": "object",
        "maxProperties": 64,
        "additionalProperties": { "type": "string", "maxLength": 63, "x-kubernetes-validations": label_value() },
        "x-kubernetes-validations": [{
            "rule": format!("self.all(key, {is_key})"),
            "messageExpression": format!(
                "'\"' + self.filter(key, !({is_key}))[0] \
                 + '\" in matchLabels is not a label key, such as app or example.com/team'"
            ),
            "message": "every key of matchLabels must be a label key, such as app or example.com/team",
        }],
    })
}

fn values(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 64,
        "x-kubernetes-list-type": "atomic",
        "items": { "type": "string", "maxLength": 63, "x-kubernetes-validations": label_value() },
    })
}
