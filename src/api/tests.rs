//! Rules for every field of the schema: descriptions, defaults and bounds.

use super::{ClusterSidecarPolicySpec, SidecarPolicySpec, crds};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::{Map, Value, json};

/// The schemas of all kinds, with their names.
fn schemas() -> [(String, Value); 3] {
    crds::definitions().map(named_schema)
}

/// The schemas of both kinds of policy, with their names.
fn policy_schemas() -> [(String, Value); 2] {
    crds::policies().map(named_schema)
}

fn named_schema(definition: CustomResourceDefinition) -> (String, Value) {
    let kind = definition.spec.names.kind.clone();
    let definition = serde_json::to_value(definition).unwrap();
    let schema = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone();
    (kind, schema)
}

/// Calls `visit` with each property below a schema and its path.
fn walk(path: &str, schema: &Value, visit: &mut impl FnMut(&str, &Value)) {
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        visit(&path, property);
        walk(&path, property, visit);
    }
    for inner in ["items", "additionalProperties"] {
        if schema[inner].is_object() {
            let path = format!("{path}[]");
            visit(&path, &schema[inner]);
            walk(&path, &schema[inner], visit);
        }
    }
}

/// Returns the value with the defaults of the schema, as the API server adds them: first to the outer object.
fn defaulted(schema: &Value, value: &Value) -> Value {
    let (Some(properties), Some(fields)) = (schema["properties"].as_object(), value.as_object()) else {
        return value.clone();
    };
    let mut filled = Map::new();
    for (name, property) in properties {
        let field = fields.get(name).or(property.get("default"));
        filled.extend(field.map(|field| (name.clone(), defaulted(property, field))));
    }
    Value::Object(filled)
}

#[test]
fn the_types_have_the_defaults_of_the_schema() {
    let [namespaced, cluster] =
        policy_schemas().map(|(_, schema)| defaulted(&schema["properties"]["spec"], &json!({})));
    let spec: SidecarPolicySpec = serde_json::from_value(json!({})).unwrap();
    assert_eq!(spec, SidecarPolicySpec::default());
    assert_eq!(serde_json::to_value(spec).unwrap(), namespaced);
    let spec: ClusterSidecarPolicySpec = serde_json::from_value(json!({})).unwrap();
    assert_eq!(spec, ClusterSidecarPolicySpec::default());
    assert_eq!(serde_json::to_value(spec).unwrap(), cluster);
}

#[test]
fn every_field_of_a_policy_has_a_default() {
    for (kind, schema) in policy_schemas() {
        assert_eq!(
            (&schema["required"], &schema["properties"]["spec"]["default"]),
            (&Value::Null, &json!({})),
            "{kind}: the spec may be absent"
        );
        let mut without = Vec::new();
        walk("spec", &schema["properties"]["spec"], &mut |path, property| {
            // In a selector, an absent field means an empty one, as in Kubernetes. An entry of expected has one of several
            // fields.
            if !path.contains("Selector.")
                && !path.contains("expected[].")
                // The check is off if the field is absent.
                && path != "spec.checks.versionDrift"
                // No exemption is allowed if the field is absent.
                && !path.starts_with("spec.exemptions")
                && !path.ends_with("[]")
                && property.get("default").is_none()
            {
                without.push(path.to_string());
            }
        });
        assert_eq!(without, [""; 0], "{kind}");
    }
}

#[test]
fn every_field_is_described_in_a_sentence() {
    for (kind, schema) in schemas() {
        let mut bad = Vec::new();
        walk("", &schema, &mut |path, property| {
            let description = property["description"].as_str().unwrap_or_default();
            let sentence = description.ends_with('.') && !description.contains('\n');
            if !path.ends_with("[]") && !sentence {
                bad.push(format!("{path}: {description:?}"));
            }
        });
        assert_eq!(bad, [""; 0], "{kind}");
    }
}

#[test]
fn every_string_list_and_number_is_bounded() {
    for (kind, schema) in schemas() {
        let mut unbounded = Vec::new();
        walk("", &schema, &mut |path, property| {
            let has = |keyword: &str| property.get(keyword).is_some();
            let bounded = match property["type"].as_str().unwrap() {
                "string" => has("maxLength") || has("enum") || property["format"] == "date-time",
                "array" => has("maxItems") && has("x-kubernetes-list-type"),
                // A generation has no maximum.
                "integer" => has("minimum") && (has("maximum") || property["format"] == "int64"),
                "object" => has("properties") || has("maxProperties"),
                "boolean" => true,
                other => panic!("{kind}{path}: unexpected type {other}"),
            };
            if !bounded {
                unbounded.push(path.to_string());
            }
        });
        assert_eq!(unbounded, [""; 0], "{kind}");
    }
}

#[test]
fn the_bounds_of_a_spec_are_in_the_descriptions() {
    for (kind, schema) in schemas() {
        let mut incomplete = Vec::new();
        let mut seen = 0;
        walk("spec", &schema["properties"]["spec"], &mut |path, property| {
            let description = property["description"]
                .as_str()
                .unwrap_or_default()
                .replace(" (at once)", "");
            let bound = |keyword: &str| property[keyword].as_f64();
            let mut expected = Vec::new();
            if let (Some(min), Some(max)) = (bound("minimum"), bound("maximum")) {
                expected.push(format!("Between {min} and {max}."));
            }
            if let Some(max) = bound("maxItems").or(bound("maxProperties")) {
                expected.push(format!("t most {max}."));
            }
            if description.contains("characters.") {
                expected.push(format!("At most {} characters.", property["maxLength"]));
            }
            if let Some((field, min, max)) = duration_bounds(property) {
                expected.push(format!("Between {min} and {max}."));
                assert!(path.ends_with(field), "{kind}: the rule of {path} names {field}");
            }
            seen += expected.len();
            expected.retain(|text| !description.contains(&**text));
            if !path.ends_with("[]") && !expected.is_empty() {
                incomplete.push(format!("{path} lacks {expected:?}: {description}"));
            }
        });
        assert_eq!(incomplete, [""; 0], "{kind}");
        let least = if kind == "SidecarExemption" { 6 } else { 25 };
        assert!(seen >= least, "{kind}: the walk finds the bounds: {seen}");
    }
}

/// Returns the field, the minimum and the maximum of a duration, on which its rule and the message of the rule agree.
fn duration_bounds(property: &Value) -> Option<(&str, &str, &str)> {
    let rule = &property["x-kubernetes-validations"][0];
    let (field, bounds) = rule["message"]
        .as_str()?
        .split_once(" must be a duration between ")?;
    let (bounds, example) = bounds.split_once(", such as ")?;
    let (min, max) = bounds.split_once(" and ")?;
    let text = rule["rule"].as_str()?;
    assert!(text.contains(&format!(">= duration('{min}')")), "{field}: {text}");
    assert!(text.contains(&format!("<= duration('{max}')")), "{field}: {text}");
    let [min_, max_, example] = [min, max, example].map(|text| super::Duration::new(text).parse().unwrap());
    assert!(
        min_ <= example && example <= max_,
        "{field}: the example is within the bounds"
    );
    Some((field, min, max))
}
