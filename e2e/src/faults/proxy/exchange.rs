//! One request, its fault and its answer.
//!
//! Each request has its own connection to the API server, so that a fault of one request does not affect another. [`Broken`]
//! means that the connection to the client must be closed.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use futures::stream;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};

use testkit::api_server::failure;
use testkit::protobuf;

use super::Shared;
use super::record::{Call, Exchange};
use super::request::Verb;
use super::rule::{Fault, Point, RuleHandle};
use super::shape::{Out, Shape};
use crate::tls;

/// The connection to the client must be closed.
#[derive(Debug)]
pub(super) struct Broken;

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("closed by the fault proxy")
    }
}

impl std::error::Error for Broken {}

impl From<anyhow::Error> for Broken {
    /// The API server is unreachable or its answer is incomplete. The client sees a closed connection.
    fn from(_: anyhow::Error) -> Self {
        Self
    }
}

type Body = UnsyncBoxBody<Bytes, Broken>;

/// Serves one request.
pub(super) async fn serve(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Response<Body>, Broken> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| Broken)?.to_bytes();
    let request = Request::from_parts(head, body);
    if is_streaming_list(request.uri().query()) {
        return refuse_streaming_list();
    }
    let path = request.uri().path();
    let verb = Verb::of(request.method(), path, request.uri().query());
    let rule = shared.meet(verb, path);
    let exchange = shared.record.begin(Call {
        verb,
        path: path.into(),
        query: request.uri().query().unwrap_or_default().into(),
        body: request.body().clone(),
        at: Instant::now(),
        faulted: rule.is_some(),
        server_status: None,
        status: None,
        ended: None,
    });
    let answer = tokio::select! {
        answer = answer(&shared, rule.as_ref(), request, &exchange) => answer?,
        () = exchange.cut() => return Err(Broken),
    };
    exchange.answered(answer.status().as_u16());
    let (head, incoming) = answer.into_parts();
    let body = match incoming {
        Origin::Server(body) => {
            let is_protobuf = is_protobuf(&head.headers);
            shaped(body, is_protobuf, rule, exchange)
        }
        Origin::Proxy(text) => Full::new(text).map_err(|never| match never {}).boxed_unsync(),
    };
    Ok(Response::from_parts(head, body))
}

/// Rules speak of lists and of watches; a streaming list is both. The proxy refuses them, as Kubernetes 1.33 does by
/// default, and the client uses a paged list and a watch.
fn is_streaming_list(query: Option<&str>) -> bool {
    query.unwrap_or_default().contains("sendInitialEvents=true")
}

fn refuse_streaming_list() -> Result<Response<Body>, Broken> {
    let answer = own_answer(422, None)?;
    Ok(answer.map(|text| Full::new(text).map_err(|never| match never {}).boxed_unsync()))
}

fn is_protobuf(headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE);
    content_type.is_some_and(|value| value.as_bytes().starts_with(protobuf::CONTENT_TYPE.as_bytes()))
}

enum Origin {
    Server(Incoming),
    Proxy(Bytes),
}

/// Applies the fault and returns the head of the answer.
async fn answer(
    shared: &Shared,
    rule: Option<&RuleHandle>,
    request: Request<Bytes>,
    exchange: &Exchange,
) -> Result<Response<Origin>, Broken> {
    match rule.map(RuleHandle::fault) {
        Some(Fault::Delay(delay)) => tokio::time::sleep(*delay).await,
        Some(Fault::Close(Point::Request)) => return Err(Broken),
        Some(Fault::Answer {
            status,
            retry_after,
            after_commit: false,
        }) => return Ok(own_answer(*status, *retry_after)?.map(Origin::Proxy)),
        _ => {}
    }
    hang_at(rule, Point::Request).await;
    let response = forward(shared, request).await?;
    exchange.server_answered(response.status().as_u16());
    match rule.map(RuleHandle::fault) {
        Some(Fault::Close(Point::Answer)) => return Err(Broken),
        Some(Fault::Answer {
            status, retry_after, ..
        }) => return Ok(own_answer(*status, *retry_after)?.map(Origin::Proxy)),
        _ => {}
    }
    hang_at(rule, Point::Answer).await;
    Ok(response.map(Origin::Server))
}

async fn hang_at(rule: Option<&RuleHandle>, point: Point) {
    if let Some(rule) = rule
        && *rule.fault() == Fault::Hang(point)
    {
        rule.lifted().await;
    }
}

/// An error answer in the format of the API server.
fn own_answer(status: u16, retry_after: Option<u32>) -> Result<Response<Bytes>, Broken> {
    let code = StatusCode::from_u16(status).map_err(|_| Broken)?;
    let reason = code.canonical_reason().unwrap_or_default().replace(' ', "");
    let body = failure(status, &reason, "injected by the fault proxy").to_string();
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = code;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(seconds) = retry_after {
        headers.insert(header::RETRY_AFTER, seconds.into());
    }
    Ok(response)
}

async fn forward(shared: &Shared, mut request: Request<Bytes>) -> anyhow::Result<Response<Incoming>> {
    strip(request.headers_mut());
    // The proxy cannot split a compressed body.
    request.headers_mut().remove(header::ACCEPT_ENCODING);
    if protobuf::is_disabled() {
        let json = HeaderValue::from_static("application/json");
        request.headers_mut().insert(header::ACCEPT, json);
    }
    let mut server = tls::connect(&shared.server).await?;
    let mut response = server.send_request(request.map(Full::new)).await?;
    strip(response.headers_mut());
    Ok(response)
}

/// Removes hop-by-hop headers.
fn strip(headers: &mut HeaderMap) {
    for name in [header::CONNECTION, header::TRANSFER_ENCODING] {
        headers.remove(name);
    }
}

/// The body of an answer.
struct Pipe {
    server: Incoming,
    shape: Shape,
    rule: Option<RuleHandle>,
    outs: VecDeque<Out>,
    exchange: Exchange,
}

fn shaped(server: Incoming, is_protobuf: bool, rule: Option<RuleHandle>, exchange: Exchange) -> Body {
    let mut shape = Shape::new(rule.as_ref().map(|rule| rule.fault().clone()), is_protobuf);
    let pipe = Pipe {
        outs: shape.begin().into(),
        server,
        shape,
        rule,
        exchange,
    };
    let frames = stream::unfold(Some(pipe), |pipe| async {
        let mut pipe = pipe?;
        let next = pipe.next().await?;
        let rest = next.is_ok().then_some(pipe);
        Some((next.map(Frame::data), rest))
    });
    StreamBody::new(frames).boxed_unsync()
}

impl Pipe {
    /// The next bytes for the client, or `None` at the end.
    async fn next(&mut self) -> Option<Result<Bytes, Broken>> {
        loop {
            match self.outs.pop_front() {
                Some(Out::Pass(bytes)) if bytes.is_empty() => {}
                Some(Out::Pass(bytes)) => return Some(Ok(bytes)),
                Some(Out::Close) => return Some(Err(Broken)),
                Some(Out::End) => return None,
                wait => tokio::select! {
                    () = self.exchange.cut() => return Some(Err(Broken)),
                    more = step(&mut self.server, self.rule.as_ref(), wait) => match more {
                        Step::Waited => {}
                        Step::Piece(piece) => self.outs.extend(self.shape.push(piece)),
                        Step::End => self.outs.extend(self.shape.finish()),
                        Step::Broken => return Some(Err(Broken)),
                    },
                },
            }
        }
    }
}

enum Step {
    Waited,
    Piece(Bytes),
    End,
    Broken,
}

/// Waits as the fault requires, or for the server.
async fn step(server: &mut Incoming, rule: Option<&RuleHandle>, wait: Option<Out>) -> Step {
    match (wait, rule) {
        (Some(Out::Pause(pause)), _) => {
            tokio::time::sleep(pause).await;
            Step::Waited
        }
        (Some(_), Some(rule)) => {
            rule.lifted().await;
            Step::Waited
        }
        _ => match server.frame().await {
            None => Step::End,
            Some(Err(_)) => Step::Broken,
            // A frame without data is a trailer, which the API server does not send.
            Some(Ok(frame)) => Step::Piece(frame.into_data().unwrap_or_default()),
        },
    }
}
