//! The format of a checkpoint: bytes to and from the domain's [`Checkpoint`]. No I/O, no clock.
//!
//! `docs/checkpoint.md` describes each byte. A header with a magic number, the version and a checksum is followed by the
//! compressed body. [`decode`] accepts exactly what [`encode`] writes: anything else is a [`DecodeError`].

mod body;
mod limit;
mod reader;
mod writer;

use jiff::Timestamp;
use miniz_oxide::{deflate::compress_to_vec, inflate::decompress_to_vec_with_limit};

use self::{
    reader::Reader,
    writer::{Writer, millis},
};
use crate::domain::{checkpoint::Checkpoint, hash::stable_hash};

/// The maximum size of an encoded checkpoint, in bytes. A ConfigMap may have 1 MiB.
pub const MAX_SIZE: usize = 900_000;
/// The maximum size of a body before compression, in bytes.
pub const MAX_BODY: usize = 16 << 20;
/// The version that [`encode`] writes.
pub const VERSION: u16 = 2;

const MAGIC: [u8; 4] = *b"SWCP";
/// The size of the header without the checksum.
const HEADER: usize = 26;
const CHECKSUM: usize = 8;
/// The level of DEFLATE. Higher levels take three times as long for 2 % less.
const LEVEL: u8 = 6;

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
    #[error("not a checkpoint")]
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
pub fn encode(mut checkpoint: Checkpoint, limit: usize) -> Encoded {
    let already_omitted = checkpoint.omitted;
    let mut omitted = 0;
    loop {
        let mut body = Writer::default();
        body::write(&checkpoint, &mut body);
        let body = body.finish();
        if body.len() <= MAX_BODY {
            checkpoint.omitted = already_omitted.saturating_add(omitted);
            let bytes = seal(&checkpoint, &body);
            if bytes.len() <= limit || (checkpoint.is_empty() && checkpoint.policies.is_empty()) {
                return Encoded {
                    content: stable_hash([&body[..], &checkpoint.omitted.to_le_bytes()]),
                    entries: checkpoint.entries(),
                    omitted: checkpoint.omitted,
                    bytes,
                };
            }
            omitted = omitted.saturating_add(limit::shrink(&mut checkpoint, bytes.len(), limit));
        } else {
            omitted = omitted.saturating_add(limit::shrink(&mut checkpoint, body.len(), MAX_BODY));
        }
    }
}

/// Compresses a body, and adds the header.
fn seal(checkpoint: &Checkpoint, body: &[u8]) -> Vec<u8> {
    let compressed = compress_to_vec(body, LEVEL);
    let size = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes();
    let mut bytes = Vec::with_capacity(HEADER + CHECKSUM + compressed.len());
    bytes.extend(MAGIC);
    bytes.extend(VERSION.to_le_bytes());
    bytes.extend(millis(checkpoint.as_of).to_le_bytes());
    bytes.extend(size(body));
    bytes.extend(size(&compressed));
    bytes.extend(checkpoint.omitted.to_le_bytes());
    bytes.extend(stable_hash([&bytes[..], &compressed]).to_le_bytes());
    bytes.extend(compressed);
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
    let (as_of, rest) = rest.split_first_chunk::<8>().ok_or(DecodeError::Length)?;
    let (body_size, rest) = rest.split_first_chunk::<4>().ok_or(DecodeError::Length)?;
    let (compressed_size, rest) = rest.split_first_chunk::<4>().ok_or(DecodeError::Length)?;
    let (omitted, rest) = rest.split_first_chunk::<4>().ok_or(DecodeError::Length)?;
    let (checksum, compressed) = rest.split_first_chunk::<CHECKSUM>().ok_or(DecodeError::Length)?;
    if u32::try_from(compressed.len()) != Ok(u32::from_le_bytes(*compressed_size)) {
        return Err(DecodeError::Length);
    }
    let header = bytes.get(..HEADER).ok_or(DecodeError::Length)?;
    if stable_hash([header, compressed]) != u64::from_le_bytes(*checksum) {
        return Err(DecodeError::Checksum);
    }
    let body_size = usize::try_from(u32::from_le_bytes(*body_size)).map_err(|_| DecodeError::TooLarge)?;
    if body_size > MAX_BODY {
        return Err(DecodeError::TooLarge);
    }
    let body = decompress_to_vec_with_limit(compressed, body_size)
        .map_err(|_| DecodeError::Content("the body does not decompress to its size"))?;
    if body.len() != body_size {
        return Err(DecodeError::Content("the body is shorter than its size"));
    }
    let as_of = Timestamp::from_millisecond(i64::from_le_bytes(*as_of))
        .map_err(|_| DecodeError::Content("a time out of range"))?;
    let mut reader = Reader::new(&body)?;
    let mut checkpoint = body::read(&mut reader, as_of)?;
    reader.finish()?;
    checkpoint.omitted = u32::from_le_bytes(*omitted);
    Ok(checkpoint)
}

#[cfg(test)]
mod tests;
