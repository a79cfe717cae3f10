//! The lines for people.

use super::diagnosis::{Diagnosis, Verdict};
use crate::cli::{
    table::{Cell, Table},
    terminal::{Style, Terminal},
};

/// Returns the table, and the number of lines with each verdict.
pub(super) fn text(diagnosis: &Diagnosis, terminal: Terminal) -> String {
    let mut table = Table::new(["CODE", "VERDICT", "WHAT", "FOUND"]).with_text();
    for line in &diagnosis.lines {
        let verdict = match line.verdict {
            Verdict::Ok => Cell::styled("ok", Style::Green),
            Verdict::Warning => Cell::styled("warning", Style::Yellow),
            Verdict::Failed => Cell::styled("failed", Style::Red),
            Verdict::Skipped => Cell::styled("skipped", Style::Dim),
        };
        let advice = if line.advice.is_empty() {
            String::new()
        } else {
            format!("; {}", line.advice)
        };
        table.push([
            format!("{:?}", line.code).into(),
            verdict,
            line.title.into(),
            format!("{}{advice}", line.message).into(),
        ]);
    }
    let [ok, warnings, failed, skipped] = [Verdict::Ok, Verdict::Warning, Verdict::Failed, Verdict::Skipped]
        .map(|verdict| diagnosis.count(verdict));
    format!(
        "{}\n{ok} ok, {warnings} warnings, {failed} failed, {skipped} skipped\n",
        table.render(terminal)
    )
}
