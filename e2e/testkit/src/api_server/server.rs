//! The server: routes, exchanges, watch streams.

use std::{
    collections::HashMap,
    convert::Infallible,
    fmt::Debug,
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::channel::mpsc;
use http::{HeaderName, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Either, Full, StreamBody};
use hyper::body::{Bytes, Frame};
use serde_json::{Value, json};
use tokio::sync::{Mutex as AsyncMutex, mpsc as queue, oneshot};

use super::{list, soon, status_error};
use crate::protobuf;

type Chunks = mpsc::UnboundedReceiver<io::Result<Frame<Bytes>>>;
pub(super) type Body = Either<Full<Bytes>, StreamBody<Chunks>>;
type Requests = (
    queue::UnboundedSender<Exchange>,
    Arc<AsyncMutex<queue::UnboundedReceiver<Exchange>>>,
);

type Answer = Box<dyn FnMut(&Method, Exchange) + Send>;

/// The timeout that the operator requests for a watch.
const WATCH_TIMEOUT: Duration = Duration::from_mins(1);

/// A scripted API server. Clones share their routes.
#[derive(Clone, Default)]
pub struct ApiServer {
    routes: Arc<Mutex<HashMap<(Method, String), Requests>>>,
    streaming_lists: Arc<AtomicBool>,
    /// The distance of the current version from the highest one.
    behind: Arc<AtomicU64>,
    others: Arc<Mutex<Option<Answer>>>,
}

impl ApiServer {
    /// Passes streaming lists to the routes. Without this call the server refuses them, as Kubernetes 1.33 does.
    pub fn allow_streaming_lists(&self) {
        self.streaming_lists.store(true, Ordering::Relaxed);
    }

    /// Sets the version that the server answers when a broken watch of Pods asks for the current one. Without this call, it
    /// is higher than that of any watch.
    pub fn set_current_version(&self, version: u64) {
        self.behind.store(u64::MAX - version, Ordering::Relaxed);
    }

    fn requests(&self, method: Method, path: &str) -> Requests {
        let mut routes = self.routes.lock().unwrap();
        let requests = routes.entry((method, path.to_owned())).or_insert_with(|| {
            let (sender, receiver) = queue::unbounded_channel();
            (sender, Arc::new(AsyncMutex::new(receiver)))
        });
        requests.clone()
    }

    /// Returns the requests of one method and path.
    pub fn route(&self, method: Method, path: &str) -> Route {
        Route {
            name: format!("{method} {path}"),
            requests: self.requests(method, path).1,
        }
    }

    /// Passes every request of one method and path to `answer`.
    pub fn answer(&self, method: Method, path: &str, mut answer: impl FnMut(Exchange) + Send + 'static) {
        let route = self.route(method, path);
        tokio::spawn(async move {
            loop {
                answer(route.any().await);
            }
        });
    }

    /// Passes every request without a route to `answer`.
    pub fn answer_others(&self, answer: impl FnMut(&Method, Exchange) + Send + 'static) {
        *self.others.lock().unwrap() = Some(Box::new(answer));
    }

    /// Answers every list of a resource with this list. Watches have no events, and end after [`WATCH_TIMEOUT`].
    pub fn serve_quietly(&self, path: &str, list: Value) {
        self.answer(Method::GET, path, move |exchange| {
            if exchange.is_watch() {
                let watch = exchange.watch();
                tokio::spawn(async move {
                    tokio::time::sleep(WATCH_TIMEOUT).await;
                    watch.end();
                });
            } else {
                exchange.json(StatusCode::OK, &list);
            }
        });
    }

    /// Passes a request to its route, and waits for the answer of the test.
    pub(super) async fn handle<B: http_body::Body<Error: Debug>>(
        self,
        request: Request<B>,
    ) -> Result<Response<Body>, Infallible> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let header = |name: HeaderName| {
            let value = parts.headers.get(name)?;
            Some(value.to_str().unwrap().to_owned())
        };
        let (reply, answer) = oneshot::channel();
        let exchange = Exchange {
            query: parts.uri.query().unwrap_or_default().to_owned(),
            body: serde_json::from_slice(&body).unwrap_or_default(),
            content_type: header(header::CONTENT_TYPE),
            protobuf: header(header::ACCEPT).is_some_and(|accept| accept.contains("protobuf"))
                && !protobuf::is_disabled(),
            accept: header(header::ACCEPT),
            reply,
        };
        let is_streaming_list = exchange.parameter("sendInitialEvents").is_some();
        if is_streaming_list && !self.streaming_lists.load(Ordering::Relaxed) {
            exchange.fail(422, "sendInitialEvents is forbidden");
            return Ok(answer.await.unwrap());
        }
        if exchange.parameter("limit").as_deref() == Some("1") {
            let version = u64::MAX - self.behind.load(Ordering::Relaxed);
            exchange.json(StatusCode::OK, &list("Pod", &version.to_string(), &[]));
            return Ok(answer.await.unwrap());
        }
        let key = (parts.method, parts.uri.path().to_owned());
        let has_route = self.routes.lock().unwrap().contains_key(&key);
        match &mut *self.others.lock().unwrap() {
            Some(others) if !has_route => others(&key.0, exchange),
            _ => self.requests(key.0, &key.1).0.send(exchange).unwrap(),
        }
        match answer.await {
            Ok(response) => Ok(response),
            // The test dropped the exchange, which simulates a server that hangs.
            Err(_dropped) => std::future::pending().await,
        }
    }
}

/// The requests of one method and path, in order of arrival.
pub struct Route {
    name: String,
    requests: Arc<AsyncMutex<queue::UnboundedReceiver<Exchange>>>,
}

impl Route {
    /// Returns the next request. Fails the test if none arrives within [`SOON`].
    pub async fn next(&self) -> Exchange {
        soon(&self.name, self.any()).await
    }

    /// Returns the next request, without a time limit. If the server is dropped, no request arrives.
    pub async fn any(&self) -> Exchange {
        match self.requests.lock().await.recv().await {
            Some(exchange) => exchange,
            None => std::future::pending().await,
        }
    }

    /// Asserts that no request arrives for a while.
    pub async fn stays_silent(&self, time: Duration) {
        if let Ok(exchange) = tokio::time::timeout(time, self.any()).await {
            panic!("unexpected {}?{} {}", self.name, exchange.query, exchange.body);
        }
    }
}

/// A request that waits for its answer. If dropped, it stays unanswered.
pub struct Exchange {
    /// The query of the URI.
    pub query: String,
    /// The body, if it is JSON.
    pub body: Value,
    /// The `Content-Type`.
    pub content_type: Option<String>,
    /// The `Accept`.
    pub accept: Option<String>,
    /// Whether the response is in protobuf.
    protobuf: bool,
    reply: oneshot::Sender<Response<Body>>,
}

impl Exchange {
    /// Returns whether the request is a watch, not a list.
    pub fn is_watch(&self) -> bool {
        self.parameter("watch").as_deref() == Some("true")
    }

    /// Returns a parameter of the query.
    pub fn parameter(&self, name: &str) -> Option<String> {
        let pairs = self.query.split('&').filter_map(|pair| pair.split_once('='));
        let found = pairs.into_iter().find(|(key, _)| *key == name);
        found.map(|(_, value)| value.replace("%21", "!").replace("%3D", "=").replace("%2C", ","))
    }

    /// Answers with an object, in the encoding that the client prefers.
    pub fn json(self, status: StatusCode, body: &Value) {
        if self.protobuf {
            let content_type = (header::CONTENT_TYPE, protobuf::CONTENT_TYPE);
            self.respond(status, content_type, protobuf::object(body));
        } else {
            self.text(status, &body.to_string());
        }
    }

    /// Makes the response JSON, even if the client prefers protobuf.
    #[must_use]
    pub fn as_json(mut self) -> Self {
        self.protobuf = false;
        self
    }

    /// Answers with this text and the content type of JSON.
    pub fn text(self, status: StatusCode, body: &str) {
        self.respond(
            status,
            (header::CONTENT_TYPE, "application/json"),
            body.to_owned(),
        );
    }

    /// Answers with a failure as the API server writes it.
    pub fn fail(self, code: u16, message: &str) {
        self.json(StatusCode::from_u16(code).unwrap(), &status_error(code, message));
    }

    /// Answers with a failure and a `Retry-After` header.
    pub fn fail_for(self, code: u16, seconds: u32) {
        let retry_after = seconds.to_string();
        self.respond(
            StatusCode::from_u16(code).unwrap(),
            (header::RETRY_AFTER, &retry_after),
            "Too many requests, please try again later.",
        );
    }

    /// Answers with these bytes and one header.
    pub fn respond(self, status: StatusCode, (name, value): (HeaderName, &str), body: impl Into<Bytes>) {
        let response = Response::builder()
            .status(status)
            .header(name, value)
            .body(Either::Left(Full::new(body.into())));
        // The client may have dropped the request.
        let _gone = self.reply.send(response.unwrap());
    }

    /// Accepts a watch.
    pub fn watch(self) -> WatchStream {
        let content_type = if self.protobuf {
            protobuf::WATCH_CONTENT_TYPE
        } else {
            "application/json"
        };
        self.watch_as(content_type)
    }

    /// Accepts a watch whose events have this content type.
    pub fn watch_as(self, content_type: &str) -> WatchStream {
        assert!(self.is_watch(), "expected a watch, not {:?}", self.query);
        let (sender, receiver) = mpsc::unbounded();
        let response = Response::builder()
            .header(header::CONTENT_TYPE, content_type)
            .body(Either::Right(StreamBody::new(receiver)));
        let _gone = self.reply.send(response.unwrap());
        WatchStream {
            sender,
            protobuf: content_type.starts_with(protobuf::CONTENT_TYPE),
        }
    }
}

/// An open watch. Drop ends it as its timeout does.
pub struct WatchStream {
    sender: mpsc::UnboundedSender<io::Result<Frame<Bytes>>>,
    protobuf: bool,
}

impl WatchStream {
    /// Sends an event.
    pub fn event(&self, kind: &str, object: &Value) {
        self.raw(self.encode(kind, object));
    }

    /// Returns the bytes of an event.
    pub fn encode(&self, kind: &str, object: &Value) -> Vec<u8> {
        if self.protobuf {
            protobuf::event(kind, object)
        } else {
            format!("{}\n", json!({ "type": kind, "object": object })).into_bytes()
        }
    }

    /// Sends an event that cannot be decoded.
    pub fn undecodable_event(&self) {
        if self.protobuf {
            self.raw(protobuf::frame(b"\x0a\x05ADDED\x12\x7fcut"));
        } else {
            self.raw("{\"type\":\"ADDED\",\"object\":{\"metadata\":\n");
        }
    }

    /// Returns the bytes of an event whose object has its metadata, and a spec that cannot be decoded.
    pub fn encode_undecodable(&self, kind: &str, object: &Value) -> Vec<u8> {
        let object = json!({"metadata": object["metadata"], "spec": 7});
        if self.protobuf {
            // Field 2 of a Pod is a number in place of a PodSpec.
            protobuf::event_of(kind, &[protobuf::pod(&object), vec![0x10, 7]].concat())
        } else {
            format!("{}\n", json!({ "type": kind, "object": object })).into_bytes()
        }
    }

    /// Sends the bookmark that ends the initial events of a streaming list.
    pub fn end_of_list(&self, version: &str) {
        let metadata =
            json!({"resourceVersion": version, "annotations": {"k8s.io/initial-events-end": "true"}});
        self.event(
            "BOOKMARK",
            &json!({"kind": "Pod", "apiVersion": "v1", "metadata": metadata}),
        );
    }

    /// Sends a bookmark.
    pub fn bookmark(&self, kind: &str, version: &str) {
        let object = json!({"kind": kind, "apiVersion": "v1", "metadata": {"resourceVersion": version}});
        self.event("BOOKMARK", &object);
    }

    /// Sends bytes.
    pub fn raw(&self, bytes: impl Into<Bytes>) {
        self.sender.unbounded_send(Ok(Frame::data(bytes.into()))).unwrap();
    }

    /// Breaks the connection.
    pub fn cut(self) {
        self.sender.unbounded_send(Err(io::Error::other("cut"))).unwrap();
    }

    /// Ends the watch as its timeout does.
    pub fn end(&self) {
        self.sender.close_channel();
    }

    /// Returns whether the client still reads.
    pub fn is_open(&self) -> bool {
        !self.sender.is_closed()
    }
}
