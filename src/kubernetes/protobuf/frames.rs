//! Splits a body that arrives in pieces into messages: the frames of a watch, and the items of a list.
//!
//! A list is decoded item by item, so that a page of large Pods is never completely in memory.

use super::{
    MAX_MESSAGE,
    envelope::PREFIX,
    reader::{Fields, Malformed, varint},
};
use crate::kubernetes::body::Buffer;

/// Size of a frame header in bytes. The header is the length of the frame as a big-endian number
/// (`LengthDelimitedFramer` of `k8s.io/apimachinery/pkg/util/framer`).
const FRAME_HEADER: usize = 4;

const TOO_LARGE: Malformed = Malformed("a message is larger than 16 MB");

/// Reads the frames of a watch.
#[derive(Debug, Default)]
pub struct WatchFrames {
    buffer: Buffer,
}

impl WatchFrames {
    /// Appends the next piece of the body.
    pub fn push(&mut self, piece: &[u8]) {
        self.buffer.push(piece);
    }

    /// Returns the next complete frame: the bytes of a `WatchEvent`.
    pub fn next_frame(&mut self) -> Result<Option<&[u8]>, Malformed> {
        let Some((header, rest)) = self.buffer.unread().split_first_chunk::<FRAME_HEADER>() else {
            return Ok(None);
        };
        let length = usize::try_from(u32::from_be_bytes(*header)).map_err(|_| TOO_LARGE)?;
        if length > MAX_MESSAGE {
            return Err(TOO_LARGE);
        }
        if rest.len() < length {
            return Ok(None);
        }
        self.buffer.consume(FRAME_HEADER);
        Ok(Some(self.buffer.take(length)))
    }
}

/// A part of a page.
#[derive(Debug, PartialEq, Eq)]
pub enum Page<'a> {
    /// The bytes of an item.
    Item(&'a [u8]),
    /// The page is complete.
    End {
        /// `metadata.resourceVersion`
        version: String,
        /// `metadata.continue`; empty on the last page.
        continue_token: String,
    },
}

#[cfg(test)]
impl Page<'_> {
    /// Returns the part as one text.
    pub(in crate::kubernetes) fn describe(&self) -> String {
        match self {
            Self::Item(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            Self::End {
                version,
                continue_token,
            } => format!("end {version} {continue_token}"),
        }
    }
}

/// Reads the items of a page of a list.
#[derive(Debug, Default)]
pub struct PageReader {
    buffer: Buffer,
    stage: Stage,
    version: String,
    continue_token: String,
}

#[derive(Clone, Copy, Debug, Default)]
enum Stage {
    /// Before the prefix.
    #[default]
    Prefix,
    /// Before the list in `runtime.Unknown`.
    Envelope,
    /// In the list. The value is the number of bytes until its end.
    List(u64),
    /// After the end was returned.
    Done,
}

/// The key and the length of a length-delimited field at the start of the unread bytes.
struct Field {
    number: u64,
    /// The size of key and length in bytes.
    head: usize,
    /// The size of the value in bytes.
    length: u64,
}

impl PageReader {
    /// Appends the next piece of the body.
    pub fn push(&mut self, piece: &[u8]) {
        self.buffer.push(piece);
    }

    /// Returns the next complete part, or `None` until more bytes arrive.
    pub fn next_part(&mut self) -> Result<Option<Page<'_>>, Malformed> {
        loop {
            match self.stage {
                Stage::Prefix => {
                    let unread = self.buffer.unread();
                    let length = unread.len().min(PREFIX.len());
                    if !PREFIX.starts_with(unread.get(..length).unwrap_or_default()) {
                        return Err(Malformed("the prefix of an object is missing"));
                    }
                    if length < PREFIX.len() {
                        return Ok(None);
                    }
                    self.buffer.consume(PREFIX.len());
                    self.stage = Stage::Envelope;
                }
                Stage::Envelope => {
                    let Some(field) = self.field()? else {
                        return Ok(None);
                    };
                    if field.number == 2 {
                        self.buffer.consume(field.head);
                        self.stage = Stage::List(field.length);
                    } else if self.complete(&field)?.is_none() {
                        return Ok(None);
                    }
                }
                Stage::List(0) => {
                    self.stage = Stage::Done;
                    return Ok(Some(Page::End {
                        version: std::mem::take(&mut self.version),
                        continue_token: std::mem::take(&mut self.continue_token),
                    }));
                }
                Stage::List(left) => {
                    let Some(field) = self.field()? else {
                        return Ok(None);
                    };
                    let number = field.number;
                    let Some(length) = self.complete(&field)? else {
                        return Ok(None);
                    };
                    let used = u64::try_from(field.head)
                        .unwrap_or(u64::MAX)
                        .saturating_add(field.length);
                    let left = left
                        .checked_sub(used)
                        .ok_or(Malformed("an item is longer than its list"))?;
                    self.stage = Stage::List(left);
                    match number {
                        1 => {
                            let (version, continue_token) = list_meta(self.buffer.last(length))?;
                            (self.version, self.continue_token) = (version, continue_token);
                        }
                        2 => return Ok(Some(Page::Item(self.buffer.last(length)))),
                        _ => {}
                    }
                }
                Stage::Done => return Ok(None),
            }
        }
    }

    /// Returns the head of the next field, or `None` until it has arrived.
    fn field(&self) -> Result<Option<Field>, Malformed> {
        let unread = self.buffer.unread();
        let Some((key, key_length)) = varint(unread)? else {
            return Ok(None);
        };
        if key & 7 != 2 {
            return Err(Malformed("a list has only fields with a length"));
        }
        let Some((length, length_length)) = varint(unread.get(key_length..).unwrap_or_default())? else {
            return Ok(None);
        };
        Ok(Some(Field {
            number: key >> 3,
            head: key_length + length_length,
            length,
        }))
    }

    /// Consumes a field if it has arrived completely. Returns the length of its value.
    fn complete(&mut self, field: &Field) -> Result<Option<usize>, Malformed> {
        let length = usize::try_from(field.length).map_err(|_| TOO_LARGE)?;
        if length > MAX_MESSAGE {
            return Err(TOO_LARGE);
        }
        if self.buffer.unread().len() < field.head + length {
            return Ok(None);
        }
        self.buffer.consume(field.head + length);
        Ok(Some(length))
    }
}

/// Decodes version and continue token of a `ListMeta`.
fn list_meta(bytes: &[u8]) -> Result<(String, String), Malformed> {
    let (mut version, mut continue_token) = (String::new(), String::new());
    let mut fields = Fields::new(bytes);
    while let Some((number, value)) = fields.next()? {
        match number {
            2 => version = value.identifier()?,
            3 => continue_token = value.identifier()?,
            _ => {}
        }
    }
    Ok((version, continue_token))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(bytes: &[u8]) -> Vec<u8> {
        let length = u32::try_from(bytes.len()).unwrap();
        [&length.to_be_bytes(), bytes].concat()
    }

    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        let length = u8::try_from(bytes.len()).unwrap();
        assert!(length < 128, "one byte of length");
        [&[number << 3 | 2, length], bytes].concat()
    }

    #[test]
    fn frames_do_not_depend_on_the_size_of_the_pieces() {
        let body = [frame(b"one"), frame(b""), frame(b"three")].concat();
        for size in 1..=body.len() {
            let mut frames = WatchFrames::default();
            let mut found = Vec::new();
            for piece in body.chunks(size) {
                frames.push(piece);
                while let Some(frame) = frames.next_frame().unwrap() {
                    found.push(frame.to_vec());
                }
            }
            assert_eq!(found, [&b"one"[..], b"", b"three"], "pieces of {size} bytes");
        }
    }

    #[test]
    fn a_header_that_claims_two_gigabytes_is_an_error_at_once() {
        let mut frames = WatchFrames::default();
        frames.push(&[0x80, 0, 0]);
        assert_eq!(frames.next_frame(), Ok(None), "the header is not complete");
        frames.push(&[0]);
        assert_eq!(frames.next_frame(), Err(TOO_LARGE));
        assert!(frames.buffer.capacity() < 1024, "no memory is allocated for it");
    }

    fn read(body: &[u8], size: usize) -> Result<Vec<String>, Malformed> {
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

    fn page(list: &[u8]) -> Vec<u8> {
        [
            PREFIX,
            &field(1, b"\x0a\x02v1\x12\x07PodList"),
            &field(2, list),
            &field(3, b""),
            &field(4, b""),
        ]
        .concat()
    }

    #[test]
    fn items_of_a_page_do_not_depend_on_the_size_of_the_pieces() {
        let meta = [field(1, b""), field(2, b"77"), field(3, b"token")].concat();
        let list = [field(1, &meta), field(2, b"a"), field(9, b"new"), field(2, b"bc")].concat();
        let body = page(&list);
        for size in 1..=body.len() {
            let expected = ["a", "bc", "end 77 token"];
            assert_eq!(read(&body, size).unwrap(), expected, "pieces of {size} bytes");
        }
        assert_eq!(read(&page(b""), 5).unwrap(), ["end  "], "an empty list");
        for cut in 0..body.len() - 4 {
            let found = read(body.get(..cut).unwrap(), 7).unwrap();
            assert!(
                !found.iter().any(|part| part.starts_with("end")),
                "cut at {cut}: {found:?}"
            );
        }
    }

    #[test]
    fn a_body_that_is_no_page_is_an_error() {
        let claims = |claim: &[u8]| [PREFIX, &[0x12, 100, 0x12], claim].concat();
        let table: [(Vec<u8>, &str); 5] = [
            (b"<html>".to_vec(), "another format"),
            (claims(&[0xff, 0xff, 0xff, 0xff, 7]), "an item of 2 GB"),
            (
                [PREFIX, &[0x12, 3, 0x12, 3, 1, 2, 3]].concat(),
                "an item longer than the list",
            ),
            ([PREFIX, &[0x08, 3]].concat(), "a number in the envelope"),
            ([PREFIX, &[0xff; 11]].concat(), "a varint without an end"),
        ];
        for (body, why) in table {
            assert!(read(&body, body.len()).is_err(), "{why}");
        }
    }
}
