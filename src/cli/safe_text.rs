//! Makes all text that the commands print safe for a terminal.
//!
//! Names, images, annotations, messages and errors can come from everybody who can write an object, a file or a response. A
//! terminal obeys escape sequences in them, and shows text in another order after marks of direction. [`for_terminal`] is
//! applied to the whole text when it is written, so no path can forget it. Only the styles that [`styled`] adds pass.

use std::{
    borrow::Cow,
    fmt::Write,
    hash::{BuildHasher, RandomState},
    iter::repeat_n,
    sync::LazyLock,
};

use crate::telemetry::logging::printable;

/// Precedes the parameter of a style. It differs in each process, so no text from elsewhere contains it.
static MARK: LazyLock<String> =
    LazyLock::new(|| format!("\u{1b}{:016x}", RandomState::new().hash_one("style")));

/// Returns a text with a style, for [`for_terminal`]. `code` is the parameter of the escape sequence (ECMA-48, SGR).
pub(super) fn styled(text: &str, code: u8) -> String {
    let mark = MARK.as_str();
    format!("{mark}{code}m{text}{mark}0m")
}

/// Marks the styles in the output of a renderer, so that [`for_terminal`] keeps them. The text that the renderer got must be safe.
pub fn styled_by_renderer(rendered: &str) -> String {
    rendered.replace("\x1b[", MARK.as_str())
}

/// Replaces the characters that control a terminal, and keeps the positions of the others in bytes.
pub fn padded_for_terminal(text: &str) -> Cow<'_, str> {
    if is_safe(text) {
        return Cow::Borrowed(text);
    }
    let mut padded = String::with_capacity(text.len());
    for c in text.chars() {
        if is_shown(c) {
            padded.push(c);
        } else {
            padded.extend(repeat_n(' ', c.len_utf8()));
        }
    }
    Cow::Owned(padded)
}

/// Replaces the characters that control a terminal, except line feeds and the styles of [`styled`].
pub fn for_terminal(text: &str) -> String {
    let mut parts = text.split(MARK.as_str());
    let mut safe: String = parts.next().unwrap_or_default().chars().map(shown).collect();
    for part in parts {
        match part.split_once('m') {
            Some((code, rest)) if code.bytes().all(|byte| byte.is_ascii_digit() || byte == b';') => {
                safe += "\x1b[";
                safe += code;
                safe.push('m');
                safe.extend(rest.chars().map(shown));
            }
            _ => safe.extend(part.chars().map(shown)),
        }
    }
    safe
}

/// Escapes the characters in a JSON text that control a terminal. The value stays the same: outside its strings, JSON contains
/// none of them but line feeds.
pub fn json_for_terminal(json: &str) -> String {
    let mut safe = String::with_capacity(json.len());
    for c in json.chars() {
        if is_shown(c) {
            safe.push(c);
        } else {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                // Writing to a String never fails.
                let _infallible = write!(safe, "\\u{unit:04x}");
            }
        }
    }
    safe
}

/// Reports whether a text contains no character that controls a terminal.
pub fn is_safe(text: &str) -> bool {
    text.chars().all(is_shown)
}

fn is_shown(c: char) -> bool {
    shown(c) == c
}

fn shown(c: char) -> char {
    if c == '\n' { c } else { printable(c) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_own_styles_and_line_feeds_pass() {
        let table = [
            ("plain\ntext", "plain\ntext", "a line feed"),
            ("a\x1b]0;x\x07b", "a ]0;x b", "the title of a terminal"),
            ("a\x1b[2Jb", "a [2Jb", "an escape sequence"),
            ("a\x1b[31mb", "a [31mb", "a colour of somebody else"),
            ("a\u{9b}2Jb\u{7f}", "a 2Jb ", "controls of eight bits"),
            ("a\rb\tc", "a b c", "a carriage return"),
            ("a\u{202e}b\u{2066}c\u{61c}d", "a b c d", "the order of text"),
            ("größe", "größe", "letters of every script"),
        ];
        for (text, expected, why) in table {
            assert_eq!(for_terminal(text), expected, "{why}");
            let painted = for_terminal(&styled(text, 31));
            assert_eq!(painted, format!("\x1b[31m{expected}\x1b[0m"), "{why}");
        }
    }

    #[test]
    fn json_keeps_its_value() {
        let value = serde_json::json!({"a\u{9b}": "x\u{202e}\u{7f}\x1b[2J\r\n", "b": [1, null]});
        let json = serde_json::to_string_pretty(&value).unwrap();
        assert!(!is_safe(&json));
        let safe = json_for_terminal(&json);
        assert!(is_safe(&safe), "{safe:?}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&safe).unwrap(), value);
    }
}
