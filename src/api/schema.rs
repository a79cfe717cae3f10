//! What the schema of a CRD needs and the derived JSON schema does not give: CEL rules, and the dialect of Kubernetes.

use super::duration::PATTERN;
use schemars::Schema;
use serde_json::{Value, json};

/// One CEL rule on a value, with the sentence that the API server says when it fails.
pub(super) fn rule(rule: &str, message: &str) -> Value {
    json!({ "rule": rule, "message": message })
}

/// The rule that a text is a duration within bounds (both included). `field` is the field's path below `spec`.
///
/// The pattern stands in the rule, not beside it: the API server checks both, and would say two things about one mistake,
/// of which the pattern is no help.
pub(super) fn between(field: &str, min: &str, max: &str, example: &str) -> Value {
    json!([rule(
        &format!(
            "self.matches('{PATTERN}') && duration(self) >= duration('{min}') && duration(self) <= duration('{max}')"
        ),
        &format!("{field} must be a duration between {min} and {max}, such as {example}"),
    )])
}

/// The rule that a string is a regular expression: CEL compiles it, with the same RE2 syntax as ours.
pub(super) fn compiles(field: &str) -> Value {
    json!([rule(
        "''.findAll(self).size() >= 0",
        &format!("{field} must be a regular expression in RE2 syntax, such as helper-.*"),
    )])
}

/// Puts the fields of a derived object schema into the dialect of Kubernetes.
///
/// An object's default becomes `{}`, as its fields have defaults of their own and the API server goes on into them.
/// Counts become `int32`: of the integer formats Kubernetes knows only `int32` and `int64`, and warns of others. A
/// description is one paragraph, however its source is wrapped.
pub(super) fn kubernetes_dialect(schema: &mut Schema) {
    let Some(fields) = schema.get_mut("properties").and_then(Value::as_object_mut) else {
        return;
    };
    for field in fields.values_mut().filter_map(Value::as_object_mut) {
        if field.get("default").is_some_and(Value::is_object) {
            field.insert("default".into(), json!({}));
        }
        if field.get("format").is_some_and(|format| format == "uint32") {
            field.insert("format".into(), json!("int32"));
            field.entry("maximum").or_insert(json!(i32::MAX));
        }
        if let Some(Value::String(description)) = field.get_mut("description") {
            *description = description.replace('\n', " ");
        }
    }
}
