//! Sends requests for the objects of one kind and decodes the responses.
//!
//! Input: [`Request`]s, and the pieces of the response body. Output: [`Input`]s for the state machine. A response with
//! the content type of protobuf is decoded as protobuf, every other response as JSON. Each object is decoded alone while the
//! body arrives, so memory does not depend on the size of a page.

use std::{io, marker::PhantomData};

use http::{HeaderMap, HeaderValue, Response, header};
use http_body_util::BodyExt;
use kube::{
    Client,
    client::Body,
    core::{Status, params::ListParams, params::WatchParams},
};
use serde::de::Error as _;

use super::exchange::{Failure, Input, Request};
use crate::kubernetes::{
    decode::object::{Decoded, Object, Undecodable, from_json, from_protobuf},
    failure,
    json::{self, Lines},
    protobuf::{self, CONTENT_TYPE, Event, EventKind, Malformed, Page, PageReader, Refusal, WatchFrames},
};

/// Timeout of a watch on the server, in seconds.
pub(super) const WATCH_TIMEOUT: u32 = 60;

/// Timeout of a streaming list on the server, in seconds. It includes the watch that follows. The list of a large
/// cluster takes longer than the timeout of a watch.
const STREAMING_LIST_TIMEOUT: u32 = 290;

/// Number of items in a page.
pub(super) const PAGE: u32 = 500;

/// Maximum size of the body of an error response, in bytes.
const MAX_STATUS: usize = 1 << 20;

/// `Accept` headers of a list and of a watch.
const ACCEPT_LIST: &str = "application/vnd.kubernetes.protobuf, application/json";
const ACCEPT_WATCH: &str = "application/vnd.kubernetes.protobuf;stream=watch, application/json;stream=watch, \
     application/json";
const ACCEPT_JSON: &str = "application/json";

/// The objects to list and watch.
#[derive(Clone, Debug)]
pub(crate) struct Selection {
    /// The path of the collection.
    pub(crate) path: String,
    /// A field selector. `None` selects all.
    pub(crate) fields: Option<String>,
    /// A label selector. `None` selects all.
    pub(crate) labels: Option<String>,
    /// The number of objects in a page.
    pub(crate) limit: u32,
}

impl Selection {
    /// Builds the HTTP request.
    fn http_request(&self, request: &Request, protobuf: bool) -> kube::Result<http::Request<Body>> {
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
                    continue_token: continue_token.clone(),
                    ..self.list().limit(self.limit)
                };
                (builder.list(&list), ACCEPT_LIST)
            }
            Request::WholeList => (builder.list(&self.list()), ACCEPT_LIST),
        };
        let accept = if protobuf { accept } else { ACCEPT_JSON };
        let mut built = built.map_err(kube::Error::BuildRequest)?;
        let headers = built.headers_mut();
        headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        Ok(built.map(Body::from))
    }

    fn list(&self) -> ListParams {
        ListParams {
            field_selector: self.fields.clone(),
            label_selector: self.labels.clone(),
            ..ListParams::default()
        }
    }
}

/// Sends a request. Returns the response if the API server accepts the request.
pub(super) async fn send<T: Object>(
    client: Client,
    selection: Selection,
    request: Request,
) -> Result<Answer<T>, Failure> {
    let response = client
        .send(selection.http_request(&request, T::HAS_PROTOBUF)?)
        .await?;
    if !response.status().is_success() {
        return Err(refused(response).await);
    }
    let reader = match (is_protobuf(response.headers()), request.is_watch()) {
        (true, true) => Reader::Frames(WatchFrames::default()),
        (true, false) => Reader::Page(PageReader::default()),
        (false, true) => Reader::Lines(Lines::default()),
        (false, false) => Reader::JsonPage(json::PageReader::default()),
    };
    Ok(Answer {
        body: response.into_body(),
        reader,
        kind: PhantomData,
    })
}

/// Reads one page of a list.
pub(super) async fn page<T: Object>(
    client: Client,
    selection: Selection,
    continue_token: Option<String>,
) -> Result<super::Page<T>, Failure> {
    let mut answer: Answer<T> = send(client, selection, Request::Page { continue_token }).await?;
    let mut objects = Vec::new();
    loop {
        let input = match answer.next() {
            Some(input) => Some(input),
            None => answer.receive().await,
        };
        match input {
            Some(Input::Item(object)) => objects.push(object),
            Some(Input::PageEnd { continue_token, .. }) => {
                let next = (!continue_token.is_empty()).then_some(continue_token);
                return Ok(super::Page { objects, next });
            }
            Some(Input::Broken(failure)) => return Err(failure),
            Some(_) => {
                let error = io::Error::new(io::ErrorKind::UnexpectedEof, "the list is not complete");
                return Err(kube::Error::ReadEvents(error).into());
            }
            None => {}
        }
    }
}

fn is_protobuf(headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE);
    content_type.is_some_and(|value| value.as_bytes().starts_with(CONTENT_TYPE.as_bytes()))
}

/// Returns the error of an unsuccessful response.
pub(super) async fn refused(response: Response<Body>) -> Failure {
    let (parts, body) = response.into_parts();
    let code = parts.status.as_u16();
    let in_header = failure::retry_after(&parts.headers);
    let body = http_body_util::Limited::new(body, MAX_STATUS).collect().await;
    let body = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let known = if is_protobuf(&parts.headers) {
        protobuf::decode_status(&body).ok()
    } else {
        serde_json::from_slice::<Status>(&body).ok().map(json::refusal)
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
pub(super) struct Answer<T> {
    body: Body,
    reader: Reader,
    kind: PhantomData<fn() -> T>,
}

/// The format of a body.
enum Reader {
    Frames(WatchFrames),
    Lines(Lines),
    Page(PageReader),
    JsonPage(json::PageReader),
}

impl<T: Object> Answer<T> {
    /// Returns the next input without waiting; `None` until [`Answer::receive`] reads more bytes.
    pub(super) fn next(&mut self) -> Option<Input<Decoded<T>>> {
        let input = match &mut self.reader {
            Reader::Frames(frames) => match frames.next_frame() {
                Ok(Some(frame)) => {
                    protobuf::decode_event(frame).map(|event| Some(from_event(event, from_protobuf)))
                }
                Ok(None) => Ok(None),
                Err(error) => Err(error),
            }
            .map_err(malformed),
            Reader::Page(page) => page
                .next_part()
                .map(|part| from_page(part, from_protobuf))
                .map_err(malformed),
            Reader::Lines(lines) => lines
                .next_event()
                .map(|event| event.map(|event| from_event(event, from_json)))
                .map_err(kube::Error::SerdeError),
            Reader::JsonPage(page) => page
                .next_part()
                .map(|part| from_page(part, from_json))
                .map_err(kube::Error::SerdeError),
        };
        input.unwrap_or_else(|error| Some(Input::Broken(error.into())))
    }

    /// Waits for the next piece of the body. Returns an input when the body ends. Cancel safe.
    pub(super) async fn receive(&mut self) -> Option<Input<Decoded<T>>> {
        match self.body.frame().await {
            Some(Ok(frame)) => {
                if let Some(piece) = frame.data_ref() {
                    match &mut self.reader {
                        Reader::Frames(frames) => frames.push(piece),
                        Reader::Page(page) => page.push(piece),
                        Reader::Lines(lines) => lines.push(piece),
                        Reader::JsonPage(page) => page.push(piece),
                    }
                }
                None
            }
            None => Some(Input::Ended),
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

/// Returns the input for a part of a page.
fn from_page<T: Object>(
    part: Option<Page<'_>>,
    decode: impl FnOnce(&[u8]) -> Decoded<T>,
) -> Option<Input<Decoded<T>>> {
    Some(match part? {
        Page::Item(bytes) => match decode(bytes) {
            Err(undecodable) if undecodable.name.is_empty() && bytes != b"null" => damaged(&undecodable),
            object => Input::Item(object),
        },
        Page::End {
            version,
            continue_token,
        } => Input::PageEnd {
            version,
            continue_token,
        },
    })
}

fn from_event<T: Object>(event: Event<'_>, decode: impl FnOnce(&[u8]) -> Decoded<T>) -> Input<Decoded<T>> {
    match event {
        Event::Object(kind, object) => changed(kind, decode(object)),
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

/// Returns the input for an object without a readable name. The API server stores no such object, so the response was damaged
/// on its way, and the object can be any known one.
fn damaged<T>(undecodable: &Undecodable) -> Input<T> {
    let error = serde_json::Error::custom(undecodable);
    Input::Broken(kube::Error::SerdeError(error).into())
}

/// Returns the input for a changed object. An event whose version cannot be read does not move the watch.
fn changed<T: Object>(kind: EventKind, mut object: Decoded<T>) -> Input<Decoded<T>> {
    let version = match &mut object {
        Ok(object) => object.version(),
        Err(undecodable) if undecodable.name.is_empty() => return damaged(undecodable),
        Err(undecodable) if undecodable.version.is_empty() => return Input::Item(object),
        Err(undecodable) => undecodable.version.clone(),
    };
    Input::Event(kind, object, version)
}
