//! Logs: one structured line per fact, on standard error, as text for people or JSON for machines.
//!
//! In: format and level from the command line. Text that others wrote (messages of the API server, names in error
//! texts) goes through [`clean`] before it is logged.

use std::io::IsTerminal;

use tracing_subscriber::{EnvFilter, fmt};

/// How a line is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// What is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Level {
    /// Failures only.
    Error,
    /// And what will not heal by itself.
    Warn,
    /// And what happened to violations, watches and the process.
    #[default]
    Info,
    /// And pending violations.
    Debug,
    /// And the client's requests.
    Trace,
}

impl Level {
    /// The filter in tracing's own words.
    ///
    /// The client library logs every failed try, and with a page that it cannot decode the whole page. Both are
    /// reported by our own lines, once and cut, so the library is silent until someone asks for everything.
    fn directives(self) -> &'static str {
        match self {
            Self::Error => "error,kube_client=off,kube_runtime=off",
            Self::Warn => "warn,kube_client=off,kube_runtime=off",
            Self::Info => "warn,sidewatch=info,kube_client=off,kube_runtime=off",
            Self::Debug => "warn,sidewatch=debug,kube_client=off,kube_runtime=off",
            Self::Trace => "info,sidewatch=trace,kube_client=debug,kube_runtime=debug",
        }
    }
}

/// Sends every log line of the process to standard error. Works once per process.
pub fn install(format: Format, level: Level) -> Result<(), tracing_subscriber::util::TryInitError> {
    use tracing_subscriber::util::SubscriberInitExt;
    let builder = fmt()
        .with_env_filter(EnvFilter::new(level.directives()))
        .with_writer(std::io::stderr);
    match format {
        Format::Text => builder
            .with_ansi(std::io::stderr().is_terminal())
            .finish()
            .try_init(),
        Format::Json => builder
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .finish()
            .try_init(),
    }
}

/// The longest foreign text in a line.
const LONGEST: usize = 512;

/// Text that others wrote, made fit for a line: no control characters, so that it can neither forge a line nor drive a
/// terminal, and not longer than a line should be.
pub fn clean(text: &str) -> String {
    let mut clean = String::with_capacity(text.len().min(LONGEST));
    for c in text.chars() {
        if clean.len() + c.len_utf8() > LONGEST {
            clean.push('…');
            break;
        }
        clean.push(if is_unsafe(c) { ' ' } else { c });
    }
    clean
}

/// Control characters, line and paragraph separators, and the marks that reorder text on a screen.
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_is_made_fit_for_a_line() {
        let table = [
            ("plain", "plain", "stays"),
            (
                "a\nlevel=error b\r\tc",
                "a level=error b  c",
                "cannot forge a line",
            ),
            ("\u{1b}[2Jgone", " [2Jgone", "cannot drive a terminal"),
            ("a\u{202e}b\u{2028}c", "a b c", "cannot reorder text"),
            ("größe", "größe", "letters of every script stay"),
        ];
        for (text, expected, why) in table {
            assert_eq!(clean(text), expected, "{why}");
        }
        let long = clean(&"ü".repeat(10_000));
        assert!(
            long.len() <= LONGEST + '…'.len_utf8() && long.ends_with('…'),
            "is cut between characters"
        );
    }

    #[test]
    fn every_level_is_a_filter_that_parses() {
        for level in [Level::Error, Level::Warn, Level::Info, Level::Debug, Level::Trace] {
            assert!(EnvFilter::try_new(level.directives()).is_ok(), "{level:?}");
        }
    }
}
