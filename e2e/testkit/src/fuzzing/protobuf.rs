//! Pods in protobuf, from the bytes of a response: a watch or a page of a list. The reader returns Pods or an error,
//! and the index keeps its invariants.

use sidewatch::kubernetes::{
    decode::pod::LeanPod,
    protobuf::{
        Event, EventKind, Malformed, Page, PageReader, WatchFrames, decode_event, decode_pod, decode_status,
    },
};

use super::checked_index::{CheckedIndex, policy};

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

type Read = (Vec<(EventKind, LeanPod)>, Result<(), Malformed>);

fn watch(body: &[u8], chunk: usize) -> Read {
    let (mut frames, mut found) = (WatchFrames::default(), Vec::new());
    let mut read = || {
        for piece in body.chunks(chunk) {
            frames.push(piece);
            while let Some(frame) = frames.next_frame()? {
                if let Event::Pod(kind, pod) = decode_event(frame)? {
                    found.push((kind, *pod));
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
                    found.push((EventKind::Applied, decode_pod(item)?));
                }
            }
        }
        Ok(())
    };
    let end = read();
    (found, end)
}
