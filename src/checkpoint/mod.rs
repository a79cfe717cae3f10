//! The format of a checkpoint: bytes to and from the domain's [`Checkpoint`]. No I/O, no clock.
//!
//! A header with a magic number, the version, the length and a checksum is followed by a [`Head`] and the compressed body: the
//! [`Entry`] values one after the other. Both are in the format of postcard. A change of a type that is stored is a new version
//! of the format; a reader then also reads the version before. `docs/checkpoint.md` describes the content.

mod writer;

use jiff::{Timestamp, fmt::serde::timestamp::millisecond};
use miniz_oxide::inflate::decompress_to_vec_with_limit;
use serde::{Deserialize, Serialize};

pub use self::writer::Writer;
use crate::domain::{
    checkpoint::{Assembly, Checkpoint, Entry},
    hash::stable_hash,
};

/// The maximum size of an encoded checkpoint, in bytes. A ConfigMap may have 1 MiB.
pub const MAX_SIZE: usize = 900_000;
/// The maximum size of a body before compression, in bytes.
pub const MAX_BODY: usize = 16 << 20;
/// The version that [`encode`] writes.
pub const VERSION: u16 = 1;

const MAGIC: [u8; 4] = *b"SWCK";
/// The size of the magic number, the version, the length of what follows the header, and the checksum.
const HEADER: usize = 18;
/// An empty block of DEFLATE that ends the body.
const END: [u8; 2] = [3, 0];

/// What a checkpoint says before its entries.
#[derive(Serialize, Deserialize)]
struct Head {
    #[serde(with = "millisecond::required")]
    as_of: Timestamp,
    /// The size of the body before compression.
    size: u32,
    /// The number of entries that were left out.
    omitted: u32,
    /// One bit for each policy: violations under it were left out.
    cut: Vec<u8>,
}

impl Head {
    /// The maximum size without the bits.
    const MAX_SIZE: usize = 25;
}

/// An encoded checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// The header and the compressed body.
    pub bytes: Vec<u8>,
    /// A hash of the content without the time of the checkpoint: equal if nothing has changed.
    pub content: u64,
    /// The number of entries.
    pub entries: usize,
    /// The number of entries that were left out.
    pub omitted: u32,
}

/// Why bytes are not a checkpoint of this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The magic number is missing.
    #[error("not a checkpoint of this operator")]
    Foreign,
    /// A later version of Sidewatch wrote it.
    #[error("format version {0}, this operator reads version {VERSION}")]
    Version(u16),
    /// The length differs from the one in the header.
    #[error("truncated, or bytes follow the end")]
    Length,
    /// The checksum differs.
    #[error("wrong checksum")]
    Checksum,
    /// The body would be larger than [`MAX_BODY`].
    #[error("the body has more than {MAX_BODY} bytes")]
    TooLarge,
    /// The body is not valid, although the checksum is right.
    #[error("invalid content: {0}")]
    Content(&'static str),
}

impl DecodeError {
    /// The label value of the counter of ignored checkpoints.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Foreign => "foreign",
            Self::Version(_) => "version",
            Self::Length => "truncated",
            Self::Checksum => "checksum",
            Self::TooLarge => "too_large",
            Self::Content(_) => "content",
        }
    }
}

/// Encodes a checkpoint in at most `limit` bytes. Entries that do not fit are left out and counted: first those that the
/// API also shows, then the least severe and youngest.
pub fn encode(checkpoint: Checkpoint, limit: usize) -> Encoded {
    let reserved = reserved(checkpoint.waiting.len(), limit);
    let mut writer = Writer::new(checkpoint.as_of, limit, reserved);
    writer.omit(usize::try_from(checkpoint.omitted).unwrap_or(usize::MAX));
    checkpoint
        .into_entries()
        .into_iter()
        .for_each(|entry| writer.write(entry));
    writer.finish()
}

/// The bytes that a checkpoint reserves for Events that wait: a violation whose Event is missing is never announced.
pub fn reserved(events: usize, limit: usize) -> usize {
    /// The size of an Event after compression, and of those that are added during an export.
    const EVENT: usize = 150;
    (events.saturating_mul(EVENT) + limit / 50).min(limit / 2)
}

/// Adds the header.
fn seal(head: &Head, body: &[u8]) -> Vec<u8> {
    // Writing to memory does not fail.
    let mut rest = postcard::to_allocvec(head).unwrap_or_default();
    rest.extend_from_slice(body);
    let mut bytes = Vec::with_capacity(HEADER + rest.len());
    bytes.extend(MAGIC);
    bytes.extend(VERSION.to_le_bytes());
    bytes.extend(u32::try_from(rest.len()).unwrap_or(u32::MAX).to_le_bytes());
    bytes.extend(stable_hash([&bytes[..], &rest]).to_le_bytes());
    bytes.append(&mut rest);
    bytes
}

/// Decodes a checkpoint. Decompresses at most [`MAX_BODY`] bytes, even if the header has a larger size.
pub fn decode(bytes: &[u8]) -> Result<Checkpoint, DecodeError> {
    let (magic, rest) = bytes.split_first_chunk::<4>().ok_or(DecodeError::Foreign)?;
    if *magic != MAGIC {
        return Err(DecodeError::Foreign);
    }
    let (version, rest) = rest.split_first_chunk::<2>().ok_or(DecodeError::Length)?;
    match u16::from_le_bytes(*version) {
        VERSION => {}
        other => return Err(DecodeError::Version(other)),
    }
    let (length, rest) = rest.split_first_chunk::<4>().ok_or(DecodeError::Length)?;
    let (checksum, rest) = rest.split_first_chunk::<8>().ok_or(DecodeError::Length)?;
    if u32::try_from(rest.len()) != Ok(u32::from_le_bytes(*length)) {
        return Err(DecodeError::Length);
    }
    let begin = bytes.get(..10).ok_or(DecodeError::Length)?;
    if stable_hash([begin, rest]) != u64::from_le_bytes(*checksum) {
        return Err(DecodeError::Checksum);
    }
    let (head, body) =
        postcard::take_from_bytes::<Head>(rest).map_err(|_| DecodeError::Content("the head is invalid"))?;
    let size = usize::try_from(head.size).map_err(|_| DecodeError::TooLarge)?;
    if size > MAX_BODY {
        return Err(DecodeError::TooLarge);
    }
    let body = decompress_to_vec_with_limit(body, size)
        .map_err(|_| DecodeError::Content("the body does not decompress to its size"))?;
    if body.len() != size {
        return Err(DecodeError::Content("the body is shorter than its size"));
    }
    let mut assembly = Assembly::new(head.as_of, head.omitted);
    let mut rest = &body[..];
    while !rest.is_empty() {
        let (entry, after) = postcard::take_from_bytes::<Entry>(rest)
            .map_err(|_| DecodeError::Content("an entry is invalid"))?;
        assembly.add(entry).map_err(DecodeError::Content)?;
        rest = after;
    }
    let is_cut = |number: usize| {
        head.cut
            .get(number / 8)
            .is_some_and(|bits| bits >> (number % 8) & 1 == 1)
    };
    Ok(assembly.finish(is_cut))
}

#[cfg(test)]
mod tests;
