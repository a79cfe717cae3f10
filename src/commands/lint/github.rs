//! Findings as workflow commands of GitHub Actions, which shows them at their lines. A workload of the cluster has no line.

use crate::lint::finding::{Finding, Severity};

/// Renders a finding.
pub(super) fn render(file: Option<&str>, finding: &Finding) -> String {
    let command = match finding.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Info => "notice",
    };
    let place = file.map_or_else(String::new, |file| {
        let (line, column) = (finding.location.line, finding.location.column);
        format!("file={},line={line},col={column},", property(file))
    });
    format!(
        "::{command} {place}title={}::{}\n",
        property(finding.code),
        data(&format!(
            "{} ({} of {}); {}",
            finding.message, finding.path, finding.object, finding.help
        )),
    )
}

/// Escapes a message as the runner of GitHub does.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// Escapes a property of a command.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}
