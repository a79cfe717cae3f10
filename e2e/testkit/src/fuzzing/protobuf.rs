//! Pods in protobuf, from the bytes of a response: a watch or a page of a list. A Pod that Go reads decodes here too, the
//! others are skipped, and the index keeps its invariants.

use sidewatch::kubernetes::{
    decode::{object::from_protobuf, pod::LeanPod},
    protobuf::{Event, EventKind, Malformed, Page, PageReader, WatchFrames, decode_event, decode_status},
};

use super::{
    checked_index::{CheckedIndex, policy},
    go_types::is_pod,
};

/// The lowest bit of the first byte selects a watch or a page. The other bits are the size of the network chunks. The
/// remaining bytes are the body of the response.
pub fn protobuf(data: &[u8]) {
    let Some((first, body)) = data.split_first() else {
        return;
    };
    let chunk = usize::from(first >> 1).max(1);
    let read = |chunk| {
        if first & 1 == 0 {
            watch(body, chunk)
        } else {
            page(body, chunk)
        }
    };
    let (events, end) = read(chunk);
    let (whole, whole_end) = read(body.len().max(1));
    assert_eq!(
        format!("{events:?} {end:?}"),
        format!("{whole:?} {whole_end:?}"),
        "the size of the chunks makes a difference"
    );
    let _refusal = decode_status(body);
    let index = CheckedIndex::new(&[policy("usual", &serde_json::json!({}))]);
    let events = events.into_iter();
    index.replay(events.map(|(kind, pod)| (pod, matches!(kind, EventKind::Deleted))));
}

/// Decodes a Pod. One that does not decode is skipped, and Go must refuse it too. The API server stores no Pod whose name or UID
/// is not UTF-8.
fn decoded(object: &[u8]) -> Option<LeanPod> {
    match from_protobuf(object) {
        Ok(pod) => Some(pod),
        Err(error) => {
            let is_identified = !error.name.is_empty() && !error.uid.is_empty();
            assert!(
                !is_identified || !is_pod(object),
                "{error}, but Go reads {object:?}"
            );
            None
        }
    }
}

type Read = (Vec<(EventKind, LeanPod)>, Result<(), Malformed>);

fn watch(body: &[u8], chunk: usize) -> Read {
    let (mut frames, mut found) = (WatchFrames::default(), Vec::new());
    let mut read = || {
        for piece in body.chunks(chunk) {
            frames.push(piece);
            while let Some(frame) = frames.next_frame()? {
                if let Event::Object(kind, object) = decode_event(frame)? {
                    found.extend(decoded(object).map(|pod| (kind, pod)));
                }
            }
        }
        Ok(())
    };
    let end = read();
    (found, end)
}

fn page(body: &[u8], chunk: usize) -> Read {
    let (mut reader, mut found) = (PageReader::default(), Vec::new());
    let mut read = || {
        for piece in body.chunks(chunk) {
            reader.push(piece);
            while let Some(part) = reader.next_part()? {
                if let Page::Item(item) = part {
                    found.extend(decoded(item).map(|pod| (EventKind::Applied, pod)));
                }
            }
        }
        Ok(())
    };
    let end = read();
    (found, end)
}
