//! Writes results to standard output: text for people, JSON or YAML for programs. Notes and progress go to standard error,
//! so that a pipe contains only the result.

use std::io::{self, IsTerminal, Write};

use clap::ValueEnum;
use serde::Serialize;

use super::{
    exit::{ClosedPipe, Failure},
    safe_text::{for_terminal, is_safe, json_for_terminal},
};
use crate::telemetry::logging::clean;

/// The number of characters that a terminal shows for Ctrl-C: `^C`.
const INTERRUPT: usize = 2;
/// The number of names that [`first_names`] shows.
const NAMED: usize = 5;

/// The format of the result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A table for people
    #[default]
    Table,
    /// JSON for programs
    Json,
    /// YAML for programs
    Yaml,
}

/// Returns a number with its noun: `1 Pod`, `2 Pods`.
pub fn counted(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

/// Writes text for people to standard output. No text that it contains can control the terminal.
pub fn print(text: &str) -> Result<(), Failure> {
    print_raw(&for_terminal(text))
}

/// Writes JSON to standard output.
pub fn print_json(json: &str) -> Result<(), Failure> {
    print_raw(&json_for_terminal(json))
}

/// Writes text that contains nothing from elsewhere, such as a script. A closed pipe is the error [`ClosedPipe`], which ends
/// the command without a message.
pub fn print_raw(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(ClosedPipe.into()),
        Err(error) => Err(format!("cannot write to standard output: {error}").into()),
        Ok(()) => Ok(()),
    }
}

/// Writes a value in a format for programs, or the text that `table` returns.
pub fn print_as<T: Serialize>(
    format: Format,
    value: &T,
    table: impl FnOnce() -> String,
) -> Result<(), Failure> {
    let yaml = match format {
        Format::Table => return print(&table()),
        Format::Json => None,
        Format::Yaml => Some(serde_saphyr::to_string(value)?),
    };
    match yaml {
        Some(yaml) if is_safe(&yaml) => print_raw(&yaml),
        // JSON is valid YAML, and can escape every character.
        _ => print_json(&(serde_json::to_string_pretty(value)? + "\n")),
    }
}

/// Names the first few, and counts the others.
pub fn first_names(names: &[String]) -> String {
    match names.split_at_checked(NAMED) {
        Some((first, others)) if !others.is_empty() => {
            format!("{} and {} more", first.join(", "), others.len())
        }
        _ => names.join(", "),
    }
}

/// Writes a note about what the result does not contain to standard error.
pub fn note(text: &str) {
    say("note", &clean(text));
}

/// Writes an error to standard error.
pub fn error(text: &str) {
    say("error", text);
}

/// Writes a line to standard error. If that is closed, there is nowhere to write it.
fn say(kind: &str, text: &str) {
    let _closed = writeln!(io::stderr(), "{}", for_terminal(&format!("{kind}: {text}")));
}

/// Writes several notes.
pub fn notes(texts: &[String]) {
    for text in texts {
        note(text);
    }
}

/// A line on standard error that shows the progress of long work. Only on a terminal.
#[derive(Debug)]
#[must_use]
pub struct Progress {
    is_shown: bool,
    length: usize,
}

impl Progress {
    /// Creates a line without text.
    pub fn new() -> Self {
        Self {
            is_shown: io::stderr().is_terminal(),
            length: 0,
        }
    }

    /// Replaces the text of the line.
    pub fn show(&mut self, text: &str) {
        if self.is_shown {
            let text = for_terminal(text);
            let padding = self.length.saturating_sub(text.chars().count());
            let _closed = write!(io::stderr(), "\r{text}{:padding$}", "");
            self.length = text.chars().count();
        }
    }

    /// Removes the line, and what the terminal has added to it.
    pub fn clear(&mut self) {
        if self.length > 0 {
            let _closed = write!(io::stderr(), "\r{:1$}\r", "", self.length + INTERRUPT);
            self.length = 0;
        }
    }
}

impl Default for Progress {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}
