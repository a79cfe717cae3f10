//! The bytes of a body that have arrived and were not yet read.

/// Memory above this is given back when the buffer is empty.
const KEEP: usize = 256 << 10;

/// A queue of bytes: pieces go in at the end, and messages are taken from the start.
#[derive(Debug, Default)]
pub(super) struct Buffer {
    bytes: Vec<u8>,
    start: usize,
}

impl Buffer {
    /// Adds a piece. Bytes that were read are forgotten.
    pub(super) fn push(&mut self, piece: &[u8]) {
        self.bytes.drain(..self.start);
        self.start = 0;
        if self.bytes.is_empty() && self.bytes.capacity() > KEEP {
            self.bytes = Vec::new();
        }
        self.bytes.extend_from_slice(piece);
    }

    /// The bytes that were not read.
    pub(super) fn unread(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or_default()
    }

    /// Marks bytes as read.
    pub(super) fn consume(&mut self, length: usize) {
        self.start = (self.start + length).min(self.bytes.len());
    }

    /// Marks bytes as read, and returns them. At least so many must be unread.
    pub(super) fn take(&mut self, length: usize) -> &[u8] {
        self.consume(length);
        self.last(length)
    }

    /// The bytes that were read last.
    pub(super) fn last(&self, length: usize) -> &[u8] {
        self.bytes
            .get(self.start.saturating_sub(length)..self.start)
            .unwrap_or_default()
    }

    /// How many bytes it can hold without allocating.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_out_in_order() {
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
