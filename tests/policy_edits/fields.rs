//! The fields of the spec, from the schemas of the CRDs.

use std::{collections::BTreeMap, sync::LazyLock};

use serde_json::{Map, Value, json};
use sidewatch::{api::crds, domain::policy::PolicyKind};

/// The schemas of all fields with a value of their own, by path. `[]` in a path is an entry of a list.
pub(crate) fn of(kind: PolicyKind) -> &'static BTreeMap<String, Value> {
    static FIELDS: LazyLock<[BTreeMap<String, Value>; 2]> =
        LazyLock::new(|| [PolicyKind::SidecarPolicy, PolicyKind::ClusterSidecarPolicy].map(read));
    match kind {
        PolicyKind::SidecarPolicy => &FIELDS[0],
        PolicyKind::ClusterSidecarPolicy => &FIELDS[1],
    }
}

fn read(kind: PolicyKind) -> BTreeMap<String, Value> {
    let definitions = crds::definitions();
    let definition = definitions
        .iter()
        .find(|d| d.spec.names.kind == kind.as_str())
        .unwrap();
    let definition = serde_json::to_value(definition).unwrap();
    let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    let mut found = BTreeMap::new();
    collect("", schema, &mut found);
    assert!(found.len() > 40, "the walk finds the fields: {}", found.len());
    found
}

fn collect(path: &str, schema: &Value, found: &mut BTreeMap<String, Value>) {
    let fields = schema["properties"]
        .as_object()
        .or(schema["items"]["properties"].as_object());
    let Some(fields) = fields else {
        found.insert(path.to_owned(), schema.clone());
        return;
    };
    let in_list = if schema["items"].is_object() { "[]" } else { "" };
    for (name, field) in fields {
        let dot = if path.is_empty() { "" } else { "." };
        collect(&format!("{path}{in_list}{dot}{name}"), field, found);
    }
}

/// Sets or removes a field of a spec. `[]` is the first entry.
pub(crate) fn set(spec: &mut Value, path: &str, value: Option<Value>) {
    let mut place = spec;
    let mut parts = path.split('.').peekable();
    while let Some(part) = parts.next() {
        let (name, in_list) = part.strip_suffix("[]").map_or((part, false), |name| (name, true));
        let fields = place.as_object_mut().unwrap();
        if parts.peek().is_none() {
            match value {
                Some(value) => fields.insert(name.to_owned(), value),
                None => fields.remove(name),
            };
            return;
        }
        let empty = if in_list {
            json!([{}])
        } else {
            Value::Object(Map::new())
        };
        place = fields.entry(name).or_insert(empty);
        if in_list {
            place = &mut place[0];
        }
    }
}

/// The value of a field of a spec.
pub(crate) fn get<'a>(spec: &'a Value, path: &str) -> Option<&'a Value> {
    spec.pointer(&format!("/{}", path.replace("[]", "/0").replace('.', "/")))
}
