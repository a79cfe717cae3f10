//! Reads the protobuf wire format: varints, lengths, and the fields of a message.

use std::borrow::Cow;

/// Error for bytes that are not the expected protobuf message. The text describes the problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid protobuf: {0}")]
pub struct Malformed(pub &'static str);

/// Maximum size of a varint in bytes: 64 bits in groups of seven.
const MAX_VARINT: usize = 10;

/// Reads a varint. Returns the value and its size in bytes, or `None` if the varint is incomplete.
pub(super) fn varint(bytes: &[u8]) -> Result<Option<(u64, usize)>, Malformed> {
    // Most keys, lengths and numbers have one byte.
    if let [byte @ 0..0x80, ..] = bytes {
        return Ok(Some((u64::from(*byte), 1)));
    }
    let mut value = 0_u64;
    for (place, byte) in bytes.iter().take(MAX_VARINT).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return Ok(Some((value, place + 1)));
        }
    }
    if bytes.len() < MAX_VARINT {
        Ok(None)
    } else {
        Err(Malformed("a varint has more than 10 bytes"))
    }
}

/// The value of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value<'a> {
    /// An integer or a boolean.
    Varint(u64),
    /// A string, bytes, an embedded message or a packed list.
    Bytes(&'a [u8]),
    /// A number of fixed size, or a group. The operator uses no field of these types.
    Fixed,
}

impl<'a> Value<'a> {
    /// Returns the text of a string field. Go does not validate strings in protobuf. Bytes that are not UTF-8 are
    /// replaced, as in Go's JSON encoder.
    pub(super) fn text(self) -> Result<Cow<'a, str>, Malformed> {
        let bytes = self.bytes()?;
        // Validates valid text faster than `from_utf8_lossy`.
        Ok(str::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes), Cow::Borrowed))
    }

    /// Returns a name, a UID or a version. The API server has only valid ones, so another one is damaged.
    pub(super) fn identifier(self) -> Result<String, Malformed> {
        let bytes = self.bytes()?;
        str::from_utf8(bytes)
            .map(str::to_owned)
            .map_err(|_| Malformed("an identifier is not UTF-8"))
    }

    /// Returns the text of a string field as an owned string.
    pub(super) fn string(self) -> Result<String, Malformed> {
        self.text().map(Cow::into_owned)
    }

    /// Returns the fields of an embedded message.
    pub(super) fn message(self) -> Result<Fields<'a>, Malformed> {
        self.bytes().map(Fields::new)
    }

    /// Returns the value of one field of an embedded message. Of several values, the last one counts.
    pub(super) fn field(self, number: u64) -> Result<Option<Self>, Malformed> {
        let mut found = None;
        let mut fields = self.message()?;
        while let Some((other, value)) = fields.next()? {
            if other == number {
                found = Some(value);
            }
        }
        Ok(found)
    }

    /// Returns the bytes of a length-delimited field.
    pub(super) fn bytes(self) -> Result<&'a [u8], Malformed> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            _ => Err(Malformed("a field that has a length was expected")),
        }
    }

    /// Returns an `int32` or `int64`. In both types, a negative number has ten bytes.
    pub(super) fn integer(self) -> Result<i64, Malformed> {
        match self {
            Self::Varint(value) => Ok(value.cast_signed()),
            _ => Err(Malformed("an integer was expected")),
        }
    }

    /// Returns a `bool`.
    pub(super) fn boolean(self) -> Result<bool, Malformed> {
        self.integer().map(|value| value != 0)
    }
}

/// The fields of a message, in the order of the encoding.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    /// Reads the fields of the message in `bytes`.
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Returns the number of bytes that were not read.
    pub(super) fn left(&self) -> usize {
        self.0.len()
    }

    /// Returns number and value of the next field, or `None` at the end of the message.
    pub(super) fn next(&mut self) -> Result<Option<(u64, Value<'a>)>, Malformed> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let key = self.varint()?;
        let value = match key & 7 {
            0 => Value::Varint(self.varint()?),
            1 => {
                self.take(8)?;
                Value::Fixed
            }
            2 => {
                let length = self.varint()?;
                let length = usize::try_from(length).map_err(|_| TRUNCATED)?;
                Value::Bytes(self.take(length)?)
            }
            3 => {
                self.skip_group()?;
                Value::Fixed
            }
            5 => {
                self.take(4)?;
                Value::Fixed
            }
            _ => return Err(Malformed("an unknown wire type")),
        };
        Ok(Some((key >> 3, value)))
    }

    /// Skips the rest of a group, an encoding of messages that ends with a key. Go skips groups in unknown fields.
    fn skip_group(&mut self) -> Result<(), Malformed> {
        let mut depth = 1_usize;
        while depth > 0 {
            match self.varint()? & 7 {
                0 => drop(self.varint()?),
                1 => drop(self.take(8)?),
                2 => {
                    let length = usize::try_from(self.varint()?).map_err(|_| TRUNCATED)?;
                    self.take(length)?;
                }
                3 => depth += 1,
                4 => depth -= 1,
                5 => drop(self.take(4)?),
                _ => return Err(Malformed("an unknown wire type")),
            }
        }
        Ok(())
    }

    fn varint(&mut self) -> Result<u64, Malformed> {
        let (value, length) = varint(self.0)?.ok_or(TRUNCATED)?;
        self.take(length)?;
        Ok(value)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(TRUNCATED)?;
        self.0 = rest;
        Ok(taken)
    }
}

const TRUNCATED: Malformed = Malformed("a field is longer than its message");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_varint_ends_at_the_first_byte_without_the_high_bit() {
        type Row = (
            &'static [u8],
            Result<Option<(u64, usize)>, Malformed>,
            &'static str,
        );
        let table: [Row; 6] = [
            (&[0], Ok(Some((0, 1))), "zero"),
            (
                &[0xac, 2, 9],
                Ok(Some((300, 2))),
                "two bytes, and another byte after them",
            ),
            (&[0x80], Ok(None), "not complete"),
            (&[], Ok(None), "no bytes"),
            (
                &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1],
                Ok(Some((u64::MAX, 10))),
                "the largest number",
            ),
            (
                &[0x80; 10],
                Err(Malformed("a varint has more than 10 bytes")),
                "more than ten bytes",
            ),
        ];
        for (bytes, expected, why) in table {
            assert_eq!(varint(bytes), expected, "{why}");
        }
    }

    #[test]
    fn fields_of_every_wire_type_are_read_or_skipped() {
        let bytes = [
            8, 5, // 1: varint 5
            0x11, 1, 2, 3, 4, 5, 6, 7, 8, // 2: 64 bits
            0x1a, 2, b'h', b'i', // 3: "hi"
            0x25, 1, 2, 3, 4, // 4: 32 bits
        ];
        let mut fields = Fields::new(&bytes);
        let expected = [
            (1, Value::Varint(5)),
            (2, Value::Fixed),
            (3, Value::Bytes(b"hi")),
            (4, Value::Fixed),
        ];
        for field in expected {
            assert_eq!(fields.next(), Ok(Some(field)));
        }
        assert_eq!(fields.next(), Ok(None));
    }

    #[test]
    fn a_group_is_skipped_without_recursion() {
        let deep = [vec![0x0b; 1 << 20], vec![0x0c; 1 << 20], vec![8, 5]].concat();
        let mut fields = Fields::new(&deep);
        assert_eq!(fields.next(), Ok(Some((1, Value::Fixed))));
        assert_eq!(fields.next(), Ok(Some((1, Value::Varint(5)))));
        let mixed = [
            0x0b, 8, 1, 0x11, 1, 2, 3, 4, 5, 6, 7, 8, 0x1a, 1, b'x', 0x25, 1, 2, 3, 4, 0x0c,
        ];
        assert_eq!(
            Fields::new(&mixed).next(),
            Ok(Some((1, Value::Fixed))),
            "every type in a group"
        );
        assert_eq!(
            Fields::new(&[0x0b, 8, 1]).next(),
            Err(TRUNCATED),
            "a group without an end"
        );
    }

    #[test]
    fn a_field_that_is_longer_than_its_message_is_an_error() {
        let table: [(&[u8], &str); 6] = [
            (&[0x1a, 3, b'h', b'i'], "a string"),
            (&[0x1a, 0xff, 0xff, 0xff, 0xff, 7, b'h'], "2 GB"),
            (
                &[0x1a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1],
                "2^64 - 1 bytes",
            ),
            (&[0x11, 1, 2], "64 bits"),
            (&[0x25, 1], "32 bits"),
            (&[8], "a varint"),
        ];
        for (bytes, why) in table {
            assert_eq!(Fields::new(bytes).next(), Err(TRUNCATED), "{why}");
        }
        for wire_type in [4, 6, 7] {
            let bytes = [8 | wire_type, 0];
            let error = Fields::new(&bytes).next();
            assert_eq!(error, Err(Malformed("an unknown wire type")), "{wire_type}");
        }
    }

    #[test]
    fn the_last_value_of_a_field_counts() {
        let message = Value::Bytes(&[8, 1, 16, 2, 8, 3]); // 1: 1, 2: 2, 1: 3
        assert_eq!(message.field(1), Ok(Some(Value::Varint(3))));
        assert_eq!(message.field(3), Ok(None));
    }

    #[test]
    fn values_convert_only_from_their_own_wire_type() {
        assert_eq!(Value::Varint(u64::MAX).integer(), Ok(-1));
        assert_eq!(Value::Varint(2).boolean(), Ok(true));
        assert_eq!(Value::Bytes(b"a\xffb").string().as_deref(), Ok("a\u{fffd}b"));
        assert!(Value::Fixed.integer().is_err());
        assert!(Value::Bytes(b"x").integer().is_err());
        assert!(Value::Varint(1).message().is_err());
    }
}
