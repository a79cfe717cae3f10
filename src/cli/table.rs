//! Tables for people, in the style of `kubectl get`.
//!
//! If the terminal is too narrow, the text in the last column moves to lines of its own, and the widest of the other columns
//! are shortened with `…`. Without a terminal nothing is shortened, so that `grep` finds whole names. A cell has one line: control
//! characters are replaced.

use super::terminal::{Style, Terminal};
use crate::telemetry::logging::printable;

/// The space between two columns.
const GAP: &str = "   ";
/// Columns are not made narrower than this.
const SHORTEST: usize = 8;
/// The indentation of the text of a row that has lines of its own.
const INDENT: &str = "    ";

/// A cell of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    text: String,
    style: Option<Style>,
}

impl Cell {
    /// Creates a cell with a style.
    pub fn styled(text: impl AsRef<str>, style: Style) -> Self {
        Self {
            style: Some(style),
            ..Self::from(text.as_ref())
        }
    }

    fn width(&self) -> usize {
        self.text.chars().count()
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self {
            text: text.chars().map(printable).collect(),
            style: None,
        }
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::from(text.as_str())
    }
}

/// A table with a line of headings.
#[derive(Clone, Debug)]
pub struct Table {
    headings: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
    ends_with_text: bool,
}

impl Table {
    /// Creates a table without rows.
    pub fn new(headings: impl IntoIterator<Item = &'static str>) -> Self {
        Self {
            headings: headings.into_iter().collect(),
            rows: Vec::new(),
            ends_with_text: false,
        }
    }

    /// Declares that the last column contains sentences. On a narrow terminal they have lines of their own.
    #[must_use]
    pub fn with_text(self) -> Self {
        Self {
            ends_with_text: true,
            ..self
        }
    }

    /// Adds a row. It has one cell for each heading.
    pub fn push(&mut self, row: impl IntoIterator<Item = Cell>) {
        self.rows.push(row.into_iter().collect());
    }

    /// Reports whether the table has no rows.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Returns the lines of the table, each with a line feed.
    pub fn render(&self, terminal: Terminal) -> String {
        let mut widths = self.widths();
        let moves_text =
            self.ends_with_text && terminal.width.is_some_and(|columns| total(&widths) > columns);
        if moves_text {
            widths.pop();
        }
        if let Some(columns) = terminal.width {
            shrink(&mut widths, columns);
        }
        let headings = self.headings.iter().map(|name| Cell::styled(name, Style::Bold));
        let mut text = line(&headings.collect::<Vec<_>>(), &widths, terminal);
        for row in &self.rows {
            text.push_str(&line(row, &widths, terminal));
            if let Some(cell) = row.last().filter(|_| moves_text) {
                let columns = terminal.width.unwrap_or(usize::MAX);
                for wrapped in wrap(&cell.text, columns.saturating_sub(INDENT.len())) {
                    text.push_str(INDENT);
                    text.push_str(&wrapped);
                    text.push('\n');
                }
            }
        }
        text
    }

    fn widths(&self) -> Vec<usize> {
        let mut widths: Vec<usize> = self.headings.iter().map(|name| name.chars().count()).collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.width());
            }
        }
        widths
    }
}

/// Returns a sentence in lines that fit into the terminal, each with a line feed.
pub fn sentence(text: &str, terminal: Terminal) -> String {
    match terminal.width {
        Some(columns) => wrap(text, columns).join("\n") + "\n",
        None => format!("{text}\n"),
    }
}

/// Returns a line with the cells in columns of these widths. Cells without a column are left out.
fn line(row: &[Cell], widths: &[usize], terminal: Terminal) -> String {
    let mut text = String::new();
    let mut space = 0;
    for (cell, width) in row.iter().zip(widths) {
        // The last column has no spaces at its end, and empty cells at the end have none.
        let shown = shorten(&cell.text, *width);
        if !shown.is_empty() {
            text.extend(std::iter::repeat_n(' ', space));
            space = 0;
        }
        match cell.style {
            Some(style) => text.push_str(&terminal.paint(style, &shown)),
            None => text.push_str(&shown),
        }
        space += width.saturating_sub(shown.chars().count()) + GAP.len();
    }
    text.push('\n');
    text
}

fn total(widths: &[usize]) -> usize {
    widths.iter().sum::<usize>() + GAP.len() * widths.len().saturating_sub(1)
}

/// Breaks a text into lines of at most `width` characters, between words where that is possible.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let width = width.max(SHORTEST);
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        let length = word.chars().count();
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + length <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(shorten(word, width)),
        }
    }
    lines
}

/// Makes the widest columns narrower, until the table fits into the columns of the terminal.
fn shrink(widths: &mut [usize], columns: usize) {
    while total(widths) > columns {
        let Some(widest) = widths.iter_mut().max().filter(|width| **width > SHORTEST) else {
            return;
        };
        *widest -= 1;
    }
}

/// Cuts a text to a number of characters. The last character of a cut text is `…`.
fn shorten(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let kept = text.chars().take(width.saturating_sub(1));
    kept.chain(std::iter::once('…')).collect()
}

#[cfg(test)]
mod tests {
    use super::{super::safe_text::for_terminal, *};

    fn table() -> Table {
        let mut table = Table::new(["WORKLOAD", "CHECK", "CAUSE"]);
        table.push([
            "shop/Deployment/web".into(),
            Cell::styled("NotReady", Style::Red),
            "its readiness probe fails, and it has restarted several times".into(),
        ]);
        table.push(["pay/Job/report".into(), "JobHeldOpen".into(), "it runs".into()]);
        table
    }

    fn terminal(width: usize) -> Terminal {
        Terminal {
            width: Some(width),
            color: false,
        }
    }

    #[test]
    fn columns_are_aligned_and_not_shortened_without_a_terminal() {
        let expected = "\
WORKLOAD              CHECK         CAUSE
shop/Deployment/web   NotReady      its readiness probe fails, and it has restarted several times
pay/Job/report        JobHeldOpen   it runs
";
        assert_eq!(table().render(Terminal::PLAIN), expected);
        assert_eq!(table().render(terminal(200)), expected);
    }

    #[test]
    fn the_widest_column_is_shortened_on_a_narrow_terminal() {
        let expected = "\
WORKLOAD              CHECK         CAUSE
shop/Deployment/web   NotReady      its readiness probe fails, and it has resta…
pay/Job/report        JobHeldOpen   it runs
";
        assert_eq!(table().render(terminal(80)), expected);
        for width in 30..100 {
            let rendered = table().render(terminal(width));
            let longest = rendered.lines().map(|line| line.chars().count()).max().unwrap();
            assert!(longest <= width, "{longest} columns on a terminal with {width}");
        }
    }

    #[test]
    fn sentences_have_lines_of_their_own_on_a_narrow_terminal() {
        let expected = "\
WORKLOAD              CHECK
shop/Deployment/web   NotReady
    its readiness probe fails, and it
    has restarted several times
pay/Job/report        JobHeldOpen
    it runs
";
        assert_eq!(table().with_text().render(terminal(40)), expected);
        assert_eq!(
            table().with_text().render(terminal(200)),
            table().render(Terminal::PLAIN)
        );
    }

    #[test]
    fn a_very_narrow_terminal_does_not_stop_the_command() {
        assert_eq!(table().render(terminal(1)).lines().count(), 3);
    }

    #[test]
    fn styles_do_not_change_the_columns() {
        let colored = for_terminal(&table().render(Terminal {
            width: Some(80),
            color: true,
        }));
        assert!(
            colored.contains("\x1b[31mNotReady\x1b[0m      its"),
            "{colored:?}"
        );
        let plain = ["\x1b[1m", "\x1b[31m", "\x1b[0m"]
            .iter()
            .fold(colored, |text, sequence| text.replace(sequence, ""));
        assert_eq!(plain, table().render(terminal(80)));
    }

    #[test]
    fn text_of_the_cluster_cannot_control_the_terminal() {
        let mut table = Table::new(["IMAGE"]);
        table.push(["a\x1b[2Jb\nc\u{202e}d".into()]);
        assert_eq!(table.render(Terminal::PLAIN), "IMAGE\na [2Jb c d\n");
    }
}
