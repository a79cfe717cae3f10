//! The terminal: its width, and colours.
//!
//! Colours are only for people: `--color=auto` uses them if standard output is a terminal, `NO_COLOR` is not set and
//! `TERM` is not `dumb`.

use std::{
    env,
    ffi::OsString,
    io::{IsTerminal, stdout},
};

use clap::ValueEnum;

use super::safe_text::styled;

/// When to use colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ColorWhen {
    /// On a terminal, unless NO_COLOR is set
    #[default]
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// The style of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Headings.
    Bold,
    /// Additional facts.
    Dim,
    /// Errors and faults.
    Red,
    /// Warnings.
    Yellow,
    /// Good results.
    Green,
}

impl Style {
    /// Returns the parameter of the escape sequence (ECMA-48, SGR).
    const fn code(self) -> u8 {
        match self {
            Self::Bold => 1,
            Self::Dim => 2,
            Self::Red => 31,
            Self::Yellow => 33,
            Self::Green => 32,
        }
    }
}

/// How text is written to standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terminal {
    /// The number of columns. `None` if standard output is not a terminal: then nothing is shortened.
    pub width: Option<usize>,
    /// Whether to use colours.
    pub color: bool,
}

impl Terminal {
    /// Text without colours and without a limit of its width.
    pub const PLAIN: Self = Self {
        width: None,
        color: false,
    };

    /// Examines standard output and the environment. `COLUMNS` has precedence over the width of the terminal.
    pub fn stdout(color: ColorWhen) -> Self {
        let is_terminal = stdout().is_terminal();
        let columns = env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
        let measured = || terminal_size::terminal_size().map(|(width, _)| usize::from(width.0));
        let width = columns.or_else(|| is_terminal.then(measured).flatten());
        Self {
            width: width.filter(|width| *width > 0),
            color: uses_color(color, is_terminal, env::var_os("NO_COLOR"), env::var_os("TERM")),
        }
    }

    /// Adds the style to a text, if colours are used. The escape sequences are added when the text is printed.
    pub fn paint(self, style: Style, text: &str) -> String {
        if self.color && !text.is_empty() {
            styled(text, style.code())
        } else {
            text.to_owned()
        }
    }
}

fn uses_color(
    when: ColorWhen,
    is_terminal: bool,
    no_color: Option<OsString>,
    terminal: Option<OsString>,
) -> bool {
    match when {
        ColorWhen::Always => true,
        ColorWhen::Never => false,
        // An empty NO_COLOR counts as not set (no-color.org).
        ColorWhen::Auto => {
            is_terminal
                && no_color.is_none_or(|value| value.is_empty())
                && terminal.is_none_or(|name| name != "dumb")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::safe_text::for_terminal, *};

    #[test]
    fn colors_are_used_on_a_terminal_unless_the_environment_forbids_them() {
        let some = |text: &str| Some(OsString::from(text));
        let table = [
            (ColorWhen::Auto, true, None, None, true),
            (ColorWhen::Auto, false, None, None, false),
            (ColorWhen::Auto, true, some("1"), None, false),
            (ColorWhen::Auto, true, some(""), None, true),
            (ColorWhen::Auto, true, None, some("dumb"), false),
            (ColorWhen::Auto, true, None, some("xterm"), true),
            (ColorWhen::Always, false, some("1"), some("dumb"), true),
            (ColorWhen::Never, true, None, None, false),
        ];
        for (when, is_terminal, no_color, terminal, expected) in table {
            let about = format!("{when:?} {is_terminal} {no_color:?} {terminal:?}");
            assert_eq!(
                uses_color(when, is_terminal, no_color, terminal),
                expected,
                "{about}"
            );
        }
    }

    #[test]
    fn a_text_has_escape_sequences_only_with_colors() {
        let colored = Terminal {
            width: None,
            color: true,
        };
        let printed = for_terminal(&colored.paint(Style::Red, "fails"));
        assert_eq!(printed, "\x1b[31mfails\x1b[0m");
        assert_eq!(colored.paint(Style::Red, ""), "");
        assert_eq!(Terminal::PLAIN.paint(Style::Red, "fails"), "fails");
    }
}
