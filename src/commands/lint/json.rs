//! Findings as JSON.

use serde::Serialize;

use super::Located;
use crate::lint::edit::Change;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Result<'a> {
    /// The number of Pod templates that were examined.
    templates: usize,
    findings: Vec<Finding<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Finding<'a> {
    code: &'a str,
    severity: &'a str,
    /// The place in a file. A workload of the cluster has none.
    #[serde(flatten)]
    place: Option<Place<'a>>,
    path: &'a str,
    kind: &'a str,
    namespace: &'a str,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    container: Option<&'a str>,
    message: &'a str,
    help: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    suggested_edit: Vec<Lines<'a>>,
}

#[derive(Serialize)]
struct Place<'a> {
    file: &'a str,
    line: u32,
    column: u32,
}

/// Lines that are removed, and lines that are inserted before them.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Lines<'a> {
    line: usize,
    remove: usize,
    insert: Vec<&'a str>,
}

/// Renders all findings.
pub(super) fn render(findings: &[Located], templates: usize) -> serde_json::Result<String> {
    let findings = findings.iter().map(|located| {
        let finding = &located.finding;
        Finding {
            code: finding.code,
            severity: finding.severity.as_str(),
            place: located.file.as_deref().map(|file| Place {
                file,
                line: finding.location.line,
                column: finding.location.column,
            }),
            path: &finding.path,
            kind: &finding.object.kind,
            namespace: &finding.object.namespace,
            name: &finding.object.name,
            container: finding.container.as_deref(),
            message: &finding.message,
            help: &finding.help,
            suggested_edit: finding
                .edit
                .iter()
                .flat_map(|edit| &edit.changes)
                .map(lines)
                .collect(),
        }
    });
    let result = Result {
        templates,
        findings: findings.collect(),
    };
    Ok(serde_json::to_string_pretty(&result)? + "\n")
}

fn lines(change: &Change) -> Lines<'_> {
    Lines {
        line: change.line,
        remove: change.removed_lines,
        insert: change.text.lines().collect(),
    }
}
