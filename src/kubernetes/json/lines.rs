//! Reads the events of a watch in JSON: one event on each line.

use std::collections::BTreeMap;

use kube::core::Status;
use serde::{Deserialize, de::Error as _};

use super::members;
use crate::kubernetes::{
    body::Buffer,
    protobuf::{Event, EventKind, INITIAL_EVENTS_END, MAX_MESSAGE, Refusal},
};

/// The lines of a body that arrives in pieces.
#[derive(Debug, Default)]
pub struct Lines {
    buffer: Buffer,
    /// Number of unread bytes without a line feed.
    searched: usize,
}

impl Lines {
    /// Appends the next piece of the body.
    pub fn push(&mut self, piece: &[u8]) {
        self.buffer.push(piece);
    }

    /// Returns the next event, or `None` until it has arrived.
    pub fn next_event(&mut self) -> serde_json::Result<Option<Event<'_>>> {
        let unread = self.buffer.unread();
        let found = unread.iter().skip(self.searched).position(|byte| *byte == b'\n');
        let Some(at) = found else {
            self.searched = unread.len();
            if self.searched > MAX_MESSAGE {
                return Err(serde_json::Error::custom("an event is larger than 16 MB"));
            }
            return Ok(None);
        };
        let length = self.searched + at + 1;
        self.searched = 0;
        event(self.buffer.take(length)).map(Some)
    }
}

/// A bookmark: an object that has only a version and annotations.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Bookmark {
    metadata: BookmarkMetadata,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct BookmarkMetadata {
    resource_version: String,
    annotations: Option<BTreeMap<String, Option<String>>>,
}

fn event(line: &[u8]) -> serde_json::Result<Event<'_>> {
    let (mut kind, mut object) = (&b""[..], &b""[..]);
    for (name, value) in members(line) {
        match name {
            br#""type""# => kind = value,
            br#""object""# => object = value,
            _ => {}
        }
    }
    if object.is_empty() {
        return Err(serde_json::Error::custom("an event has no object"));
    }
    Ok(match kind {
        br#""ADDED""# | br#""MODIFIED""# => Event::Object(EventKind::Applied, object),
        br#""DELETED""# => Event::Object(EventKind::Deleted, object),
        br#""BOOKMARK""# => {
            let BookmarkMetadata {
                resource_version,
                annotations,
            } = serde_json::from_slice::<Bookmark>(object)?.metadata;
            Event::Bookmark {
                version: resource_version,
                ends_initial_events: annotations.is_some_and(|known| known.contains_key(INITIAL_EVENTS_END)),
            }
        }
        br#""ERROR""# => Event::Error(refusal(serde_json::from_slice(object)?)),
        _ => return Err(serde_json::Error::custom("an event of unknown type")),
    })
}

/// Returns a Status with the wait that it requests.
pub(in crate::kubernetes) fn refusal(status: Status) -> Refusal {
    let seconds = status
        .details
        .as_ref()
        .map_or(0, |details| details.retry_after_seconds);
    Refusal {
        retry_after: (seconds > 0).then(|| std::time::Duration::from_secs(seconds.into())),
        status: status.boxed(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &[u8], size: usize) -> Vec<String> {
        let (mut lines, mut found) = (Lines::default(), Vec::new());
        for piece in body.chunks(size) {
            lines.push(piece);
            loop {
                found.push(match lines.next_event() {
                    Ok(None) => break,
                    Ok(Some(Event::Object(kind, object))) => {
                        format!("{kind:?} {}", String::from_utf8_lossy(object))
                    }
                    Ok(Some(Event::Bookmark {
                        version,
                        ends_initial_events,
                    })) => format!("bookmark {version} {ends_initial_events}"),
                    Ok(Some(Event::Error(Refusal { status, retry_after }))) => {
                        format!("error {} {retry_after:?}", status.code)
                    }
                    Err(error) => format!("invalid: {error}"),
                });
            }
        }
        found
    }

    #[test]
    fn events_do_not_depend_on_the_size_of_the_pieces() {
        let body = concat!(
            r#"{"type":"ADDED","object":{"a":"}\""}}"#,
            "\n",
            r#" {"object" : {"a":[1]} , "type" : "DELETED"}"#,
            "\n",
            r#"{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"7","annotations":{"k8s.io/initial-events-end":"true"}}}}"#,
            "\n",
            r#"{"type":"ERROR","object":{"code":429,"details":{"retryAfterSeconds":2}}}"#,
            "\n",
            r#"{"type":"ODD","object":{}}"#,
            "\n",
            r#"{"type":"ADDED"}"#,
            "\n<html>\n",
            r#"{"type":"ADDED","object":{}"#,
        );
        let expected = [
            r#"Applied {"a":"}\""}"#,
            r#"Deleted {"a":[1]}"#,
            "bookmark 7 true",
            "error 429 Some(2s)",
            "invalid: an event of unknown type",
            "invalid: an event has no object",
            "invalid: an event has no object",
        ];
        for size in 1..=body.len() {
            assert_eq!(read(body.as_bytes(), size), expected, "pieces of {size} bytes");
        }
    }
}
