//! Reads the values that [`Writer`](super::writer::Writer) writes. Every length is bounded by the bytes that remain.

use std::sync::Arc;

use jiff::Timestamp;

use super::{DecodeError, writer::format_uuid};

/// The body of a checkpoint that is being read.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    strings: Vec<Arc<str>>,
    base: i64,
}

type Result<T> = std::result::Result<T, DecodeError>;

const END: DecodeError = DecodeError::Content("the body ends early");
const NOT_UTF8: DecodeError = DecodeError::Content("text that is not UTF-8");
const TIME: DecodeError = DecodeError::Content("a time out of range");
pub(super) const RANGE: DecodeError = DecodeError::Content("a number out of range");
pub(super) const TAG: DecodeError = DecodeError::Content("an unknown tag");

impl<'a> Reader<'a> {
    /// Reads the base of the times and the table of strings.
    pub(super) fn new(body: &'a [u8]) -> Result<Self> {
        let mut reader = Self {
            bytes: body,
            strings: Vec::new(),
            base: 0,
        };
        reader.base = i64::from_le_bytes(reader.array()?);
        for _ in 0..reader.length()? {
            let text = reader.text()?;
            reader.strings.push(text.into());
        }
        Ok(reader)
    }

    /// Returns an error if bytes remain.
    pub(super) fn finish(&self) -> Result<()> {
        if self.bytes.is_empty() {
            Ok(())
        } else {
            Err(DecodeError::Content("bytes after the end"))
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (array, rest) = self.bytes.split_first_chunk::<N>().ok_or(END)?;
        self.bytes = rest;
        Ok(*array)
    }

    pub(super) fn byte(&mut self) -> Result<u8> {
        let [byte] = self.array()?;
        Ok(byte)
    }

    pub(super) fn flag(&mut self) -> Result<bool> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(TAG),
        }
    }

    pub(super) fn integer(&mut self) -> Result<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                break;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(DecodeError::Content("an integer with more than 64 bits"))
    }

    /// An integer of a smaller type.
    pub(super) fn small<T: TryFrom<u64>>(&mut self) -> Result<T> {
        T::try_from(self.integer()?).map_err(|_| RANGE)
    }

    /// The number of items that follow. Each of them has at least one byte.
    pub(super) fn length(&mut self) -> Result<usize> {
        let length: usize = self.small()?;
        if length > self.bytes.len() {
            return Err(END);
        }
        Ok(length)
    }

    pub(super) fn signed(&mut self) -> Result<i64> {
        let value = self.integer()?;
        Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
    }

    pub(super) fn hash(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub(super) fn time(&mut self) -> Result<Timestamp> {
        let at = self.signed()?.wrapping_add(self.base);
        Timestamp::from_millisecond(at).map_err(|_| TIME)
    }

    pub(super) fn optional_time(&mut self) -> Result<Option<Timestamp>> {
        if self.flag()? {
            self.time().map(Some)
        } else {
            Ok(None)
        }
    }

    pub(super) fn text(&mut self) -> Result<&'a str> {
        let length = self.length()?;
        let (text, rest) = self.bytes.split_at_checked(length).ok_or(END)?;
        self.bytes = rest;
        std::str::from_utf8(text).map_err(|_| NOT_UTF8)
    }

    pub(super) fn string(&mut self) -> Result<Arc<str>> {
        let number: usize = self.small()?;
        let string = self.strings.get(number);
        string.cloned().ok_or(DecodeError::Content("an unknown string"))
    }

    pub(super) fn uid(&mut self) -> Result<Arc<str>> {
        match self.byte()? {
            0 => Ok(format_uuid(self.array()?).into()),
            1 => self.string(),
            _ => Err(TAG),
        }
    }
}
