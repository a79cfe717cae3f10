//! Values of both charts: values.yaml, README.md and values.schema.json contain the same. `UPDATE_CHART=1` updates README.md.

use std::collections::BTreeSet;
use std::fmt::Write;

use e2e::project::{read_yaml, repository};
use serde_json::Value;

use crate::helm::{CHART, CHARTS, POLICIES, read};

const BEGIN: &str = "<!-- values, from values.yaml: make chart -->\n";
const END: &str = "<!-- end of values -->";

/// A documented value.
struct Row {
    path: Vec<String>,
    text: String,
}

/// Values with a comment that starts with two dashes.
fn rows(yaml: &str) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut path: Vec<(usize, String)> = Vec::new();
    let mut text: Option<String> = None;
    for line in yaml.lines() {
        let content = line.trim_start();
        let indent = line.len() - content.len();
        if let Some(first) = content.strip_prefix("# -- ") {
            text = Some(first.to_owned());
        } else if let (Some(next), Some(text)) = (content.strip_prefix("# "), text.as_mut()) {
            write!(text, " {next}").unwrap();
        } else if let Some((key, _)) = content.split_once(':') {
            path.retain(|(outer, _)| *outer < indent);
            path.push((indent, key.to_owned()));
            if let Some(text) = text.take() {
                let path = path.iter().map(|(_, key)| key.clone()).collect();
                rows.push(Row { path, text });
            }
        }
    }
    rows
}

fn values(chart: &str) -> Value {
    read_yaml(format!("{chart}/values.yaml")).unwrap()
}

/// Paths of all values except non-empty maps.
fn leaves(value: &Value, path: &[String], into: &mut Vec<Vec<String>>) {
    match value.as_object().filter(|map| !map.is_empty()) {
        Some(map) => {
            for (key, value) in map {
                leaves(value, &[path, std::slice::from_ref(key)].concat(), into);
            }
        }
        None => into.push(path.to_vec()),
    }
}

#[test]
fn every_value_is_documented() {
    for (_, chart) in CHARTS {
        let rows = rows(&read(&format!("{chart}/values.yaml")));
        let mut all = Vec::new();
        leaves(&values(chart), &[], &mut all);
        for leaf in &all {
            assert!(
                rows.iter().any(|row| leaf.starts_with(&row.path)),
                "{chart}: no comment describes {}",
                leaf.join(".")
            );
        }
    }
}

#[test]
fn the_readme_lists_every_value() {
    for (_, chart) in CHARTS {
        let values = values(chart);
        let mut table = String::from("| value | default | |\n| --- | --- | --- |\n");
        for row in rows(&read(&format!("{chart}/values.yaml"))) {
            let default = values.pointer(&format!("/{}", row.path.join("/"))).unwrap();
            let (path, text) = (row.path.join("."), row.text.replace('|', "\\|"));
            writeln!(table, "| `{path}` | `{default}` | {text} |").unwrap();
        }
        let file = format!("{chart}/README.md");
        let readme = read(&file);
        let (before, rest) = readme.split_once(BEGIN).expect("a place for the values");
        let (_, after) = rest.split_once(END).expect("an end of the values");
        let expected = format!("{before}{BEGIN}{table}{END}{after}");
        if std::env::var_os("UPDATE_CHART").is_some() {
            std::fs::write(repository().join(&file), &expected).unwrap();
        }
        assert_eq!(read(&file), expected, "make chart");
    }
}

/// Resolves a reference to a definition of the schema.
fn resolved<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
    match schema["$ref"].as_str() {
        Some(reference) => root.pointer(reference.trim_start_matches('#')).unwrap(),
        None => schema,
    }
}

/// A closed map in the schema must have exactly the keys of values.yaml.
fn compare(root: &Value, schema: &Value, values: &Value, path: &str, closed: &mut usize) {
    let schema = resolved(root, schema);
    if schema["additionalProperties"] != Value::Bool(false) {
        return;
    }
    *closed += 1;
    let keys = |value: &Value| -> BTreeSet<String> { value.as_object().unwrap().keys().cloned().collect() };
    assert_eq!(keys(&schema["properties"]), keys(values), "keys of {path}");
    for (key, value) in values.as_object().unwrap() {
        let property = &schema["properties"][key];
        compare(root, property, value, &format!("{path}.{key}"), closed);
    }
}

#[test]
fn the_schema_lists_every_value() {
    // maps that Kubernetes or the user defines
    let open_maps = [
        (
            CHART,
            &[
                "global",
                "commonLabels",
                "resources",
                "podSecurityContext",
                "securityContext",
                "podAnnotations",
                "podLabels",
                "nodeSelector",
                "affinity",
            ][..],
        ),
        (POLICIES, &["global", "commonLabels", "annotations", "spec"]),
    ];
    for (chart, open) in open_maps {
        let schema = read_yaml(format!("{chart}/values.schema.json")).unwrap();
        let values = values(chart);
        let mut closed = 0;
        compare(&schema, &schema, &values, "values", &mut closed);
        let is_map = |(_, value): &(&String, &Value)| value.is_object();
        let maps = values.as_object().unwrap().iter().filter(is_map).count();
        // prometheusRole.serviceAccount, metrics.tls, metrics.auth, metrics.auth.tokenSecret
        let nested = if chart == CHART { 4 } else { 0 };
        assert_eq!(
            closed,
            1 + maps - open.len() + nested,
            "{chart}: every map with fixed keys is closed"
        );
    }
}
