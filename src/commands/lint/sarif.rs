//! Findings as SARIF 2.1.0 (OASIS), for code scanning.

use std::fmt::Write;

use serde_json::{Value, json};

use super::Located;
use crate::lint::{
    finding::Severity,
    rules::{self, Rule},
};

const SCHEMA: &str = "https://json.schemastore.org/sarif-2.1.0.json";

/// Renders all findings.
pub(super) fn render(findings: &[Located]) -> serde_json::Result<String> {
    let log = json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": "sidewatch lint",
                "semanticVersion": env!("CARGO_PKG_VERSION"),
                "rules": rules::all().map(rule).collect::<Vec<_>>(),
            }},
            // Columns count characters.
            "columnKind": "unicodeCodePoints",
            "results": findings.iter().map(result).collect::<Vec<_>>(),
        }],
    });
    Ok(serde_json::to_string_pretty(&log)? + "\n")
}

fn rule(rule: &Rule) -> Value {
    json!({
        "id": rule.code,
        "shortDescription": {"text": rule.title},
        "defaultConfiguration": {"level": level(rule.severity)},
    })
}

fn result(located: &Located) -> Value {
    let Located { file, finding } = located;
    let object = &finding.object;
    let name = [object.kind.as_str(), &object.namespace, &object.name]
        .into_iter()
        .filter(|part| !part.is_empty())
        .chain([finding.path.as_str()])
        .collect::<Vec<_>>()
        .join("/");
    let mut location = json!({"logicalLocations": [{"fullyQualifiedName": name}]});
    if let Some(file) = file
        && let Some(location) = location.as_object_mut()
    {
        let physical = json!({
            "artifactLocation": {"uri": uri(file)},
            "region": {"startLine": finding.location.line, "startColumn": finding.location.column},
        });
        location.insert("physicalLocation".to_owned(), physical);
    }
    json!({
        "ruleId": finding.code,
        "ruleIndex": rules::all().position(|rule| rule.code == finding.code),
        "level": level(finding.severity),
        "message": {"text": format!("{}. To correct it: {}.", finding.message, finding.help)},
        "locations": [location],
    })
}

fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Info => "note",
    }
}

/// Returns a path as a URI (RFC 3986).
fn uri(path: &str) -> String {
    let mut uri = if path.starts_with('/') { "file://" } else { "" }.to_owned();
    for byte in path.trim_start_matches("./").bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                uri.push(char::from(byte));
            }
            // Writing to a String cannot fail.
            _ => drop(write!(uri, "%{byte:02X}")),
        }
    }
    uri
}
