//! Additions to the derived JSON schema: CEL rules, and the conventions of Kubernetes.

use super::duration::PATTERN;
use schemars::Schema;
use serde_json::{Value, json};

/// One CEL rule on a value, with the error message of the API server.
pub(super) fn rule(rule: &str, message: &str) -> Value {
    json!({ "rule": rule, "message": message })
}

/// An RFC 1123 label, without its maximum length of 63.
pub(super) const DNS_LABEL: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
/// A label value, without its maximum length of 63.
pub(super) const LABEL_VALUE: &str = "([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?";
/// The name in a label key, with its maximum length of 63.
const LABEL_NAME: &str = "[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?";
/// The maximum length of the prefix of a label key, with its slash.
const MAX_PREFIX: usize = 254;

/// The CEL expression that `variable` is a label key: a name, which may have a DNS subdomain as its prefix.
pub(super) fn is_label_key(variable: &str) -> String {
    format!(
        "{variable}.matches('^({DNS_LABEL}([.]{DNS_LABEL})*/)?{LABEL_NAME}$') \
         && {variable}.find('^[^/]*/').size() <= {MAX_PREFIX}"
    )
}

/// The CEL expression that the value itself matches the whole of a regular expression.
pub(super) fn matches(pattern: &str) -> String {
    format!("self.matches('^{pattern}$')")
}

/// The rule that a text is a duration within bounds (both included). `field` is the path of the field below `spec.checks`
/// or `spec`.
///
/// The pattern is a part of the rule. A separate pattern would add a second, unhelpful message to the same error.
pub(super) fn between(field: &str, min: &str, max: &str, example: &str) -> Value {
    json!([rule(
        &format!(
            "self.matches('{PATTERN}') && duration(self) >= duration('{min}') && duration(self) <= duration('{max}')"
        ),
        &format!("{field} must be a duration between {min} and {max}, such as {example}"),
    )])
}

/// A character class that Go and Rust read differently: with a set operation of Rust (`&&`, `--`, `~~`), or with a class
/// inside it. `domain::pattern` refuses these patterns too, and rarer ones.
const AMBIGUOUS_CLASS: &str =
    r"(^|[^\\])(\\\\)*\[\^?\]?(\[:\^?[a-z]+:\]|[^\]\\\[]|\\.)*(&&|--|~~|\[([^:]|$))";

/// The rules that a string is a regular expression that Go and Rust read in the same way. CEL compiles it with the
/// regular expressions of Go, Sidewatch with those of Rust.
pub(super) fn compiles(field: &str) -> Value {
    json!([
        rule(
            "''.findAll(self).size() >= 0",
            &format!("{field} must be a regular expression in RE2 syntax, such as helper-.*"),
        ),
        rule(
            &format!("!self.matches(r'{AMBIGUOUS_CLASS}')"),
            &format!(
                "{field} must not contain &&, --, ~~ or [ inside a character class: write each character once, and \\- for a \
                 dash"
            ),
        ),
    ])
}

/// The rules of an image glob.
pub(super) fn image_glob_rules() -> Value {
    json!([
        rule(
            "self.matches('^[-A-Za-z0-9._/:@*]+$')",
            "an image glob is an image's repository, such as */istio/proxyv2, in which * is the only wildcard",
        ),
        rule(
            "!self.contains('@') && !self.matches(':[^/]*$')",
            "an image glob has no tag or digest: write envoyproxy/envoy for envoyproxy/envoy:v1.36.0",
        ),
    ])
}

/// Adapts the fields of a derived object schema to the conventions of Kubernetes.
///
/// The default of an object becomes `{}`, because its fields have their own defaults, which the API server applies.
/// Counts become `int32`, because Kubernetes warns about integer formats other than `int32` and `int64`. A description
/// becomes one paragraph.
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
