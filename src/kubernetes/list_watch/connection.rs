//! Sends requests for Pods and decodes the responses.
//!
//! Input: [`Request`]s, and the pieces of the response body. Output: [`Input`]s for the state machine. A response with
//! the content type of protobuf is decoded as protobuf, every other response as JSON.

use std::io;

use http::{HeaderMap, HeaderValue, Response, header};
use http_body_util::BodyExt;
use kube::{
    Client,
    client::Body,
    core::{Status, WatchEvent as JsonEvent, params::ListParams, params::WatchParams},
};
use serde::de::Error as _;

use super::exchange::{Failure, Input, Request};
use crate::kubernetes::{
    body::Buffer,
    decode::pod::{LeanPod, LeanPodList},
    failure,
    protobuf::{
        self, CONTENT_TYPE, Event, EventKind, INITIAL_EVENTS_END, MAX_MESSAGE, Malformed, Page, PageReader,
        Refusal, WatchFrames,
    },
    watch::WATCH_TIMEOUT,
};

/// Timeout of a streaming list on the server, in seconds. It includes the watch that follows. The list of a large
/// cluster takes longer than the timeout of a watch.
const STREAMING_LIST_TIMEOUT: u32 = 290;

/// Number of items in a page.
const PAGE: u32 = 500;

/// Maximum size of the body of an error response, in bytes.
const MAX_STATUS: usize = 1 << 20;

/// `Accept` headers of a list and of a watch.
const ACCEPT_LIST: &str = "application/vnd.kubernetes.protobuf, application/json";
const ACCEPT_WATCH: &str = "application/vnd.kubernetes.protobuf;stream=watch, application/json;stream=watch, \
     application/json";

/// The Pods to list and watch.
#[derive(Clone, Debug)]
pub(super) struct Selection {
    /// The path of the collection.
    pub(super) path: String,
    /// A field selector. `None` selects all.
    pub(super) fields: Option<String>,
    /// A label selector. `None` selects all.
    pub(super) labels: Option<String>,
}

impl Selection {
    /// Builds the HTTP request.
    fn http_request(&self, request: &Request) -> kube::Result<http::Request<Body>> {
        let builder = kube::core::Request::new(&self.path);
        let watch = |timeout| WatchParams {
            field_selector: self.fields.clone(),
            label_selector: self.labels.clone(),
            ..WatchParams::default().timeout(timeout)
        };
        let (built, accept) = match request {
            // Without a version, the list is at least as new as the request.
            Request::StreamingList => (
                builder.watch(&watch(STREAMING_LIST_TIMEOUT).initial_events(), ""),
                ACCEPT_WATCH,
            ),
            Request::Watch { version } => (builder.watch(&watch(WATCH_TIMEOUT), version), ACCEPT_WATCH),
            // Without the field selector, so that the API server reads one object only.
            Request::Check { .. } => (builder.list(&ListParams::default().limit(1)), ACCEPT_LIST),
            Request::Page { continue_token } => {
                let list = ListParams {
                    field_selector: self.fields.clone(),
                    label_selector: self.labels.clone(),
                    continue_token: continue_token.clone(),
                    ..ListParams::default().limit(PAGE)
                };
                (builder.list(&list), ACCEPT_LIST)
            }
        };
        let mut built = built.map_err(kube::Error::BuildRequest)?;
        let headers = built.headers_mut();
        headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        Ok(built.map(Body::from))
    }
}

/// Sends a request. Returns the response if the API server accepts the request.
pub(super) async fn send(client: Client, selection: Selection, request: Request) -> Result<Answer, Failure> {
    let response = client.send(selection.http_request(&request)?).await?;
    if !response.status().is_success() {
        return Err(refusal(response).await);
    }
    let is_page = matches!(request, Request::Page { .. } | Request::Check { .. });
    let reader = match (is_protobuf(response.headers()), is_page) {
        (true, false) => Reader::Frames(WatchFrames::default()),
        (true, true) => Reader::Page(PageReader::default()),
        (false, false) => Reader::Lines(Lines::default()),
        (false, true) => Reader::JsonPage(JsonPage::default()),
    };
    Ok(Answer {
        body: response.into_body(),
        reader,
    })
}

fn is_protobuf(headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE);
    content_type.is_some_and(|value| value.as_bytes().starts_with(CONTENT_TYPE.as_bytes()))
}

/// Returns the error of an unsuccessful response.
async fn refusal(response: Response<Body>) -> Failure {
    let (parts, body) = response.into_parts();
    let code = parts.status.as_u16();
    let in_header = failure::retry_after(&parts.headers);
    let body = http_body_util::Limited::new(body, MAX_STATUS).collect().await;
    let body = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let known = if is_protobuf(&parts.headers) {
        protobuf::decode_status(&body).ok()
    } else {
        serde_json::from_slice::<Status>(&body)
            .ok()
            .map(|status| Refusal {
                retry_after: None,
                status: status.boxed(),
            })
    };
    let Refusal { status, retry_after } = known.filter(|known| known.status.code != 0).unwrap_or_else(|| {
        let text = String::from_utf8_lossy(&body);
        let status = Status::failure(&text, "").with_code(code).boxed();
        let retry_after = None;
        Refusal { status, retry_after }
    });
    Failure {
        error: kube::Error::Api(status),
        retry_after: in_header.or(retry_after),
    }
}

/// A response that is being read.
pub(super) struct Answer {
    body: Body,
    reader: Reader,
}

/// The format of a body.
enum Reader {
    Frames(WatchFrames),
    Lines(Lines),
    Page(PageReader),
    JsonPage(JsonPage),
}

impl Answer {
    /// Returns the next input without waiting; `None` until [`Answer::receive`] reads more bytes.
    pub(super) fn next(&mut self) -> Option<Input<LeanPod>> {
        let input = match &mut self.reader {
            Reader::Frames(frames) => match frames.next_frame() {
                Ok(Some(frame)) => protobuf::decode_event(frame).map(|event| Some(from_protobuf(event))),
                Ok(None) => Ok(None),
                Err(error) => Err(error),
            }
            .map_err(malformed),
            Reader::Page(page) => next_part(page).map_err(malformed),
            Reader::Lines(lines) => lines.next().map_err(kube::Error::SerdeError),
            Reader::JsonPage(page) => Ok(page.next()),
        };
        input.unwrap_or_else(|error| Some(Input::Broken(error.into())))
    }

    /// Waits for the next piece of the body. Returns an input when the body ends. Cancel safe.
    pub(super) async fn receive(&mut self) -> Option<Input<LeanPod>> {
        match self.body.frame().await {
            Some(Ok(frame)) => {
                if let Some(piece) = frame.data_ref() {
                    match &mut self.reader {
                        Reader::Frames(frames) => frames.push(piece),
                        Reader::Page(page) => page.push(piece),
                        Reader::Lines(lines) => lines.buffer.push(piece),
                        Reader::JsonPage(page) => page.body.extend_from_slice(piece),
                    }
                }
                None
            }
            None => match &mut self.reader {
                Reader::JsonPage(page) => page.decode().err().map(|error| Input::Broken(error.into())),
                _ => Some(Input::Ended),
            },
            Some(Err(error)) if is_cut(&error) => Some(Input::CutOff),
            Some(Err(error)) => Some(Input::Broken(
                kube::Error::ReadEvents(io::Error::other(error)).into(),
            )),
        }
    }
}

/// Reports whether an error means that the connection ended before the body, or that the server was silent for too
/// long. A watch then continues on a new connection; a list fails.
fn is_cut(error: &(dyn std::error::Error + 'static)) -> bool {
    failure::causes(error).any(|cause| {
        let kind = cause.downcast_ref().map(io::Error::kind);
        matches!(kind, Some(io::ErrorKind::UnexpectedEof | io::ErrorKind::TimedOut))
            // hyper's chunk decoder reports the end of a connection only in the text of the error.
            || cause.to_string().contains("unexpected EOF during chunk")
    })
}

fn malformed(error: Malformed) -> kube::Error {
    kube::Error::SerdeError(serde_json::Error::custom(error))
}

fn next_part(page: &mut PageReader) -> Result<Option<Input<LeanPod>>, Malformed> {
    Ok(match page.next_part()? {
        None => None,
        Some(Page::Item(bytes)) => Some(Input::Item(protobuf::decode_pod(bytes)?)),
        Some(Page::End {
            version,
            continue_token,
        }) => Some(Input::PageEnd {
            version,
            continue_token,
        }),
    })
}

fn from_protobuf(event: Event) -> Input<LeanPod> {
    match event {
        Event::Pod(kind, pod) => changed(kind, *pod),
        Event::Bookmark {
            version,
            ends_initial_events,
        } => Input::Bookmark {
            version,
            ends_initial_events,
        },
        Event::Error(refusal) => Input::Error(refusal),
    }
}

fn changed(kind: EventKind, mut pod: LeanPod) -> Input<LeanPod> {
    // The version is not used after the list-watch.
    let version = pod.metadata.resource_version.take().unwrap_or_default();
    Input::Event(kind, pod, version)
}

/// Reads the events of a watch in JSON: one event on each line.
#[derive(Default)]
struct Lines {
    buffer: Buffer,
    /// Number of unread bytes without a line feed.
    searched: usize,
}

impl Lines {
    fn next(&mut self) -> serde_json::Result<Option<Input<LeanPod>>> {
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
        let event = serde_json::from_slice::<JsonEvent<LeanPod>>(self.buffer.take(length))?;
        Ok(Some(match event {
            JsonEvent::Added(pod) | JsonEvent::Modified(pod) => changed(EventKind::Applied, pod),
            JsonEvent::Deleted(pod) => changed(EventKind::Deleted, pod),
            JsonEvent::Bookmark(bookmark) => Input::Bookmark {
                ends_initial_events: bookmark.metadata.annotations.contains_key(INITIAL_EVENTS_END),
                version: bookmark.metadata.resource_version,
            },
            JsonEvent::Error(status) => Input::Error(Refusal {
                status,
                retry_after: None,
            }),
        }))
    }
}

/// A page in JSON. It is decoded when it is complete.
#[derive(Default)]
struct JsonPage {
    body: Vec<u8>,
    items: std::vec::IntoIter<LeanPod>,
    end: Option<(String, String)>,
}

impl JsonPage {
    fn decode(&mut self) -> kube::Result<()> {
        let body = std::mem::take(&mut self.body);
        if self.end.is_some() || body.is_empty() {
            return Err(kube::Error::SerdeError(serde_json::Error::custom(
                "a page has no content",
            )));
        }
        let list: LeanPodList = serde_json::from_slice(&body).map_err(kube::Error::SerdeError)?;
        self.items = list.items.into_iter();
        self.end = Some((
            list.metadata.resource_version.unwrap_or_default(),
            list.metadata.continue_.unwrap_or_default(),
        ));
        Ok(())
    }

    fn next(&mut self) -> Option<Input<LeanPod>> {
        if let Some(pod) = self.items.next() {
            return Some(Input::Item(pod));
        }
        let (version, continue_token) = self.end.take()?;
        Some(Input::PageEnd {
            version,
            continue_token,
        })
    }
}
