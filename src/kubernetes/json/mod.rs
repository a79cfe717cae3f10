//! Splits JSON into values without decoding them: the items of a list that arrives in pieces, and the members of an object.
//!
//! An item is decoded alone, so one that does not decode does not affect the others, and a page of large objects is never
//! completely in memory. Skipping a value neither recurses nor allocates. No I/O.

mod lines;

use std::borrow::Cow;

use serde::{Deserialize, de::Error as _};

use super::{
    body::Buffer,
    protobuf::{MAX_MESSAGE, Page},
};

pub use self::lines::Lines;
pub(super) use self::lines::refusal;

type Result<T> = serde_json::Result<T>;

fn invalid(problem: &'static str) -> serde_json::Error {
    serde_json::Error::custom(problem)
}

/// Finds the end of a value that arrives in pieces.
#[derive(Clone, Copy, Debug, Default)]
struct Extent {
    /// The number of bytes that were examined.
    scanned: usize,
    /// The number of open objects and lists.
    depth: usize,
    in_string: bool,
}

impl Extent {
    /// Returns the length of the value at the start of `bytes`, or `None` until its end has arrived. The bytes of an earlier
    /// call must be the start of these.
    fn find(&mut self, bytes: &[u8]) -> Option<usize> {
        while let Some(rest) = bytes.get(self.scanned..).filter(|rest| !rest.is_empty()) {
            if self.in_string {
                let Some(at) = rest.iter().position(|byte| matches!(byte, b'"' | b'\\')) else {
                    self.scanned = bytes.len();
                    return None;
                };
                if rest.get(at) == Some(&b'\\') {
                    if rest.len() < at + 2 {
                        self.scanned += at;
                        return None;
                    }
                    self.scanned += at + 2;
                    continue;
                }
                self.scanned += at + 1;
                self.in_string = false;
                if self.depth == 0 {
                    return Some(self.scanned);
                }
                continue;
            }
            let structural = |byte: &u8| matches!(byte, b'"' | b'{' | b'[' | b'}' | b']');
            let ends_scalar = |byte: &u8| matches!(byte, b',' | b':' | b' ' | b'\n' | b'\r' | b'\t');
            let is_scalar = self.depth == 0;
            let Some(at) = rest
                .iter()
                .position(|byte| structural(byte) || is_scalar && ends_scalar(byte))
            else {
                self.scanned = bytes.len();
                return None;
            };
            let start = self.scanned + at;
            match rest.get(at) {
                // Another value follows a number or a literal.
                Some(b'"' | b'{' | b'[') if is_scalar && start > 0 => return Some(start),
                Some(b'"') => self.in_string = true,
                Some(b'{' | b'[') => self.depth += 1,
                _ if is_scalar => return Some(start),
                _ => {
                    self.depth -= 1;
                    if self.depth == 0 {
                        return Some(start + 1);
                    }
                }
            }
            self.scanned = start + 1;
        }
        None
    }
}

/// Reads the items of a page of a list.
#[derive(Debug, Default)]
pub struct PageReader {
    buffer: Buffer,
    extent: Extent,
    stage: Stage,
    metadata: ListMetadata,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    /// Before the list.
    #[default]
    Start,
    /// Before the name of a member, or the end of the list.
    Member,
    Colon(Member),
    Value(Member),
    Items,
    /// After the end was returned.
    Done,
}

/// A member of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Member {
    Metadata,
    Items,
    Other,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ListMetadata {
    resource_version: Option<String>,
    #[serde(rename = "continue")]
    continue_token: Option<String>,
}

impl PageReader {
    /// Appends the next piece of the body.
    pub fn push(&mut self, piece: &[u8]) {
        self.buffer.push(piece);
    }

    /// Returns the next complete part, or `None` until more bytes arrive.
    pub fn next_part(&mut self) -> Result<Option<Page<'_>>> {
        loop {
            let has_separators = matches!(self.stage, Stage::Member | Stage::Items);
            let unread = self.buffer.unread();
            let is_skipped = |byte: &u8| byte.is_ascii_whitespace() || has_separators && *byte == b',';
            // Before a value was examined, nothing of it was skipped.
            let skipped = if self.extent.scanned == 0 {
                unread.iter().take_while(|byte| is_skipped(byte)).count()
            } else {
                0
            };
            self.buffer.consume(skipped);
            let Some(first) = self.buffer.unread().first().copied() else {
                return Ok(None);
            };
            match self.stage {
                Stage::Start if first == b'{' => self.punctuation(Stage::Member),
                Stage::Start => return Err(invalid("a list is not an object")),
                Stage::Member if first == b'}' => {
                    self.punctuation(Stage::Done);
                    let ListMetadata {
                        resource_version,
                        continue_token,
                    } = std::mem::take(&mut self.metadata);
                    return Ok(Some(Page::End {
                        version: resource_version.unwrap_or_default(),
                        continue_token: continue_token.unwrap_or_default(),
                    }));
                }
                Stage::Member => {
                    let Some(length) = self.value()? else {
                        return Ok(None);
                    };
                    self.stage = Stage::Colon(match self.buffer.last(length) {
                        br#""metadata""# => Member::Metadata,
                        br#""items""# => Member::Items,
                        _ => Member::Other,
                    });
                }
                Stage::Colon(member) if first == b':' => self.punctuation(Stage::Value(member)),
                Stage::Colon(_) => return Err(invalid("a member of a list has no value")),
                Stage::Value(Member::Items) if first == b'[' => self.punctuation(Stage::Items),
                Stage::Value(member) => {
                    let Some(length) = self.value()? else {
                        return Ok(None);
                    };
                    if member == Member::Metadata {
                        let metadata: Option<_> = serde_json::from_slice(self.buffer.last(length))?;
                        self.metadata = metadata.unwrap_or_default();
                    }
                    self.stage = Stage::Member;
                }
                Stage::Items if first == b']' => self.punctuation(Stage::Member),
                Stage::Items => {
                    let Some(length) = self.value()? else {
                        return Ok(None);
                    };
                    return Ok(Some(Page::Item(self.buffer.last(length))));
                }
                Stage::Done => return Ok(None),
            }
        }
    }

    fn punctuation(&mut self, next: Stage) {
        self.buffer.consume(1);
        self.stage = next;
    }

    /// Consumes the next value if it has arrived completely. Returns its length.
    fn value(&mut self) -> Result<Option<usize>> {
        let Some(length) = self.extent.find(self.buffer.unread()) else {
            if self.extent.scanned > MAX_MESSAGE {
                return Err(invalid("an item is larger than 16 MB"));
            }
            return Ok(None);
        };
        self.extent = Extent::default();
        if length == 0 {
            return Err(invalid("a list has an unexpected character"));
        }
        self.buffer.consume(length);
        Ok(Some(length))
    }
}

/// Returns the members of an object: the name as it is written, with its quotes, and the value. Ends before the first one
/// that is not complete.
pub(super) fn members(object: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let trimmed = object.trim_ascii_start();
    let mut rest = trimmed.strip_prefix(b"{").unwrap_or_default();
    std::iter::from_fn(move || {
        let start = rest
            .iter()
            .position(|byte| !byte.is_ascii_whitespace() && *byte != b',')?;
        let (name, after) = split(rest.get(start..)?)?;
        let (value, after) = split(after.trim_ascii_start().strip_prefix(b":")?.trim_ascii_start())?;
        rest = after;
        Some((name, value))
    })
}

/// Returns the elements of a list. Ends before the first one that is not complete.
pub(super) fn elements(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    let trimmed = list.trim_ascii_start();
    let mut rest = trimmed.strip_prefix(b"[").unwrap_or_default();
    std::iter::from_fn(move || {
        let start = rest
            .iter()
            .position(|byte| !byte.is_ascii_whitespace() && *byte != b',')?;
        let (value, after) = split(rest.get(start..)?)?;
        rest = after;
        Some(value)
    })
}

/// Returns the value at the start, which is not empty, and the bytes after it.
fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = Extent::default().find(bytes).filter(|length| *length > 0)?;
    bytes.split_at_checked(length)
}

/// Returns JSON in which bytes that are not UTF-8, and escapes of lone surrogates, are replaced by U+FFFD, as Go's decoder
/// does. Returns `None` if there are none.
pub(super) fn repaired(json: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(json);
    let mut repaired = String::new();
    let mut rest = &*text;
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        repaired.push_str(before);
        let length = match (surrogate(escape), escape.get(6..).and_then(surrogate)) {
            (Some(true), Some(false)) => 12,
            (Some(_), _) => {
                repaired.push(char::REPLACEMENT_CHARACTER);
                rest = escape.get(6..).unwrap_or_default();
                continue;
            }
            (None, _) => 1 + escape.chars().nth(1).map_or(0, char::len_utf8),
        };
        let (kept, after) = escape.split_at_checked(length).unwrap_or((escape, ""));
        repaired.push_str(kept);
        rest = after;
    }
    repaired.push_str(rest);
    (matches!(text, Cow::Owned(_)) || repaired != *text).then_some(repaired)
}

/// Reports whether the escape at the start is the first half of a surrogate pair, or the second half. `None` for another
/// escape.
fn surrogate(escape: &str) -> Option<bool> {
    let digits = escape.strip_prefix("\\u")?.get(..4)?;
    match u16::from_str_radix(digits, 16).ok()? {
        0xd800..=0xdbff => Some(true),
        0xdc00..=0xdfff => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &[u8], size: usize) -> Result<Vec<String>> {
        let mut reader = PageReader::default();
        let mut found = Vec::new();
        for piece in body.chunks(size) {
            reader.push(piece);
            while let Some(part) = reader.next_part()? {
                found.push(part.describe());
            }
        }
        Ok(found)
    }

    #[test]
    fn items_of_a_page_do_not_depend_on_the_size_of_the_pieces() {
        let table: [(&[u8], &[&str], &str); 7] = [
            (
                br#"{"kind":"PodList","metadata":{"resourceVersion":"7","continue":"t"},"items":[{"a":1},{"b":[{}]}]}"#,
                &[r#"{"a":1}"#, r#"{"b":[{}]}"#, "end 7 t"],
                "a page",
            ),
            (
                b" { \"items\" : [ {\"a\" : \"]}\\\"\\\\\"} , null,3 ] ,\n\"metadata\":{\"resourceVersion\":\"7\"} }\n",
                &[r#"{"a" : "]}\"\\"}"#, "null", "3", "end 7 "],
                "white space, escapes, null, and metadata after the items",
            ),
            (br#"{"metadata":null,"items":null}"#, &["end  "], "null"),
            (br#"{"items":[]}"#, &["end  "], "no items"),
            (b"{}", &["end  "], "an empty object"),
            (
                b"{\"items\":[{\"a\":\"\xff\"},{\"a\":\"\\ud800\"}],\"metadata\":{\"resourceVersion\":\"7\"}}",
                &["{\"a\":\"\u{fffd}\"}", r#"{"a":"\ud800"}"#, "end 7 "],
                "text that is not UTF-8, and a lone surrogate",
            ),
            (
                br#"{"odd":{"items":[1]},"x":7,"items":[{"k":{"k":{}}}],"y":"z"}"#,
                &[r#"{"k":{"k":{}}}"#, "end  "],
                "other members",
            ),
        ];
        for (body, expected, why) in table {
            for size in 1..=body.len() {
                assert_eq!(
                    read(body, size).unwrap(),
                    expected,
                    "{why}, pieces of {size} bytes"
                );
            }
            let trimmed = body.trim_ascii_end();
            for cut in 0..trimmed.len() {
                let found = read(trimmed.get(..cut).unwrap(), 7).unwrap();
                assert!(
                    !found.iter().any(|part| part.starts_with("end")),
                    "{why}, cut at {cut}"
                );
            }
        }
    }

    #[test]
    fn a_deep_item_is_found_without_recursion() {
        let deep = [vec![b'['; 1 << 20], vec![b']'; 1 << 20]].concat();
        let body = [b"{\"items\":[", &deep[..], b"]}"].concat();
        assert_eq!(
            read(&body, 1 << 16).unwrap().first().map(String::len),
            Some(2 << 20)
        );
    }

    #[test]
    fn a_body_that_is_no_list_is_an_error() {
        for (body, why) in [
            (&b"<html>"[..], "another format"),
            (b"[]", "no object"),
            (b"{\"a\" 1}", "no colon"),
            (b"{]}", "a bracket in place of a name"),
            (b"{\"items\":[:]}", "a colon in place of an item"),
            (b"{\"metadata\":7}", "metadata of another type"),
        ] {
            assert!(read(body, body.len()).is_err(), "{why}");
        }
    }

    #[test]
    fn members_of_an_object_are_split() {
        let object = br#" {"a" : 1,"b":{"c":[2]}, "d":"e\"}" ,"f":tru"#;
        let found: Vec<_> = members(object).collect();
        let expected: [(&[u8], &[u8]); 3] = [
            (br#""a""#, b"1"),
            (br#""b""#, br#"{"c":[2]}"#),
            (br#""d""#, br#""e\"}""#),
        ];
        assert_eq!(found, expected, "the last member is not complete");
        assert_eq!(members(b"[1]").count(), 0);
    }

    #[test]
    fn text_that_go_replaces_is_replaced() {
        let table: [(&[u8], Option<&str>, &str); 8] = [
            (br#""a\n\"\u00e4\\""#, None, "valid escapes"),
            (br#""\ud83d\ude00""#, None, "a pair"),
            (br#""\ud83d""#, Some("\"\u{fffd}\""), "the first half alone"),
            (br#""\ude00x""#, Some("\"\u{fffd}x\""), "the second half alone"),
            (
                br#""\ud83d\ud83d\ude00""#,
                Some("\"\u{fffd}\\ud83d\\ude00\""),
                "a half before a pair",
            ),
            (br#""\\ud83d""#, None, "an escaped backslash"),
            (b"\"\xff\"", Some("\"\u{fffd}\""), "not UTF-8"),
            (b"\"\\", None, "cut after a backslash"),
        ];
        for (json, expected, why) in table {
            assert_eq!(repaired(json).as_deref(), expected, "{why}");
        }
    }
}
