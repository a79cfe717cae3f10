//! Refused specs: label selectors.

use super::{Invalid, Kinds, at, numbered};
use serde_json::{Value, json};

const LABEL: &str = "in matchLabels is not a label key, such as app or example.com/team";
const KEY: &str = "key must be a label key, such as app or example.com/team";
const VALUE: &str = "a label value has at most 63 letters, digits, '-', '_' and '.'";
const NONE: &str = "operators In and NotIn need at least one value in values";
const SOME: &str = "operators Exists and DoesNotExist take no values: remove them, or use In or NotIn";

#[rustfmt::skip]
pub(super) fn rows(selector: &str, kinds: Kinds) -> Vec<Invalid> {
    let labels = format!("{selector}.matchLabels");
    let expressions = format!("{selector}.matchExpressions");
    let label = |why: &str, key: &str, value: &str, index: &str, says: &[&str]| {
        at(&labels, why, json!({key: value}), index, says)
    };
    let expression = |why: &str, requirement: Value, index: &str, says: &[&str]| {
        at(&expressions, why, json!([requirement]), &format!("[0]{index}"), says)
    };
    let many: serde_json::Map<_, _> = (0..65).map(|i| (format!("k{i}"), json!("v"))).collect();
    let requirement = json!({"key": "app", "operator": "Exists"});
    [
        label("a key with a space", "my app", "web", "", &["\"my app\"", LABEL]),
        label("a key with two slashes", "example.com/team/a", "web", "", &["\"example.com/team/a\"", LABEL]),
        label("a prefix that is no domain", "Example.com/team", "web", "", &["\"Example.com/team\"", LABEL]),
        label("an empty key", "", "web", "", &["\"\"", LABEL]),
        label("a long key", &"k".repeat(64), "web", "", &[LABEL]),
        label("a value with a space", "app", "my app", "[app]", &[VALUE]),
        label("a value that ends with a dash", "app", "web-", "[app]", &[VALUE]),
        label("a long value", "app", &"v".repeat(64), ".app", &["may not be more than 63"]),
        at(&labels, "too many labels", Value::Object(many), "", &["must have at most 64 items"]),
        at(&expressions, "too many requirements", json!(vec![requirement; 65]), "", &["must have at most 64 items"]),
        expression("no key", json!({"operator": "Exists"}), ".key", &["Required value"]),
        expression("no operator", json!({"key": "app"}), ".operator", &["Required value"]),
        expression("an unknown operator", json!({"key": "app", "operator": "Gt", "values": ["1"]}), ".operator",
            &["supported values: \"In\", \"NotIn\", \"Exists\", \"DoesNotExist\""]),
        expression("a key that is none", json!({"key": "not a key!", "operator": "Exists"}), ".key", &[KEY]),
        expression("an empty key", json!({"key": "", "operator": "Exists"}), ".key", &[KEY]),
        expression("a long key", json!({"key": "k".repeat(318), "operator": "Exists"}), ".key",
            &["may not be more than 317"]),
        expression("In without a list", json!({"key": "app", "operator": "In"}), ".values", &[NONE]),
        expression("NotIn nothing", json!({"key": "app", "operator": "NotIn", "values": []}), ".values", &[NONE]),
        expression("Exists with a value", json!({"key": "app", "operator": "Exists", "values": ["a"]}), ".values",
            &[SOME]),
        expression("DoesNotExist with a value", json!({"key": "a", "operator": "DoesNotExist", "values": ["a"]}),
            ".values", &[SOME]),
        expression("a value with a space", json!({"key": "app", "operator": "In", "values": ["a", "b c"]}),
            ".values[1]", &[VALUE]),
        expression("a long value", json!({"key": "app", "operator": "In", "values": ["v".repeat(64)]}), ".values[0]",
            &["may not be more than 63"]),
        expression("too many values", json!({"key": "app", "operator": "In", "values": numbered(65)}), ".values",
            &["must have at most 64 items"]),
    ]
    .map(|row| row.of(kinds))
    .into()
}
