//! The tables against the schema: every constraint of the spec has a row that fails by it, so that a new field or bound
//! without a test does not go unseen; and the rows against the API server.

use super::{CLUSTER_SIDECAR_POLICY, SIDECAR_POLICY, plane, try_create};
use crate::policy_specs::invalid::{Invalid, Kinds, rows};
use kube::core::Status;
use serde_json::Value;
use std::collections::BTreeSet;

/// What the API server adds when an object is too broken for CEL.
const NOTICE: &str = "some validation rules were not checked because the object was invalid";

#[tokio::test]
async fn invalid_specs_are_refused_with_one_cause_that_says_the_way_out() {
    let (_, client) = plane().await;
    let mut failures = Vec::new();
    for row in rows() {
        for (kind, skip) in [
            (SIDECAR_POLICY, Kinds::Cluster),
            (CLUSTER_SIDECAR_POLICY, Kinds::Namespaced),
        ] {
            if row.kinds == skip {
                continue;
            }
            let wrong = match try_create(&client, kind, &row.body).await {
                Ok(_) => Some("it is taken".into()),
                Err(status) => complaint(&row, &status),
            };
            failures.extend(wrong.map(|wrong| format!("{}: {} {}: {wrong}", row.why, kind.0, row.body)));
        }
    }
    assert!(
        failures.is_empty(),
        "{} rows fail:\n{}",
        failures.len(),
        failures.join("\n")
    );
}

/// What is wrong with a refusal, if anything.
fn complaint(row: &Invalid, status: &Status) -> Option<String> {
    let causes: Vec<(&str, &str)> = status
        .details
        .iter()
        .flat_map(|details| &details.causes)
        .map(|cause| (&*cause.field, &*cause.message))
        .filter(|(_, message)| !message.contains(NOTICE))
        .collect();
    // An unknown field is refused before validation: the message is all there is
    let (field, message) = match *causes.as_slice() {
        [] => ("", &*status.message),
        [cause] => cause,
        _ => return Some(format!("more than one cause: {causes:?}")),
    };
    let missing: Vec<_> = row
        .says
        .iter()
        .filter(|words| !message.contains(&***words))
        .collect();
    if field != row.field {
        Some(format!(
            "the cause names {field:?} instead of {:?}: {message}",
            row.field
        ))
    } else if !missing.is_empty() {
        Some(format!("the cause lacks {missing:?}: {message}"))
    } else if !(400..500).contains(&status.code) {
        Some(format!("it is not refused but fails: {status:?}"))
    } else {
        None
    }
}

#[test]
fn every_constraint_has_a_row() {
    let rows = rows();
    for definition in sidewatch::api::crds::definitions() {
        let kind = definition.spec.names.kind.clone();
        let of_kind = if kind == CLUSTER_SIDECAR_POLICY.0 {
            Kinds::Cluster
        } else {
            Kinds::Namespaced
        };
        let definition = serde_json::to_value(&definition).unwrap();
        let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
        let mut constraints = Vec::new();
        collect("spec", schema, &mut constraints);
        assert!(
            constraints.len() > 80,
            "the walk finds the schema's constraints: {}",
            constraints.len()
        );

        let tried: BTreeSet<(String, &str)> = rows
            .iter()
            .filter(|row| row.kinds == Kinds::Both || row.kinds == of_kind)
            .flat_map(|row| row.says.iter().map(|words| (unindexed(&row.field), &**words)))
            .collect();
        let missing: Vec<_> = constraints
            .iter()
            .filter(|(path, words)| {
                !tried
                    .iter()
                    .any(|(field, said)| field == path && meets(said, words))
            })
            .collect();
        assert!(
            missing.is_empty(),
            "{kind} has constraints that no invalid spec tries: {missing:#?}"
        );
    }
}

/// Whether the words that a row expects speak of a constraint's message: one is a part of the other.
fn meets(said: &str, message: &str) -> bool {
    message.contains(said) || said.contains(message)
}

/// Every constraint below a path, as the path and words of the API server's message.
fn collect(path: &str, schema: &Value, found: &mut Vec<(String, String)>) {
    let mut add = |path: String, words: String| found.push((path, words));
    if let Some(values) = schema["enum"].as_array() {
        let values: Vec<_> = values.iter().map(ToString::to_string).collect();
        add(path.into(), format!("supported values: {}", values.join(", ")));
    }
    for (keyword, words) in [
        ("maxLength", "may not be more than "),
        ("maximum", "should be less than or equal to "),
        ("minimum", "should be greater than or equal to "),
    ] {
        if let Some(bound) = schema[keyword].as_f64() {
            add(path.into(), format!("{words}{bound}"));
        }
    }
    for keyword in ["maxItems", "maxProperties"] {
        if let Some(bound) = schema[keyword].as_f64() {
            add(path.into(), format!("must have at most {bound} items"));
        }
    }
    if schema["x-kubernetes-list-type"] == "set" {
        add(format!("{path}[]"), "Duplicate value".into());
    }
    for field in schema["required"].as_array().into_iter().flatten() {
        add(
            format!("{path}.{}", field.as_str().unwrap()),
            "Required value".into(),
        );
    }
    for rule in schema["x-kubernetes-validations"]
        .as_array()
        .into_iter()
        .flatten()
    {
        let below = rule["fieldPath"].as_str().unwrap_or_default();
        // A rule that makes its message says its fixed words too
        let message = match rule["messageExpression"].as_str() {
            Some(expression) => expression.rsplit("\" ").next().unwrap().trim_end_matches('\''),
            None => rule["message"].as_str().unwrap(),
        };
        add(format!("{path}{below}"), message.into());
    }
    if schema["items"].is_object() {
        collect(&format!("{path}[]"), &schema["items"], found);
    }
    if schema["additionalProperties"].is_object() {
        collect(&format!("{path}[]"), &schema["additionalProperties"], found);
    }
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        collect(&format!("{path}.{name}"), field, found);
    }
}

/// A field's path with its indices left out, as they differ from row to row. A map's key is an index too, though the API
/// server writes it as a field where a bound fails.
fn unindexed(field: &str) -> String {
    let field = field.replace("matchLabels.app", "matchLabels[app]");
    let mut inside = false;
    field
        .chars()
        .filter(|&c| {
            let keep = !inside || c == ']';
            inside = (inside || c == '[') && c != ']';
            keep
        })
        .collect()
}
