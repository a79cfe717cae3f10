//! Pods in JSON, from the bytes of a response: a watch, or a page with the same objects. Every object that a tolerant decoder
//! reads is delivered, whatever the others are, and the index keeps its invariants.

use serde_json::{Value, json};
use sidewatch::kubernetes::{
    decode::{
        object::{Decoded, from_json},
        pod::LeanPod,
    },
    json::{Lines, PageReader},
    protobuf::{Event, EventKind, Page},
};

use super::checked_index::{CheckedIndex, policy};

/// The first byte is the size of the network chunks. The remaining bytes are the body of the response.
pub fn watch(data: &[u8]) {
    let Some((piece, body)) = data.split_first() else {
        return;
    };
    let piece = usize::from(*piece).max(1);
    let events = read(body, piece);
    let in_one_piece = read(body, body.len().max(1));
    assert_eq!(
        format!("{events:?}"),
        format!("{in_one_piece:?}"),
        "the size of the chunks makes a difference"
    );
    delivered(body, piece);
    let index = CheckedIndex::new(&[policy("usual", &json!({}))]);
    index.replay(events.into_iter().flatten().filter_map(|(kind, pod)| {
        let is_deleted = matches!(kind, EventKind::Deleted);
        pod.ok().map(|pod| (pod, is_deleted))
    }));
}

/// Asserts that the lines of a body that are JSON arrive as events of a watch, and as items of a page.
fn delivered(body: &[u8], piece: usize) {
    let lines = body.split(|byte| *byte == b'\n');
    let texts = lines.map(String::from_utf8_lossy);
    let objects: Vec<Value> = texts
        .filter_map(|line| serde_json::from_str(&line).ok())
        .collect();
    let expected: Vec<String> = objects.iter().map(Value::to_string).collect();

    let events = objects
        .iter()
        .map(|object| format!("{}\n", json!({"type": "ADDED", "object": object})));
    let events = read(events.collect::<String>().as_bytes(), piece);
    assert!(events.iter().all(Result::is_ok), "{events:?}");
    assert_eq!(events.len(), expected.len(), "{body:?}");

    let (mut reader, mut items, mut has_end) = (PageReader::default(), Vec::new(), false);
    let page = json!({"items": objects, "metadata": {"resourceVersion": "7"}}).to_string();
    for chunk in page.as_bytes().chunks(piece) {
        reader.push(chunk);
        while let Some(part) = reader.next_part().unwrap() {
            match part {
                Page::Item(item) => items.push(String::from_utf8_lossy(item).into_owned()),
                Page::End { version, .. } => has_end = version == "7",
            }
        }
    }
    assert!(has_end, "{page}");
    assert_eq!(items, expected);
}

type Read = Result<(EventKind, Decoded<LeanPod>), String>;

/// Returns the objects of a watch, and the errors of the lines that are no events.
fn read(body: &[u8], piece: usize) -> Vec<Read> {
    let (mut lines, mut found) = (Lines::default(), Vec::new());
    for piece in body.chunks(piece) {
        lines.push(piece);
        loop {
            match lines.next_event() {
                Ok(None) => break,
                Ok(Some(Event::Object(kind, object))) => found.push(Ok((kind, from_json(object)))),
                Ok(Some(_)) => {}
                Err(error) => found.push(Err(error.to_string())),
            }
        }
    }
    found
}
