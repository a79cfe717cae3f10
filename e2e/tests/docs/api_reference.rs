//! `docs/api.md` is written from the schema: `UPDATE_DOCS=1 cargo test -p e2e --test docs api` writes it anew.

use std::fmt::Write as _;
use std::{env, fs};

use serde_json::{Map, Value};
use sidewatch::api::crds::definitions;

use e2e::project::repository;

const PREAMBLE: &str = "\
# API reference

The API group `sidewatch.dev/v1alpha1` has two kinds of policy with the same spec and status, and a kind of exemption. This page
is generated from their schema, which `kubectl explain --recursive` also shows. Durations are strings such as `90s`, `5m` or
`1h30m`.

";

#[test]
fn the_api_reference_is_up_to_date() {
    let file = repository().join("docs/api.md");
    let expected = reference();
    if env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&file, &expected).unwrap();
    }
    let found = fs::read_to_string(&file).unwrap_or_default();
    assert!(
        found == expected,
        "docs/api.md differs from the schema: run `UPDATE_DOCS=1 cargo test -p e2e --test docs api`"
    );
}

fn reference() -> String {
    let [namespaced, cluster, exemption] =
        definitions().map(|definition| serde_json::to_value(definition).unwrap());
    let mut page = PREAMBLE.to_owned();
    kind(&mut page, &namespaced);
    kind(&mut page, &cluster);

    let shared = schema(&namespaced);
    let mut of_cluster = schema(&cluster);
    let fields = of_cluster["spec"]["properties"].as_object_mut().unwrap();
    let only: Map<String, Value> = ["exemptions", "namespaceSelector"]
        .into_iter()
        .map(|name| (name.to_owned(), fields.remove(name).unwrap()))
        .collect();
    let mut of_namespaced = shared.clone();
    for schema in [&mut of_namespaced, &mut of_cluster] {
        schema["spec"].as_object_mut().unwrap().remove("description");
    }
    assert_eq!(
        of_namespaced, of_cluster,
        "the kinds differ by these fields alone"
    );

    page.push_str("Its spec has these additional fields:\n\n");
    section(&mut page, "spec (ClusterSidecarPolicy)", &only);
    for (title, part) in [("Spec", "spec"), ("Status", "status")] {
        write!(page, "## {title}\n\nThe {part} of both kinds of policy.\n\n").unwrap();
        section(&mut page, part, shared[part]["properties"].as_object().unwrap());
    }
    kind(&mut page, &exemption);
    let exemption = schema(&exemption);
    for part in ["spec", "status"] {
        let fields = exemption[part]["properties"].as_object().unwrap();
        section(&mut page, &format!("exemption.{part}"), fields);
    }
    format!("{}\n", page.trim_end())
}

fn schema(definition: &Value) -> Value {
    definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"].clone()
}

fn kind(page: &mut String, definition: &Value) {
    let spec = &definition["spec"];
    let version = &spec["versions"][0];
    let text = |pointer: &str| spec.pointer(pointer).and_then(Value::as_str).unwrap();
    let description = version["schema"]["openAPIV3Schema"]["description"]
        .as_str()
        .unwrap();
    let selectable = version["selectableFields"][0]["jsonPath"]
        .as_str()
        .map_or_else(String::new, |field| format!("; selectable field `{field}`"));
    write!(
        page,
        "## {}\n\n{description}\n\n{}; short name `{}`; category `{}`{selectable}.\n\n",
        text("/names/kind"),
        text("/scope"),
        text("/names/shortNames/0"),
        text("/names/categories/0"),
    )
    .unwrap();
}

/// The fields of an object as a table, and then those of the objects in it.
fn section(page: &mut String, path: &str, fields: &Map<String, Value>) {
    writeln!(
        page,
        "### {path}\n\n| field | type | default | meaning |\n| --- | --- | --- | --- |"
    )
    .unwrap();
    let mut inner = Vec::new();
    for (name, schema) in fields {
        let path = format!("{}.{name}", path.split(' ').next().unwrap());
        let shown = match objects_in(schema) {
            Some((fields, list)) => {
                let anchor: String = path.to_lowercase().chars().filter(|c| *c != '.').collect();
                inner.push((path, fields));
                format!("{}[{}](#{anchor})", if list { "list of " } else { "" }, "object")
            }
            None => type_of(schema),
        };
        let default = schema.get("default").map(default_of).unwrap_or_default();
        let meaning = cell(schema["description"].as_str().unwrap_or_default());
        writeln!(page, "| `{name}` | {shown} | {default} | {meaning} |").unwrap();
    }
    page.push('\n');
    for (path, fields) in inner {
        section(page, &path, fields);
    }
}

/// A default that is worth showing: not that an object or a list is empty.
fn default_of(default: &Value) -> String {
    match default {
        Value::String(text) if !text.is_empty() => format!("`{text}`"),
        Value::Number(number) => format!("`{number}`"),
        _ => String::new(),
    }
}

/// The fields of the object that this is, or of those in the list that this is.
fn objects_in(schema: &Value) -> Option<(&Map<String, Value>, bool)> {
    let direct = schema.get("properties").map(|fields| (fields, false));
    let (fields, list) =
        direct.or_else(|| schema.pointer("/items/properties").map(|fields| (fields, true)))?;
    Some((fields.as_object()?, list))
}

fn type_of(schema: &Value) -> String {
    if let Some(values) = schema.get("enum").and_then(Value::as_array) {
        let values: Vec<_> = values
            .iter()
            .map(|value| format!("`{}`", value.as_str().unwrap()))
            .collect();
        return values.join(" ");
    }
    let name = schema["type"].as_str().unwrap_or("any");
    let at_most = |field: &str| {
        let most = schema[field].as_u64();
        most.map_or(String::new(), |most| format!(", at most {most}"))
    };
    match name {
        "array" => format!("list of {}{}", type_of(&schema["items"]), at_most("maxItems")),
        "object" => {
            let values = type_of(&schema["additionalProperties"]);
            format!("map of string to {values}{}", at_most("maxProperties"))
        }
        "integer" => match (schema["minimum"].as_f64(), schema["maximum"].as_f64()) {
            (Some(least), Some(most)) if most < f64::from(i32::MAX) => format!("integer, {least} to {most}"),
            _ => "integer".to_owned(),
        },
        _ => schema["format"].as_str().unwrap_or(name).to_owned(),
    }
}

fn cell(text: &str) -> String {
    text.replace('\n', " ")
        .replace('|', "\\|")
        .replace('*', "\\*")
        .replace('<', "&lt;")
}
