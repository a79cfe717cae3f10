//! Specs that the API server must accept, and their defaults.

use super::{plane, try_create};
use crate::policy_specs::invalid::{DURATIONS, Kinds, nested, numbered};
use serde_json::{Value, json};

/// A spec that the API server must accept.
struct Valid {
    why: String,
    kinds: Kinds,
    spec: Value,
    /// Expected fields of the stored spec; others are ignored.
    stored: Value,
}

/// A spec that is stored as written, with defaults for other fields.
fn valid(why: &str, spec: Value) -> Valid {
    Valid {
        why: why.into(),
        kinds: Kinds::Both,
        stored: spec.clone(),
        spec,
    }
}

/// All defaults.
fn defaulted() -> Value {
    json!({
        "mode": "Alert",
        "podSelector": {},
        "sidecars": {
            "native": "Include",
            "wellKnown": "Include",
            "names": [],
            "namePattern": "",
            "images": [],
            "exclude": { "names": [], "namePattern": "" },
        },
        "mainContainers": { "names": [] },
        "expected": [],
        "checks": {
            "notReady": { "mode": "Alert", "for": "5m", "keepFiringFor": "2m", "severity": "Warning" },
            "mainReadySidecarNotReady": { "mode": "Alert", "for": "2m", "keepFiringFor": "2m", "severity": "Warning" },
            "frequentRestarts": {
                "mode": "Alert", "count": 3, "window": "15m", "keepFiringFor": "10m", "scope": "Sidecars",
                "severity": "Warning",
            },
            "startupBlocked": {
                "mode": "Alert", "for": "5m", "initContainersFor": "30m", "keepFiringFor": "0s", "severity": "Warning",
            },
            "jobHeldOpen": { "mode": "Alert", "for": "5m", "keepFiringFor": "0s", "severity": "Warning" },
            "oomKilled": { "mode": "Alert", "keepFiringFor": "10m", "severity": "Warning" },
            "flapping": { "mode": "Alert", "count": 6, "window": "30m", "keepFiringFor": "2m", "severity": "Warning" },
            "sidecarMissing": { "mode": "Alert", "severity": "Warning" },
        },
        "events": { "repeatPeriod": "50m", "onRecovery": "Enabled" },
        "runbookURL": "",
    })
}

/// The defaults with one replaced value.
fn defaulted_but(path: &str, value: Value) -> Value {
    let mut spec = defaulted();
    *spec.pointer_mut(path).unwrap() = value;
    spec
}

fn rows() -> Vec<Valid> {
    [shapes(), fields(), selectors(), durations()]
        .into_iter()
        .flatten()
        .collect()
}

#[rustfmt::skip]
fn shapes() -> Vec<Valid> {
    let empty_objects = json!({
        "podSelector": {}, "sidecars": {"exclude": {}}, "mainContainers": {}, "events": {},
        "checks": {
            "notReady": {}, "mainReadySidecarNotReady": {}, "frequentRestarts": {}, "startupBlocked": {},
            "jobHeldOpen": {}, "oomKilled": {}, "flapping": {}, "sidecarMissing": {},
        },
    });
    let nulls = json!({"mode": null, "checks": null, "sidecars": {"names": null}, "runbookURL": null});
    let no_wait = json!({"checks": {"notReady": {"for": "0s"}}});
    let one_exclusion = json!({"sidecars": {"exclude": {"names": ["app"]}}});
    vec![
        Valid { stored: defaulted(), ..valid("nothing: all defaults", json!({})) },
        Valid { stored: defaulted(), ..valid("null for the spec: all defaults", Value::Null) },
        Valid { stored: defaulted(), ..valid("empty objects: their defaults", empty_objects) },
        Valid { stored: defaulted(), ..valid("null is absent where there is a default", nulls) },
        Valid { stored: defaulted_but("/checks/notReady/for", json!("0s")), ..valid("one limit", no_wait) },
        Valid { stored: defaulted_but("/sidecars/exclude/names", json!(["app"])), ..valid("one name", one_exclusion) },
        valid("everything written out", defaulted()),
    ]
}

#[rustfmt::skip]
fn fields() -> Vec<Valid> {
    let images = json!([
        "*/istio/proxyv2", "fluent/*", "*", "envoyproxy/envoy", "localhost:5000/agent", "localhost:*/agent",
        "Registry.example.com/team_a/x--y", "a".repeat(512),
    ]);
    let page = "https://example.com:8443/runbooks/sidecars?team=a&b=%20c#not-ready";
    vec![
        valid("only watch", json!({"mode": "Observe", "events": {"onRecovery": "Disabled"}})),
        valid("off", json!({"mode": "Off", "checks": {"flapping": {"mode": "Off", "severity": "Info"}}})),
        valid("counts at their lower bounds", json!({
            "checks": {"frequentRestarts": {"count": 1}, "flapping": {"count": 1}},
        })),
        valid("counts at their upper bounds", json!({
            "checks": {"frequentRestarts": {"count": 1000, "scope": "AllContainers"}, "flapping": {"count": 1000}},
        })),
        Valid {
            stored: json!({"expected": [{"name": "mesh", "preset": "Istio", "for": "5m"}]}),
            ..valid("a preset", json!({"expected": [{"name": "mesh", "preset": "Istio"}]}))
        },
        valid("expected sidecars", json!({"expected": [
            {"name": "a", "preset": "OpenTelemetry", "for": "0s"},
            {"name": "b", "sidecar": {"name": "daprd"}, "for": "24h",
                "when": [{"from": "PodAnnotation", "key": "dapr.io/enabled", "values": ["true", "yes"]}],
                "unless": [{"from": "HostNetwork"}, {"from": "NamespaceLabel", "key": "example.com/team"}]},
            {"name": "c", "sidecar": {"namePattern": "logs-.*"}, "for": "5m"},
            {"name": "d", "sidecar": {"image": "*/fluent-bit"}, "for": "5m"},
        ]})),
        valid("no built-in knowledge", json!({"sidecars": {"native": "Exclude", "wellKnown": "Exclude"}})),
        valid("names at their bounds", json!({
            "sidecars": {"names": ["a", "0", "a--b", "x".repeat(63)], "exclude": {"names": numbered(64)}},
            "mainContainers": {"names": numbered(64)},
        })),
        valid("a pattern in RE2's syntax", json!({
            "sidecars": {"namePattern": r"(?i:helper)-[[:alnum:]]{2,8}|\Aagent\z|\d+"},
        })),
        valid("a pattern with classes that Go and Rust read alike", json!({
            "sidecars": {"namePattern": r"a--b|\[a&&b\]|[a\-\-b\[]|[[:^alpha:]_-]|[-a]|[]a][^]b]--[&~]&&\\\[c"},
        })),
        valid("patterns at their bound", json!({
            "sidecars": {"namePattern": "a".repeat(512), "exclude": {"namePattern": "[a-z]*".repeat(85)}},
        })),
        valid("image globs", json!({"sidecars": {"images": images}})),
        valid("as many image globs as fit", json!({"sidecars": {"images": numbered(64)}})),
        valid("a web page", json!({"runbookURL": page})),
        valid("a web page by plain http, at a bare address", json!({"runbookURL": "http://10.0.0.7/"})),
        valid("a URL at its bound", json!({"runbookURL": format!("https://example.com/{}", "a".repeat(492))})),
    ]
}

#[rustfmt::skip]
fn selectors() -> Vec<Valid> {
    let label_key = format!("{}/{}", "a.".repeat(126) + "a", "k".repeat(63));
    let selector = json!({
        "matchLabels": {"app": "web", "example.com/team": "", &*label_key: "v".repeat(63)},
        "matchExpressions": [
            {"key": "tier", "operator": "In", "values": ["front", "Back_end.2", ""]},
            {"key": "tier", "operator": "NotIn", "values": ["none"]},
            {"key": &*label_key, "operator": "Exists"},
            {"key": "old", "operator": "DoesNotExist", "values": []},
        ],
    });
    let labels: serde_json::Map<_, _> = (0..64).map(|i| (format!("k{i}"), json!("v"))).collect();
    let requirement = json!({"key": "app", "operator": "NotIn", "values": numbered(64)});
    let large = json!({"matchLabels": labels, "matchExpressions": vec![requirement; 64]});
    let namespaces = valid("namespaces", json!({"namespaceSelector": selector, "podSelector": selector}));
    let all_namespaces = Valid { stored: json!({"namespaceSelector": {}}), ..valid("all namespaces", json!({})) };
    let exemptions = |why: &str, spec: Value| Valid { kinds: Kinds::Cluster, ..valid(why, json!({"exemptions": spec})) };
    vec![
        exemptions("exemptions of some namespaces", json!({"namespaceSelector": selector, "maxDuration": "168h"})),
        exemptions("exemptions of all namespaces", json!({"maxDuration": "1m"})),
        exemptions("exemptions for a year", json!({"namespaceSelector": {}, "maxDuration": "8760h"})),
        valid("a selector of every kind", json!({"podSelector": selector})),
        valid("as large a selector as fits", json!({"podSelector": large})),
        Valid { kinds: Kinds::Cluster, ..namespaces },
        Valid { kinds: Kinds::Cluster, ..all_namespaces },
    ]
}

fn durations() -> Vec<Valid> {
    let bounds = |(path, min, max, _): (&str, &str, &str, _)| {
        ["the shortest", "the longest", "in parts"]
            .into_iter()
            .zip([min, max, "1h29m59s1000ms"])
            .map(|(why, text)| valid(why, nested(path, json!(text))))
            .collect::<Vec<_>>()
    };
    DURATIONS.into_iter().flat_map(bounds).collect()
}

#[tokio::test]
async fn valid_specs_are_accepted_and_defaulted() {
    let (_, client) = plane().await;
    let mut failures = Vec::new();
    for row in rows() {
        for kind in row.kinds.each() {
            let wrong = match try_create(&client, *kind, &json!({ "spec": row.spec })).await {
                Err(status) => Some(format!("it is rejected: {}", status.message)),
                Ok(object) => difference("spec", &row.stored, &object["spec"]),
            };
            failures.extend(wrong.map(|wrong| format!("{}: {} {}: {wrong}", row.why, kind.0, row.spec)));
        }
    }
    assert!(failures.is_empty(), "failed rows:\n{}", failures.join("\n"));
}

/// The first difference from the expected fields.
fn difference(path: &str, expected: &Value, found: &Value) -> Option<String> {
    match (expected, found) {
        (Value::Object(expected), Value::Object(found)) => expected.iter().find_map(|(name, value)| {
            difference(
                &format!("{path}.{name}"),
                value,
                found.get(name).unwrap_or(&Value::Null),
            )
        }),
        _ if expected == found => None,
        _ => Some(format!("{path} is {found} instead of {expected}")),
    }
}

#[tokio::test]
async fn a_policy_without_a_spec_has_all_defaults() {
    let (_, client) = plane().await;
    for kind in Kinds::Both.each() {
        let absent = try_create(&client, *kind, &json!({})).await.unwrap();
        let empty = try_create(&client, *kind, &json!({ "spec": {} })).await.unwrap();
        assert_eq!(absent["spec"], empty["spec"], "{}", kind.0);
        assert!(absent["spec"]["mode"].is_string(), "{absent}");
    }
}
