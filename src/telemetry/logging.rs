//! Structured logs on standard error: text for people or JSON for machines. The number of lines per second is limited.
//!
//! Input: the format and level of the command line. Text of other origin (messages of the API server, object names, error
//! texts) goes through [`clean`] before it is logged.

use std::{
    io::{self, IsTerminal, Write},
    thread,
};

use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt, util::SubscriberInitExt};

use super::log_limit::LogLimit;

/// Format of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Text for people
    #[default]
    Text,
    /// One JSON object per line
    Json,
}

/// Lowest level of the log lines that are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Level {
    /// Errors
    Error,
    /// And warnings: problems that need a person
    Warn,
    /// And changes of violations, watches and the process
    #[default]
    Info,
    /// And pending violations
    Debug,
    /// And requests to the API server
    Trace,
}

impl Level {
    /// Returns the filter directives for `tracing`.
    ///
    /// kube logs every failed attempt, and the full text of a page that it cannot decode. Sidewatch logs both itself, once
    /// and shortened. The lines of kube appear at `trace` only.
    fn directives(self) -> &'static str {
        match self {
            Self::Error => "error,kube_client=off,kube_runtime=off,sidewatch::telemetry::log_limit=warn",
            Self::Warn => "warn,kube_client=off,kube_runtime=off",
            Self::Info => "warn,sidewatch=info,kube_client=off,kube_runtime=off",
            Self::Debug => "warn,sidewatch=debug,kube_client=off,kube_runtime=off",
            Self::Trace => "info,sidewatch=trace,kube_client=debug,kube_runtime=debug",
        }
    }
}

/// An error of [`install`].
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// The process has a subscriber already.
    #[error(transparent)]
    Init(#[from] tracing_subscriber::util::TryInitError),
    /// The thread that reports suppressed lines cannot start.
    #[error("cannot start the thread of the log: {0}")]
    Thread(#[from] std::io::Error),
}

/// Sends all log lines of the process to standard error. Fails when called a second time.
///
/// The number of lines per second is limited ([`LogLimit`]), except at the levels `debug` and `trace`, which are for one
/// person who wants to see every line.
pub fn install(format: Format, level: Level) -> Result<(), InstallError> {
    let limit = match level {
        Level::Error | Level::Warn | Level::Info => Some(LogLimit::default()),
        Level::Debug | Level::Trace => None,
    };
    let builder = fmt()
        .with_env_filter(EnvFilter::new(level.directives()))
        .with_writer(|| OneLine(std::io::stderr()));
    match format {
        Format::Text => builder
            .with_ansi(std::io::stderr().is_terminal())
            .finish()
            .with(limit.clone())
            .try_init(),
        Format::Json => builder
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .finish()
            .with(limit.clone())
            .try_init(),
    }?;
    if let Some(limit) = limit {
        thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || limit.write_reports())?;
    }
    Ok(())
}

/// Writes each log line as one line without characters that control a terminal, whatever its fields contain. The colours of the
/// log pass; in fields, tracing escapes the character that begins a colour.
struct OneLine<W>(W);

impl<W: Write> Write for OneLine<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        let mut rest = text.strip_suffix('\n').unwrap_or(&text);
        let mut safe = String::with_capacity(line.len() + 1);
        while let Some(c) = rest.chars().next() {
            let color = color(rest);
            if color.is_empty() {
                safe.push(printable(c));
                rest = rest.get(c.len_utf8()..).unwrap_or_default();
            } else {
                safe += color;
                rest = rest.get(color.len()..).unwrap_or_default();
            }
        }
        safe.push('\n');
        self.0.write_all(safe.as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Returns the escape sequence of a colour with which a text begins, or an empty text.
fn color(text: &str) -> &str {
    let end = text
        .strip_prefix("\x1b[")
        .and_then(|parameters| parameters.find(|c: char| !c.is_ascii_digit() && c != ';'))
        .map_or(0, |end| end + "\x1b[".len());
    match text.get(end..).unwrap_or_default().chars().next() {
        Some('m') if end > 0 => text.get(..=end).unwrap_or_default(),
        _ => "",
    }
}

/// Maximum length of a cleaned text, in bytes.
const MAX_BYTES: usize = 512;

/// Makes text of other origin safe to log: replaces control characters, so that it cannot forge a line or control a
/// terminal, and cuts it to a maximum length.
pub fn clean(text: &str) -> String {
    let mut clean = String::with_capacity(text.len().min(MAX_BYTES));
    for c in text.chars() {
        if clean.len() + c.len_utf8() > MAX_BYTES {
            clean.push('…');
            break;
        }
        clean.push(printable(c));
    }
    clean
}

/// Replaces control characters, line and paragraph separators, and marks that change the direction of text by a space.
pub fn printable(c: char) -> char {
    let is_unsafe = c.is_control()
        || matches!(c, '\u{61c}' | '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    if is_unsafe { ' ' } else { c }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unsafe_characters_are_replaced_and_long_text_is_cut() {
        let table = [
            ("plain", "plain", "safe text stays"),
            (
                "a\nlevel=error b\r\tc",
                "a level=error b  c",
                "cannot forge a line",
            ),
            ("\u{1b}[2Jgone", " [2Jgone", "cannot control a terminal"),
            ("a\u{202e}b\u{2028}c", "a b c", "cannot reorder text"),
            ("größe", "größe", "letters of every script stay"),
        ];
        for (text, expected, why) in table {
            assert_eq!(clean(text), expected, "{why}");
        }
        let long = clean(&"ü".repeat(10_000));
        assert!(
            long.len() <= MAX_BYTES + '…'.len_utf8() && long.ends_with('…'),
            "the cut is between characters"
        );
    }

    #[test]
    fn a_log_line_is_one_line_and_cannot_control_a_terminal() {
        let table = [
            ("INFO image=a\x1b]0;x\x07\n", "INFO image=a ]0;x \n", "a title"),
            (
                "INFO a\nERROR b\rc\u{202e}\n",
                "INFO a ERROR b c \n",
                "a forged line",
            ),
            (
                "\x1b[32mINFO\x1b[0m a\x1b[2J\n",
                "\x1b[32mINFO\x1b[0m a [2J\n",
                "colours of the log",
            ),
            ("{\"a\":\"\u{9b}2J\"}\n", "{\"a\":\" 2J\"}\n", "JSON"),
        ];
        for (line, expected, why) in table {
            let mut written = OneLine(Vec::new());
            written.write_all(line.as_bytes()).unwrap();
            assert_eq!(String::from_utf8(written.0).unwrap(), expected, "{why}");
        }
    }

    #[test]
    fn every_level_has_a_filter_that_parses() {
        for level in [Level::Error, Level::Warn, Level::Info, Level::Debug, Level::Trace] {
            assert!(EnvFilter::try_new(level.directives()).is_ok(), "{level:?}");
        }
    }
}
