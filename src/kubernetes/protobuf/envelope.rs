//! Decodes the envelope of an object: the prefix and `runtime.Unknown`, and `WatchEvent` for the objects of a watch.

use super::{
    Refusal,
    reader::{Fields, Malformed, Value},
    status::status,
};

/// Prefix of every object in a response (`k8s.io/apimachinery/pkg/runtime/serializer/protobuf`).
pub(super) const PREFIX: &[u8] = b"k8s\0";

/// Annotation of the bookmark that ends the initial events of a streaming list (KEP-3157).
pub const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";

/// The change of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// ADDED or MODIFIED.
    Applied,
    /// DELETED.
    Deleted,
}

/// An event of a watch.
#[derive(Debug)]
pub enum Event<'a> {
    /// An object was added, changed or deleted. The value is the bytes of its message.
    Object(EventKind, &'a [u8]),
    /// BOOKMARK: all events up to this version were sent.
    Bookmark {
        /// `metadata.resourceVersion`
        version: String,
        /// Whether the bookmark ends the initial events of a streaming list.
        ends_initial_events: bool,
    },
    /// ERROR.
    Error(Refusal),
}

/// Decodes a `WatchEvent`, without its object.
pub fn decode_event(frame: &[u8]) -> Result<Event<'_>, Malformed> {
    let (mut kind, mut object) = (&b""[..], &b""[..]);
    let mut fields = Fields::new(frame);
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => kind = value.bytes()?,
            2 => object = raw_extension(value)?,
            _ => {}
        }
    }
    let object = unwrap(object)?;
    match kind {
        b"ADDED" | b"MODIFIED" => Ok(Event::Object(EventKind::Applied, object)),
        b"DELETED" => Ok(Event::Object(EventKind::Deleted, object)),
        b"BOOKMARK" => bookmark(object),
        b"ERROR" => status(Value::Bytes(object)).map(Event::Error),
        _ => Err(Malformed("an event of unknown type")),
    }
}

/// Decodes a `Status` from the body of a response.
pub fn decode_status(body: &[u8]) -> Result<Refusal, Malformed> {
    status(Value::Bytes(unwrap(body)?))
}

/// Returns the bytes of a `RawExtension`.
fn raw_extension(value: Value<'_>) -> Result<&[u8], Malformed> {
    value.field(1)?.map_or(Ok(&[]), Value::bytes)
}

/// Removes the prefix and the `runtime.Unknown`. Returns the bytes of the message.
fn unwrap(object: &[u8]) -> Result<&[u8], Malformed> {
    let unknown = object
        .strip_prefix(PREFIX)
        .ok_or(Malformed("the prefix of an object is missing"))?;
    let mut raw = None;
    let mut fields = Fields::new(unknown);
    while let Some((number, value)) = fields.next()? {
        match number {
            2 => raw = Some(value.bytes()?),
            3 if !value.bytes()?.is_empty() => return Err(Malformed("an object is compressed")),
            _ => {}
        }
    }
    raw.ok_or(Malformed("an object is empty"))
}

/// Decodes a bookmark: an object that has only a version and annotations.
fn bookmark(object: &[u8]) -> Result<Event<'_>, Malformed> {
    let (mut version, mut ends_initial_events) = (String::new(), false);
    let mut fields = Fields::new(object);
    while let Some((number, value)) = fields.next()? {
        if number != 1 {
            continue;
        }
        let mut metadata = value.message()?;
        while let Some((number, value)) = metadata.next()? {
            match number {
                6 => version = value.identifier()?,
                12 => ends_initial_events |= super::metadata::entry(value)?.0 == INITIAL_EVENTS_END,
                _ => {}
            }
        }
    }
    Ok(Event::Bookmark {
        version,
        ends_initial_events,
    })
}
