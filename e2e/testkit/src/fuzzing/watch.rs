//! A watch of Pods, from the bytes of the response. kube splits them into lines and decodes each line. The stream
//! continues or ends, and the index keeps its invariants.

use std::convert::Infallible;

use futures::{StreamExt, stream};
use http::{Request, Response};
use http_body_util::StreamBody;
use hyper::body::{Bytes, Frame};
use kube::{Client, client::Body, core::WatchEvent};
use sidewatch::kubernetes::decode::pod::LeanPod;

use super::checked_index::{CheckedIndex, policy};

/// The first byte is the size of the network chunks. The remaining bytes are the body of the response.
pub fn watch(data: &[u8]) {
    let Some((piece, body)) = data.split_first() else {
        return;
    };
    let pieces = body.chunks(usize::from(*piece).max(1));
    let events = read(pieces.map(Bytes::copy_from_slice).collect());
    let in_one_piece = read(vec![Bytes::copy_from_slice(body)]);
    assert_eq!(
        format!("{events:?}"),
        format!("{in_one_piece:?}"),
        "the size of the chunks makes a difference"
    );
    let index = CheckedIndex::new(&[policy("usual", &serde_json::json!({}))]);
    index.replay(events.into_iter().flatten().filter_map(|event| match event {
        WatchEvent::Added(pod) | WatchEvent::Modified(pod) => Some((pod, false)),
        WatchEvent::Deleted(pod) => Some((pod, true)),
        WatchEvent::Bookmark(_) | WatchEvent::Error(_) => None,
    }));
}

/// Returns the events that kube decodes from a response in these chunks.
fn read(pieces: Vec<Bytes>) -> Vec<kube::Result<WatchEvent<LeanPod>>> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let answer = move |_: Request<Body>| {
            let frames = pieces
                .clone()
                .into_iter()
                .map(|piece| Ok::<_, Infallible>(Frame::data(piece)));
            std::future::ready(Ok::<_, Infallible>(Response::new(StreamBody::new(stream::iter(
                frames,
            )))))
        };
        let client = Client::new(tower::service_fn(answer), "default");
        let events = client.request_events(Request::new(Vec::new())).await.unwrap();
        // The stream ends with the body. A failed decoder is not polled again.
        events.collect().await
    })
}
