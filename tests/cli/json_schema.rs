//! Validates JSON against the schemas that the tests use: JSON Schema draft 7, without the keywords that they do not have.
//!
//! The crates for JSON Schema turn on features of `serde_json` or `regex` that the product does not have, so the tests would
//! test another build. An unknown keyword fails the test.

use regex::Regex;
use serde_json::{Map, Value};

/// Returns each difference between a value and the schema, with its path.
pub(crate) fn problems(schema: &Value, value: &Value) -> Vec<String> {
    let mut problems = Vec::new();
    Validator { root: schema }.check(schema, value, "", &mut problems);
    problems
}

struct Validator<'a> {
    root: &'a Value,
}

impl Validator<'_> {
    fn check(&self, schema: &Value, value: &Value, path: &str, problems: &mut Vec<String>) {
        let schema = match schema {
            Value::Bool(true) => return,
            Value::Bool(false) => return problems.push(format!("{path} is not allowed")),
            Value::Object(schema) => schema,
            other => panic!("{other} is not a schema"),
        };
        for (keyword, argument) in schema {
            let is_valid = match keyword.as_str() {
                "$schema" | "$id" | "title" | "description" | "default" | "definitions" => true,
                "$ref" => {
                    let pointer = argument.as_str().unwrap().strip_prefix('#').unwrap();
                    self.check(self.root.pointer(pointer).unwrap(), value, path, problems);
                    true
                }
                "type" => has_type(value, argument.as_str().unwrap()),
                "enum" => argument.as_array().unwrap().contains(value),
                "minimum" => number(value).is_none_or(|n| n >= number(argument).unwrap()),
                "maximum" => number(value).is_none_or(|n| n <= number(argument).unwrap()),
                "pattern" => value.as_str().is_none_or(|text| matches(text, argument)),
                "format" => value
                    .as_str()
                    .is_none_or(|text| has_format(text, argument.as_str().unwrap())),
                "minItems" => value
                    .as_array()
                    .is_none_or(|items| items.len() >= usize::try_from(argument.as_u64().unwrap()).unwrap()),
                "uniqueItems" => value.as_array().is_none_or(|items| {
                    items
                        .iter()
                        .enumerate()
                        .all(|(n, item)| !items[..n].contains(item))
                }),
                "items" => {
                    for (n, item) in value.as_array().into_iter().flatten().enumerate() {
                        self.check(argument, item, &format!("{path}/{n}"), problems);
                    }
                    true
                }
                "required" => value.as_object().is_none_or(|fields| {
                    let mut names = argument.as_array().unwrap().iter();
                    names.all(|name| fields.contains_key(name.as_str().unwrap()))
                }),
                "properties" => {
                    for (name, field) in value.as_object().into_iter().flatten() {
                        if let Some(of_field) = argument.get(name) {
                            self.check(of_field, field, &format!("{path}/{name}"), problems);
                        }
                    }
                    true
                }
                "additionalProperties" => {
                    for (name, field) in additional(schema, value) {
                        self.check(argument, field, &format!("{path}/{name}"), problems);
                    }
                    true
                }
                "anyOf" => self.matching(argument, value) > 0,
                "oneOf" => self.matching(argument, value) == 1,
                other => panic!("the keyword {other} is not supported"),
            };
            if !is_valid {
                problems.push(format!("{path}: {value} violates {keyword} {argument}"));
            }
        }
    }

    /// The number of schemas that accept the value.
    fn matching(&self, schemas: &Value, value: &Value) -> usize {
        let accepts = |schema: &&Value| {
            let mut problems = Vec::new();
            self.check(schema, value, "", &mut problems);
            problems.is_empty()
        };
        schemas.as_array().unwrap().iter().filter(accepts).count()
    }
}

/// The fields of an object that are not in `properties`.
fn additional<'a>(
    schema: &'a Map<String, Value>,
    value: &'a Value,
) -> impl Iterator<Item = (&'a String, &'a Value)> {
    let known = schema.get("properties");
    let fields = value.as_object().into_iter().flatten();
    fields.filter(move |(name, _)| known.is_none_or(|known| known.get(name).is_none()))
}

fn has_type(value: &Value, name: &str) -> bool {
    match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "number" => value.is_number(),
        "integer" => value.is_i64() || value.is_u64(),
        other => panic!("the type {other} is not supported"),
    }
}

fn number(value: &Value) -> Option<f64> {
    value.as_f64()
}

fn matches(text: &str, pattern: &Value) -> bool {
    Regex::new(pattern.as_str().unwrap()).unwrap().is_match(text)
}

fn has_format(text: &str, format: &str) -> bool {
    match format {
        "uri" => text.parse::<http::Uri>().is_ok_and(|uri| uri.scheme().is_some()),
        // A path is a reference (RFC 3986), if other characters are written as % and two digits.
        "uri-reference" => matches(
            text,
            &Value::from(r"^([A-Za-z0-9._~:/?#@!$&'()*+,;=-]|%[0-9A-F]{2})*$"),
        ),
        "date-time" => text.parse::<jiff::Timestamp>().is_ok(),
        other => panic!("the format {other} is not supported"),
    }
}

#[test]
fn values_that_violate_a_schema_are_found() {
    let schema = serde_json::json!({
        "type": "object", "required": ["level"], "additionalProperties": false,
        "properties": {
            "level": {"enum": ["note", "error"]},
            "line": {"$ref": "#/definitions/line"},
            "codes": {"type": "array", "minItems": 1, "uniqueItems": true, "items": {"pattern": "^SC"}},
            "uri": {"format": "uri-reference"},
            "id": {"anyOf": [{"type": "string"}, {"type": "integer", "maximum": 3}]},
            "one": {"oneOf": [{"type": "number"}, {"type": "integer"}]},
        },
        "definitions": {"line": {"type": "integer", "minimum": 1}},
    });
    let table = [
        (
            r#"{"level": "note", "line": 1, "codes": ["SC1"], "uri": "a%20b", "id": 3, "one": 1.5}"#,
            0,
        ),
        ("[]", 1),
        ("{}", 1),
        (r#"{"level": "warn"}"#, 1),
        (r#"{"level": "note", "other": 1}"#, 1),
        (r#"{"level": "note", "line": 0}"#, 1),
        (r#"{"level": "note", "line": 1.5}"#, 1),
        (r#"{"level": "note", "codes": []}"#, 1),
        (r#"{"level": "note", "codes": ["SC1", "SC1"]}"#, 1),
        (r#"{"level": "note", "codes": ["SC1", "X"]}"#, 1),
        (r#"{"level": "note", "uri": "a b"}"#, 1),
        (r#"{"level": "note", "id": 4}"#, 1),
        (r#"{"level": "note", "one": 1}"#, 1),
    ];
    for (value, expected) in table {
        let found = problems(&schema, &serde_json::from_str(value).unwrap());
        assert_eq!(found.len(), expected, "{value}: {found:?}");
    }
}
