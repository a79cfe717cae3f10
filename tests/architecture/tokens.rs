//! As much of Rust's lexical structure as tells a name in code from a word in a comment or a string.

use std::collections::BTreeSet;

/// A piece of code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    /// An identifier or a keyword.
    Name(String),
    /// `::`
    Path,
    /// Any other character.
    Mark(char),
}

/// The tokens of a source, without comments, strings and characters.
pub(crate) fn tokens(text: &str) -> Vec<Token> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let skipped = skip(rest);
        if skipped > 0 {
            rest = &rest[skipped..];
        } else if first.is_alphanumeric() || first == '_' {
            let end = rest
                .find(|c: char| !c.is_alphanumeric() && c != '_')
                .unwrap_or(rest.len());
            found.push(Token::Name(rest[..end].to_owned()));
            rest = &rest[end..];
        } else if let Some(after) = rest.strip_prefix("::") {
            found.push(Token::Path);
            rest = after;
        } else {
            if !first.is_whitespace() {
                found.push(Token::Mark(first));
            }
            rest = &rest[first.len_utf8()..];
        }
    }
    found
}

/// How many bytes at the beginning of `text` are a comment, a string or a character.
fn skip(text: &str) -> usize {
    let end = |at: Option<usize>, of: &str| at.map_or(text.len(), |at| at + of.len());
    if text.starts_with("//") {
        return end(text.find('\n'), "\n");
    }
    if text.starts_with("/*") {
        return block_comment(text);
    }
    let prefix = ["br", "cr", "r", "b", "c", ""].into_iter().find(|prefix| {
        let after = text
            .strip_prefix(prefix)
            .map(|after| after.trim_start_matches('#'));
        after.is_some_and(|after| after.starts_with('"'))
    });
    if let Some(prefix) = prefix {
        let hashes = text[prefix.len()..].chars().take_while(|c| *c == '#').count();
        if prefix.ends_with('r') {
            let (open, close) = (prefix.len() + hashes + 1, format!("\"{}", "#".repeat(hashes)));
            return end(text[open..].find(&close).map(|at| at + open), &close);
        }
        if hashes == 0 {
            return quoted(text, prefix.len(), '"');
        }
    }
    let mut after = text.strip_prefix('\'').unwrap_or_default().chars();
    match (after.next(), after.next()) {
        (Some('\\'), _) => quoted(text, 0, '\''),
        (Some(c), Some('\'')) => c.len_utf8() + 2,
        _ => 0,
    }
}

fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        if text[at..].starts_with("/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if text[at..].starts_with("*/") {
            (depth, at) = (depth - 1, at + 2);
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
        if depth == 0 {
            break;
        }
    }
    at
}

/// The end of what begins with a quote at `open`, escapes minded.
fn quoted(text: &str, open: usize, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip_while(|(at, _)| *at <= open) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return at + c.len_utf8(),
            _ => {}
        }
    }
    text.len()
}

/// The names that follow `path::`, each of a group included: `a` and `d` in `crate::{a::{b, c}, d}` after `crate`.
pub(crate) fn after(tokens: &[Token], path: &[&str]) -> BTreeSet<String> {
    let head: Vec<_> = path
        .iter()
        .flat_map(|name| [Token::Name((*name).to_owned()), Token::Path])
        .collect();
    let mut found = BTreeSet::new();
    for (at, window) in tokens.windows(head.len()).enumerate() {
        let is_inner = at > 0 && tokens[at - 1] == Token::Path;
        if window == head && !is_inner {
            found.extend(first_names(&tokens[at + head.len()..]));
        }
    }
    found.remove("super");
    found.remove("self");
    found
}

fn first_names(tokens: &[Token]) -> Vec<String> {
    let mut found = Vec::new();
    let (mut depth, mut expects) = (0, true);
    for token in tokens {
        match token {
            Token::Name(name) if expects => {
                found.push(name.clone());
                expects = false;
            }
            Token::Mark('{') => depth += 1,
            Token::Mark('}') => depth -= 1,
            Token::Mark(',') => expects = depth == 1,
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    found
}

/// Whether a path has these names one after the other, the last one perhaps in a group.
pub(crate) fn has_path(tokens: &[Token], [first, second]: &[&str; 2]) -> bool {
    let first = Token::Name((*first).to_owned());
    tokens
        .iter()
        .enumerate()
        .filter(|(at, token)| **token == first && tokens.get(at + 1) == Some(&Token::Path))
        .any(|(at, _)| first_names(&tokens[at + 2..]).iter().any(|name| name == second))
}
