//! Writes the values of a body: variable-length integers, times, and strings that occur often.

use std::collections::HashMap;

use jiff::Timestamp;

/// The body of a checkpoint that is being written.
#[derive(Debug, Default)]
pub(super) struct Writer {
    bytes: Vec<u8>,
    /// The table of strings, in the order of their first use.
    table: Vec<u8>,
    strings: HashMap<Box<str>, u64>,
    /// The time that other times are relative to, in milliseconds since 1970.
    base: i64,
}

impl Writer {
    /// Sets the time that times are relative to.
    pub(super) fn base(&mut self, base: Timestamp) {
        self.base = millis(base);
    }

    /// Returns the body: the base, the table of strings, and what was written.
    pub(super) fn finish(self) -> Vec<u8> {
        let mut body = Self::default();
        body.bytes.extend(self.base.to_le_bytes());
        body.length(self.strings.len());
        body.bytes.extend(self.table);
        body.bytes.extend(self.bytes);
        body.bytes
    }

    pub(super) fn byte(&mut self, byte: u8) {
        self.bytes.push(byte);
    }

    /// An integer with 7 bits in each byte, the lowest first. The high bit of all bytes but the last is set.
    pub(super) fn integer(&mut self, value: u64) {
        push_integer(&mut self.bytes, value);
    }

    pub(super) fn length(&mut self, length: usize) {
        self.integer(length as u64);
    }

    /// An integer whose sign is in the lowest bit.
    pub(super) fn signed(&mut self, value: i64) {
        self.integer((value.cast_unsigned() << 1) ^ (value >> 63).cast_unsigned());
    }

    /// Eight bytes, the lowest first.
    pub(super) fn hash(&mut self, hash: u64) {
        self.bytes.extend(hash.to_le_bytes());
    }

    /// A time in milliseconds relative to the base.
    pub(super) fn time(&mut self, at: Timestamp) {
        self.signed(millis(at).wrapping_sub(self.base));
    }

    /// A time that may be missing: a byte, and the time.
    pub(super) fn optional_time(&mut self, at: Option<Timestamp>) {
        self.byte(u8::from(at.is_some()));
        if let Some(at) = at {
            self.time(at);
        }
    }

    /// A string that occurs once: its length and its bytes.
    pub(super) fn text(&mut self, text: &str) {
        self.length(text.len());
        self.bytes.extend(text.as_bytes());
    }

    /// A string that occurs often: its number in the table.
    pub(super) fn string(&mut self, text: &str) {
        let next = self.strings.len() as u64;
        let number = if let Some(number) = self.strings.get(text) {
            *number
        } else {
            push_integer(&mut self.table, text.len() as u64);
            self.table.extend(text.as_bytes());
            self.strings.insert(text.into(), next);
            next
        };
        self.integer(number);
    }

    /// A UID: 16 bytes in the usual form, else a string.
    pub(super) fn uid(&mut self, uid: &str) {
        if let Some(bytes) = uuid(uid) {
            self.byte(0);
            self.bytes.extend(bytes);
        } else {
            self.byte(1);
            self.string(uid);
        }
    }
}

/// The latest time in whole milliseconds, which is less than one second before the latest timestamp.
pub(super) const LATEST: i64 = 253_402_207_200_000;

/// The milliseconds since 1970.
pub(super) fn millis(at: Timestamp) -> i64 {
    at.as_millisecond().min(LATEST)
}

fn push_integer(bytes: &mut Vec<u8>, mut value: u64) {
    loop {
        let low = (value & 0x7f) as u8;
        value >>= 7;
        if value == 0 {
            bytes.push(low);
            return;
        }
        bytes.push(low | 0x80);
    }
}

/// The bytes of a UUID in lower case with hyphens, the form of the API server.
fn uuid(text: &str) -> Option<[u8; 16]> {
    let mut bytes = [0; 16];
    let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b'-').collect();
    for (byte, digits) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let digits = std::str::from_utf8(digits).ok()?;
        *byte = u8::from_str_radix(digits, 16).ok()?;
    }
    // Any other form of the same bytes is written as a string.
    (format_uuid(bytes) == text).then_some(bytes)
}

/// A UUID in lower case with hyphens.
pub(super) fn format_uuid(bytes: [u8; 16]) -> String {
    let mut text = String::with_capacity(36);
    for (i, byte) in bytes.into_iter().enumerate() {
        if matches!(i, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        for digit in [byte >> 4, byte & 0xf] {
            text.push(char::from_digit(u32::from(digit), 16).unwrap_or_default());
        }
    }
    text
}
