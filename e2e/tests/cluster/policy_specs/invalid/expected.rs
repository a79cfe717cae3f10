//! Refused specs: the expected sidecars.

use super::{Invalid, at};
use serde_json::{Value, json};

const NAME: &str = "name has at most 63 lower-case letters, digits and '-'";
const EITHER: &str = "an entry of expected has either a preset or a sidecar";
const ONE: &str = "a sidecar has exactly one of name, namePattern and image";
const KEY: &str = "key must be the key of a label or annotation, such as app or example.com/team";

/// An entry for the container `a`, with one more field.
fn entry(field: &str, value: &Value) -> Value {
    let mut entry = json!({"name": "a", "sidecar": {"name": "a"}});
    entry[field] = value.clone();
    json!([entry])
}

#[rustfmt::skip]
pub(super) fn rows() -> Vec<Invalid> {
    let list = "expected";
    let row = |why: &str, entry: Value, index: &str, says: &[&str]| at(list, why, json!([entry]), index, says);
    let many: Vec<Value> = (0..17).map(|n| json!({"name": format!("a{n}"), "preset": "Istio"})).collect();
    let sidecar = |sidecar: Value| json!({"name": "a", "sidecar": sidecar});
    let mut rows = vec![
        at(list, "too many entries", json!(many), "", &["must have at most 16 items"]),
        row("no name", json!({"preset": "Istio"}), "[0].name", &["Required value"]),
        row("a name in upper case", json!({"name": "A", "preset": "Istio"}), "[0].name", &[NAME]),
        row("a long name", json!({"name": "a".repeat(64), "preset": "Istio"}), "[0].name", &["may not be more than 63"]),
        row("neither", json!({"name": "a"}), "[0]", &[EITHER]),
        row("both", json!({"name": "a", "preset": "Istio", "sidecar": {"name": "a"}}), "[0]", &[EITHER]),
        row("a preset with conditions", json!({"name": "a", "preset": "Istio", "when": [{"from": "HostNetwork"}]}),
            "[0]", &["a preset has its own conditions: remove when and unless, or write the sidecar instead"]),
        row("an unknown preset", json!({"name": "a", "preset": "Consul"}), "[0].preset",
            &["supported values: \"Istio\", \"Linkerd\", \"Vault\", \"Dapr\", \"OpenTelemetry\""]),
        row("an empty sidecar", sidecar(json!({})), "[0].sidecar", &[ONE]),
        row("two rules", sidecar(json!({"name": "a", "image": "b"})), "[0].sidecar", &[ONE]),
        row("a long container", sidecar(json!({"name": "a".repeat(64)})), "[0].sidecar.name", &["may not be more than 63"]),
        row("an open group", sidecar(json!({"namePattern": "("})), "[0].sidecar.namePattern",
            &["expected.sidecar.namePattern must be a regular expression in RE2 syntax, such as helper-.*"]),
        row("a class inside a class", sidecar(json!({"namePattern": "[[a]b]"})), "[0].sidecar.namePattern",
            &["expected.sidecar.namePattern must not contain &&, --, ~~ or [ inside a character class"]),
        row("a long pattern", sidecar(json!({"namePattern": "a".repeat(513)})), "[0].sidecar.namePattern",
            &["may not be more than 512"]),
        row("a space", sidecar(json!({"image": "a b"})), "[0].sidecar.image",
            &["an image glob is an image's repository, such as */istio/proxyv2, in which * is the only wildcard"]),
        row("a tag", sidecar(json!({"image": "a:1"})), "[0].sidecar.image", &["an image glob has no tag or digest"]),
        row("a long glob", sidecar(json!({"image": "a".repeat(513)})), "[0].sidecar.image", &["may not be more than 512"]),
        row("a long limit", json!({"name": "a", "preset": "Istio", "for": "25h"}), "[0].for",
            &["expected[].for must be a duration between 0s and 24h, such as 5m"]),
        row("a long text", json!({"name": "a", "preset": "Istio", "for": "1s".repeat(15)}), "[0].for",
            &["may not be more than 28"]),
    ];
    for field in ["when", "unless"] {
        let condition = |why: &str, condition: Value, index: &str, says: &[&str]| {
            at(list, why, entry(field, &json!([condition])), &format!("[0].{field}[0]{index}"), says)
        };
        let label = |key: &str| json!({"from": "PodLabel", "key": key});
        let values = |values: Value| json!({"from": "PodLabel", "key": "a", "values": values});
        let conditions: Vec<Value> = (0..17).map(|_| json!({"from": "HostNetwork"})).collect();
        let texts: Vec<String> = (0..17).map(|n| n.to_string()).collect();
        rows.extend([
            at(list, "too many conditions", entry(field, &json!(conditions)), &format!("[0].{field}"),
                &["must have at most 16 items"]),
            condition("no source", json!({"key": "a"}), ".from", &["Required value"]),
            condition("an unknown source", json!({"from": "Node"}), ".from", &["supported values: \"PodLabel\", \
                \"PodAnnotation\", \"NamespaceLabel\", \"NamespaceAnnotation\", \"HostNetwork\""]),
            condition("no key", json!({"from": "PodLabel"}), "", &["a condition has a key, unless it is from HostNetwork"]),
            condition("not a key", label("a b"), "", &[KEY]),
            condition("a long key", label(&"a".repeat(318)), ".key", &["may not be more than 317"]),
            condition("an annotation that is not read", json!({"from": "PodAnnotation", "key": "a"}), "",
                &["an annotation must be one that a preset reads; use a label for others"]),
            condition("too many values", values(json!(texts)), ".values", &["must have at most 16 items"]),
            condition("a long value", values(json!(["a".repeat(254)])), ".values[0]", &["may not be more than 253"]),
        ]);
    }
    rows
}
