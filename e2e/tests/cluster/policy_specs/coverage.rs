//! Every constraint of the schema has a row that violates it, and the API server rejects every row.

use super::{CLUSTER_SIDECAR_POLICY, causes, plane, try_create};
use crate::policy_specs::invalid::{Invalid, Kinds, rows};
use kube::core::Status;
use serde_json::Value;
use std::collections::BTreeSet;

#[tokio::test]
async fn invalid_specs_are_rejected_with_one_cause_and_its_solution() {
    let (_, client) = plane().await;
    let mut failures = Vec::new();
    for row in rows() {
        for kind in row.kinds.each() {
            let wrong = match try_create(&client, *kind, &row.body).await {
                Ok(_) => Some("it is accepted".into()),
                Err(status) => complaint(&row, &status),
            };
            failures.extend(wrong.map(|wrong| format!("{}: {} {}: {wrong}", row.why, kind.0, row.body)));
        }
    }
    assert!(failures.is_empty(), "failed rows:\n{}", failures.join("\n"));
}

/// The difference from the expected rejection.
fn complaint(row: &Invalid, status: &Status) -> Option<String> {
    let causes = causes(status);
    let [(field, message)] = &causes[..] else {
        return Some(format!("more than one cause: {causes:?}"));
    };
    let missing: Vec<_> = row
        .says
        .iter()
        .filter(|words| !message.contains(&***words))
        .collect();
    if *field != row.field {
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
    for definition in sidewatch::api::crds::policies() {
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

/// Whether one of the texts contains the other.
fn meets(said: &str, message: &str) -> bool {
    message.contains(said) || said.contains(message)
}

/// All constraints below a path, as path and part of the message of the API server.
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
        // the fixed part of a computed message
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

/// The path of a field without indices. The key of a map is an index too, although the API server writes it as a field in some
/// messages.
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
