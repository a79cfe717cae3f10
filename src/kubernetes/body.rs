//! Buffers the bytes of a response body until they are decoded.

/// Maximum capacity in bytes that an empty buffer keeps. A larger one is freed.
const KEEP: usize = 256 << 10;

/// A queue of bytes. Pieces of a body are appended, and messages are taken from the start.
#[derive(Debug, Default)]
pub(super) struct Buffer {
    bytes: Vec<u8>,
    start: usize,
}

impl Buffer {
    /// Appends a piece of the body. Discards the bytes that were read.
    pub(super) fn push(&mut self, piece: &[u8]) {
        self.bytes.drain(..self.start);
        self.start = 0;
        if self.bytes.is_empty() && self.bytes.capacity() > KEEP {
            self.bytes = Vec::new();
        }
        self.bytes.extend_from_slice(piece);
    }

    /// Returns the unread bytes.
    pub(super) fn unread(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or_default()
    }

    /// Marks bytes as read.
    pub(super) fn consume(&mut self, length: usize) {
        self.start = (self.start + length).min(self.bytes.len());
    }

    /// Marks bytes as read and returns them. At least `length` bytes must be unread.
    pub(super) fn take(&mut self, length: usize) -> &[u8] {
        self.consume(length);
        self.last(length)
    }

    /// Returns the last `length` bytes that were read.
    pub(super) fn last(&self, length: usize) -> &[u8] {
        self.bytes
            .get(self.start.saturating_sub(length)..self.start)
            .unwrap_or_default()
    }

    /// Returns the number of bytes that fit without an allocation.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_read_in_order() {
        let mut buffer = Buffer::default();
        buffer.push(b"abc");
        assert_eq!(buffer.take(2), b"ab");
        buffer.push(b"def");
        assert_eq!(buffer.unread(), b"cdef");
        buffer.consume(3);
        assert_eq!(buffer.last(2), b"de");
        assert_eq!(buffer.take(1), b"f");
        assert_eq!(buffer.unread(), b"");
    }

    #[test]
    fn a_large_message_does_not_keep_its_memory() {
        let mut buffer = Buffer::default();
        buffer.push(&vec![0; 8 << 20]);
        buffer.consume(8 << 20);
        buffer.push(b"next");
        assert!(buffer.capacity() <= KEEP, "{} bytes", buffer.capacity());
    }
}
