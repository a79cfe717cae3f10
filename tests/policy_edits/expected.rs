//! The values to try for the fields of the expected sidecars, and of the checks on other subjects than containers.

use serde_json::{Value, json};

use crate::cases::{Case, case, choice, hold};

/// A spec that expects a sidecar that no Pod has, with these changes of the entry.
pub(crate) fn entry(changes: &Value) -> Value {
    let mut entry = json!({"name": "mesh", "sidecar": {"name": "absent"}});
    let changes = changes.as_object().unwrap().clone();
    entry.as_object_mut().unwrap().extend(changes);
    json!({"expected": [entry]})
}

fn condition(list: &str, condition: &Value) -> Value {
    entry(&json!({ list: [condition] }))
}

/// A spec with VersionDrift.
fn drift(hold_for: &str) -> Value {
    json!({"checks": {"versionDrift": {"for": hold_for}}})
}

/// A spec in which every check fires.
pub(crate) fn all_checks() -> Value {
    let mut spec = entry(&json!({}));
    spec["checks"] = drift("5m")["checks"].clone();
    spec
}

#[rustfmt::skip]
pub(crate) fn cases() -> Vec<Case> {
    let plain = || entry(&json!({}));
    let app = json!({"from": "PodLabel", "key": "app", "values": ["web"]});
    let nobody = json!({"from": "PodLabel", "key": "nobody"});
    let team = json!({"from": "PodLabel", "key": "team"});
    let other = json!({"from": "PodLabel", "key": "app", "values": ["nobody"]});
    let many: Vec<_> = (0..16).map(|n| format!("v{n}")).collect();
    let presets = ["Istio", "Linkerd", "Vault", "Dapr", "OpenTelemetry", "Nonsense"];
    let sources = ["PodAnnotation", "NamespaceAnnotation", "HostNetwork", "Nonsense", ""];
    let pattern = || entry(&json!({"sidecar": {"namePattern": "abs.*"}}));
    let image = || entry(&json!({"sidecar": {"image": "absent/*"}}));
    vec![
        case("expected[].name", [json!("other")], [json!("a".repeat(63))], [json!(1), json!(""), json!("a/b")],
            [json!("Not a name")]).before(plain()),
        // A preset excludes a sidecar.
        case("expected[].preset", [], [], presets.map(Value::from), []).before(plain()),
        case("expected[].sidecar.name", [json!("envoy")], [json!("a".repeat(63))], [json!(1), json!("")],
            [json!("Not a name")]).before(plain()),
        case("expected[].sidecar.namePattern", [json!("env.y")], [json!("a".repeat(512))],
            ["(", "a)|(b", "*", "", r"\p{Greek}"].map(Value::from), []).before(pattern()),
        case("expected[].sidecar.image", [json!("*")], [json!("*".repeat(512))], [json!(1), json!("")],
            [json!("has a blank")]).before(image()),
        choice("expected[].when[].from", ["NamespaceLabel"]).before(condition("when", &app)),
        case("expected[].when[].key", [json!("nobody")], [json!("k".repeat(317))], [json!(1), json!("")],
            [json!("not a key!")]).before(condition("when", &app)),
        case("expected[].when[].values", [json!(["nobody"])], [json!(many), json!([])], [json!("web"), json!([1])],
            [json!(["v".repeat(1000)])]).before(condition("when", &app)),
        choice("expected[].unless[].from", ["NamespaceLabel"]).before(condition("unless", &team)),
        case("expected[].unless[].key", [json!("app")], [json!("k".repeat(317))], [json!(1), json!("")],
            [json!("not a key!")]).before(condition("unless", &nobody)),
        case("expected[].unless[].values", [json!(["web"])], [json!(many), json!([])], [json!("web"), json!([1])],
            [json!(["v".repeat(1000)])]).before(condition("unless", &other)),
        hold("expected[].for", "20m").before(plain()),
        choice("checks.sidecarMissing.mode", ["Observe", "Off"]).before(plain()),
        choice("checks.sidecarMissing.severity", ["Info", "Critical"]).before(plain()),
        choice("checks.versionDrift.mode", ["Observe", "Off"]).before(drift("5m")),
        choice("checks.versionDrift.severity", ["Info", "Critical"]).before(drift("5m")),
        case("checks.versionDrift.for", [json!("20m")], [json!("0s"), json!("720h")],
            ["720h1ms", "", "5", "-5m", "1.5h", "5 m", "5d"].map(Value::from), []).before(drift("168h")),
    ]
    .into_iter()
    .map(|mut case| {
        if case.field.rsplit('.').next() == Some("from") {
            case.invalid = sources.map(Value::from).into();
        }
        case
    })
    .collect()
}
