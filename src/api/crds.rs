//! The `CustomResourceDefinition`s of all kinds, as objects and as YAML.
//!
//! `crds/` contains the same YAML, one file for each kind, so that it can be applied without the binary. A test fails if
//! they differ. `UPDATE_CRDS=1 cargo test crds` writes the files.

use super::{
    exemption::SidecarExemption,
    policy::{ClusterSidecarPolicy, SidecarPolicy},
};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceColumnDefinition, CustomResourceDefinition, JSON, JSONSchemaProps,
};
use kube::CustomResourceExt;
use serde_json::{Value, json};

/// The definitions of all kinds: those of [`policies`], and that of the exemption.
pub fn definitions() -> [CustomResourceDefinition; 3] {
    let [namespaced, cluster] = policies();
    let mut exemption = SidecarExemption::crd();
    for version in &mut exemption.spec.versions {
        version.additional_printer_columns = Some(exemption_columns());
    }
    [namespaced, cluster, exemption]
}

/// The definitions of both kinds of policy, the namespaced one first, with their printer columns.
pub fn policies() -> [CustomResourceDefinition; 2] {
    [SidecarPolicy::crd(), ClusterSidecarPolicy::crd()].map(|mut definition| {
        for version in &mut definition.spec.versions {
            version.additional_printer_columns = Some(policy_columns());
            if let Some(schema) = version
                .schema
                .as_mut()
                .and_then(|validation| validation.open_api_v3_schema.as_mut())
            {
                default_spec(schema);
            }
        }
        definition
    })
}

/// Makes `spec` optional, with the default `{}`. Server-side apply removes an empty `spec` when it is applied again: the
/// API server has added the default of each field, so the applied object owns none of them.
fn default_spec(schema: &mut JSONSchemaProps) {
    schema.required.take_if(|required| {
        required.retain(|field| field != "spec");
        required.is_empty()
    });
    let spec = schema
        .properties
        .as_mut()
        .and_then(|properties| properties.get_mut("spec"));
    if let Some(spec) = spec {
        spec.default = Some(JSON(json!({})));
    }
}

/// The columns of `kubectl get` for policies.
fn policy_columns() -> Vec<CustomResourceColumnDefinition> {
    let health = ".status.conditions[?(@.type==\"SidecarsHealthy\")]";
    let (healthy, message) = (format!("{health}.status"), format!("{health}.message"));
    #[rustfmt::skip]
    let columns = [
        ("Ready", "string", READY, "Whether the policy is being evaluated.", 0),
        ("Healthy", "string", &healthy, "Whether no violation is firing.", 0),
        ("Mode", "string", ".spec.mode", "How Sidewatch reports a violation.", 0),
        ("Pods", "integer", ".status.summary.pods", "Pods that the policy selects.", 0),
        ("Sidecars", "integer", ".status.summary.sidecars", "Sidecars in those Pods.", 0),
        ("Firing", "integer", ".status.summary.firing", "Violations that are firing.", 0),
        ("Age", "date", AGE, "The age of the policy.", 0),
        ("Pending", "integer", ".status.summary.pending", "Violations that fire if their fault lasts long enough.", 1),
        ("Message", "string", &message, "A summary of the health of the sidecars.", 1),
    ];
    columns.map(column).into()
}

/// The columns of `kubectl get` for exemptions.
fn exemption_columns() -> Vec<CustomResourceColumnDefinition> {
    #[rustfmt::skip]
    let columns = [
        ("Workload", "string", ".status.workload", "The workload, or the selector of the Pods.", 0),
        ("Checks", "string", ".status.checks", "The checks whose violations are hidden.", 0),
        // A column of type date shows an age, which a time in the future does not have.
        ("Until", "string", ".spec.until", "The time at which the exemption ends.", 0),
        ("Active", "string", ACTIVE, "Whether the exemption has an effect.", 0),
        ("Hides", "integer", ".status.hides", "Firing violations that are hidden now.", 0),
        ("Age", "date", AGE, "The age of the exemption.", 0),
        ("Reason", "string", ".spec.reason", "Why the violations are hidden.", 1),
    ];
    columns.map(column).into()
}

const READY: &str = ".status.conditions[?(@.type==\"Ready\")].status";
const ACTIVE: &str = ".status.conditions[?(@.type==\"Active\")].status";
const AGE: &str = ".metadata.creationTimestamp";

/// A column from its name, type, path, description and priority. Columns with priority 1 are for `-o wide`.
fn column(
    (name, type_, json_path, description, priority): (&str, &str, &str, &str, i32),
) -> CustomResourceColumnDefinition {
    CustomResourceColumnDefinition {
        name: name.into(),
        type_: type_.into(),
        json_path: json_path.into(),
        description: Some(description.into()),
        priority: (priority > 0).then_some(priority),
        format: None,
    }
}

/// All definitions as one stream of YAML documents.
pub fn yaml() -> Result<String, Error> {
    definitions().iter().map(document).collect()
}

/// An error in writing the definitions as YAML.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A definition cannot be converted to JSON.
    #[error("cannot serialize a definition: {0}")]
    Json(#[from] serde_json::Error),
    /// The JSON cannot be written as YAML.
    #[error("cannot write a definition as YAML: {0}")]
    Yaml(#[from] serde_saphyr::ser::Error),
}

/// One definition as a YAML document with its `---` marker.
fn document(definition: &CustomResourceDefinition) -> Result<String, Error> {
    let mut value = serde_json::to_value(definition)?;
    whole_numbers(&mut value);
    // Writes each text on one line, so that a diff shows the changed words.
    let options = serde_saphyr::ser_options! { prefer_block_scalars: false, compact_list_indent: true };
    Ok(format!(
        "---\n{}",
        serde_saphyr::to_string_with_options(&value, options)?
    ))
}

/// Replaces `1000.0` by `1000`. Bounds in a schema are floating point numbers, but all bounds here are for integers.
fn whole_numbers(value: &mut Value) {
    match value {
        Value::Number(number) => {
            if let Some(whole) = number
                .as_f64()
                .and_then(|float| format!("{float}").parse::<i64>().ok())
            {
                *number = whole.into();
            }
        }
        Value::Array(items) => items.iter_mut().for_each(whole_numbers),
        Value::Object(fields) => fields.values_mut().for_each(whole_numbers),
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{env, fs, path::Path};

    #[test]
    fn the_files_in_crds_are_up_to_date() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("crds");
        for definition in definitions() {
            let file = directory.join(format!(
                "{}_{}.yaml",
                definition.spec.group, definition.spec.names.plural
            ));
            let expected = document(&definition).unwrap();
            if env::var_os("UPDATE_CRDS").is_some() {
                fs::write(&file, &expected).unwrap();
            }
            let found = fs::read_to_string(&file).unwrap_or_default();
            assert!(
                found == expected,
                "{} differs from src/api: run `UPDATE_CRDS=1 cargo test crds`",
                file.display()
            );
        }
    }

    /// Calls `visit` with each CEL expression in a definition.
    fn visit_expressions(value: &Value, visit: &mut impl FnMut(&str)) {
        match value {
            Value::Array(items) => items.iter().for_each(|item| visit_expressions(item, visit)),
            Value::Object(fields) => {
                for (name, field) in fields {
                    if let (true, Some(text)) =
                        (["rule", "messageExpression"].contains(&&**name), field.as_str())
                    {
                        visit(text);
                    }
                    visit_expressions(field, visit);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    /// An API server compiles new CRDs with the CEL libraries of the version before it. `format.` is newer than 1.29.
    #[test]
    fn cel_expressions_use_only_functions_of_kubernetes_1_29() {
        let known = [
            "all",
            "contains",
            "duration",
            "filter",
            "find",
            "findAll",
            "getHostname",
            "getScheme",
            "has",
            "in",
            "isURL",
            "matches",
            "size",
            "url",
        ];
        let call = regex::Regex::new(r"([A-Za-z]\w*) ?\(").unwrap();
        let literal = regex::Regex::new(r"r?'[^']*'").unwrap();
        let mut seen = 0;
        for definition in definitions() {
            visit_expressions(&serde_json::to_value(definition).unwrap(), &mut |text| {
                let code = literal.replace_all(text, "''");
                assert!(!code.contains("format."), "{text}");
                for function in call.captures_iter(&code).map(|found| found[1].to_owned()) {
                    assert!(known.contains(&&*function), "{function} in {text}");
                    seen += 1;
                }
            });
        }
        assert!(seen > 100, "the walk finds the expressions: {seen}");
    }

    #[test]
    fn the_yaml_parses_to_the_definitions() {
        let found: Vec<CustomResourceDefinition> = serde_saphyr::from_multiple(&yaml().unwrap()).unwrap();
        assert_eq!(found, definitions());
    }
}
