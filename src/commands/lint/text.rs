//! Findings for people, with the source lines.

use annotate_snippets::{AnnotationKind, Element, Level, Origin, Renderer, Snippet, renderer::DecorStyle};

use super::Counts;
use crate::{
    cli::{
        safe_text::{for_terminal, padded_for_terminal, styled_by_renderer},
        terminal::{Style, Terminal},
    },
    lint::{
        edit::{Edit, line_start},
        finding::{Finding, Severity},
        yaml::Location,
    },
    telemetry::logging::printable,
};

/// The width without a terminal.
const DEFAULT_WIDTH: usize = 120;
/// The length of the line number and of the word before a note, of at most eight digits.
const NOTE_INDENT: usize = " = help: ".len() + 8;
/// A longer line, as in JSON without line breaks, is not shown.
const MAX_LINE: usize = 2000;

/// Renders a finding. `source` has the name and the text of a file; a workload of the cluster has none.
pub(super) fn render(source: Option<(&str, &str)>, finding: &Finding, terminal: Terminal) -> String {
    let level = match finding.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
        Severity::Info => Level::INFO,
    };
    let object = &finding.object;
    let label = if object.kind.is_empty() {
        finding.path.clone()
    } else {
        format!("{} of {object}", finding.path)
    };
    // The renderer adds its own styles, so its input must be safe.
    let label = for_terminal(&label);
    let (message, help) = (for_terminal(&finding.message), for_terminal(&finding.help));
    let file = source.map(|(file, _)| for_terminal(file)).unwrap_or_default();
    let has_label = terminal
        .width
        .is_none_or(|width| label_end(finding.location, &label) <= width);
    let mut elements: Vec<Element<'_>> = Vec::new();
    match source {
        Some((_, text)) => {
            let (inline, note) = if has_label {
                (Some(label), None)
            } else {
                (None, Some(label))
            };
            elements.push(snippet(&file, text, finding.location, inline));
            elements.extend(note.map(|label| {
                Level::NOTE
                    .message(wrapped(&label, terminal.width, NOTE_INDENT))
                    .into()
            }));
        }
        None => elements.push(Origin::path(label).into()),
    }
    elements.push(
        Level::HELP
            .message(wrapped(&help, terminal.width, NOTE_INDENT))
            .into(),
    );
    let title_indent = "warning[]: ".len() + finding.code.len();
    let groups = [level
        .primary_title(wrapped(&message, terminal.width, title_indent))
        .id(finding.code)
        .elements(elements)];
    let renderer = if terminal.color {
        Renderer::styled()
    } else {
        Renderer::plain()
    };
    let width = terminal.width.unwrap_or(DEFAULT_WIDTH);
    let renderer = renderer.decor_style(DecorStyle::Ascii).term_width(width);
    let mut shown = styled_by_renderer(&renderer.render(&groups)) + "\n\n";
    if let Some(((file, text), edit)) = source.zip(finding.edit.as_ref()) {
        shown += &suggestion(file, text, edit, terminal);
    }
    shown
}

/// The column after the label beside the marks. The gutter has the number of the line and three characters.
fn label_end(location: Location, label: &str) -> usize {
    let gutter = location.line.to_string().len() + 3;
    let column = usize::try_from(location.column).unwrap_or(usize::MAX);
    [gutter, column, location.range().len(), label.chars().count()]
        .iter()
        .fold(0, |sum: usize, part| sum.saturating_add(*part))
}

/// Breaks a text at its spaces, so that it fits into the width after an indentation.
fn wrapped(text: &str, width: Option<usize>, indent: usize) -> String {
    let Some(width) = width.map(|width| width.saturating_sub(indent)) else {
        return text.to_owned();
    };
    let (mut lines, mut length) = (String::new(), 0);
    for word in text.split(' ') {
        let word_length = word.chars().count();
        if length > 0 && length + 1 + word_length > width {
            lines.push('\n');
            length = 0;
        } else if length > 0 {
            lines.push(' ');
            length += 1;
        }
        lines += word;
        length += word_length;
    }
    lines
}

/// The line with the location, or only its position if the line is very long.
fn snippet<'a>(file: &'a str, text: &'a str, location: Location, label: Option<String>) -> Element<'a> {
    let range = location.range();
    let start = line_start(text, range.start);
    let end = text
        .get(range.start..)
        .and_then(|rest| rest.find('\n'))
        .map_or(text.len(), |length| range.start + length);
    let line_number = usize::try_from(location.line).unwrap_or(usize::MAX);
    let line = text.get(start..end).unwrap_or_default();
    if line.len() > MAX_LINE {
        let column = usize::try_from(location.column).unwrap_or(usize::MAX);
        return Origin::path(file).line(line_number).char_column(column).into();
    }
    // A scalar of several lines is marked on its first one.
    let marked = range.start - start..range.end.min(end).saturating_sub(start).max(range.start - start);
    Snippet::source(padded_for_terminal(line.trim_end_matches('\r')))
        .path(file)
        .line_start(line_number)
        .annotation(AnnotationKind::Primary.span(marked).label(label))
        .into()
}

/// Renders an edit as a unified difference without context lines.
fn suggestion(file: &str, text: &str, edit: &Edit, terminal: Terminal) -> String {
    let mut shown = format!("a suggested edit, which is not applied:\n--- {file}\n+++ {file}\n");
    // The number of lines that the changes so far have added.
    let (mut added, mut removed) = (0, 0);
    for change in &edit.changes {
        let old = text.get(change.start..change.end).unwrap_or_default();
        let (old_lines, new_lines) = (old.lines().count(), change.text.lines().count());
        // A range without lines has the number of the line before it.
        let old_start = change.line - usize::from(old_lines == 0);
        let new_start = change.line + added - removed - usize::from(new_lines == 0);
        let header = format!("@@ -{old_start},{old_lines} +{new_start},{new_lines} @@");
        shown += &terminal.paint(Style::Dim, &header);
        shown.push('\n');
        let removals = old.lines().map(|line| (Style::Red, '-', line));
        let additions = change.text.lines().map(|line| (Style::Green, '+', line));
        for (style, sign, line) in removals.chain(additions) {
            let line: String = line.chars().map(printable).collect();
            shown += &terminal.paint(style, &format!("{sign}{line}"));
            shown.push('\n');
        }
        added += new_lines;
        removed += old_lines;
    }
    shown.push('\n');
    shown
}

/// Renders the last line.
pub(super) fn summary(counts: Counts, templates: usize) -> String {
    let Counts {
        errors,
        warnings,
        infos,
    } = counts;
    let templates = match templates {
        0 => return "no Pod template found\n".to_owned(),
        1 => "1 Pod template".to_owned(),
        n => format!("{n} Pod templates"),
    };
    if errors + warnings + infos == 0 {
        return format!("{templates}: no findings\n");
    }
    format!("{templates}: {errors} Error, {warnings} Warning, {infos} Info\n")
}
