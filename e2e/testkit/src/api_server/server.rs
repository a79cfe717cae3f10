//! The server: routes, exchanges, watch streams.

use std::{
    collections::HashMap,
    convert::Infallible,
    fmt::Debug,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::channel::mpsc;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Either, Full, StreamBody};
use hyper::{
    body::{Bytes, Frame},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{
    net::TcpListener,
    sync::{Mutex as AsyncMutex, mpsc as queue, oneshot},
    task::JoinHandle,
};

use super::{soon, status_error};

type Chunks = mpsc::UnboundedReceiver<io::Result<Frame<Bytes>>>;
pub(super) type Body = Either<Full<Bytes>, StreamBody<Chunks>>;
type Waiting = (
    queue::UnboundedSender<Exchange>,
    Arc<AsyncMutex<queue::UnboundedReceiver<Exchange>>>,
);

/// The server. Ends with its handle.
pub struct Server {
    address: SocketAddr,
    routes: Routes,
    accepting: JoinHandle<()>,
}

/// The routes of a server, for a task that learns of a path while it serves another.
#[derive(Clone, Default)]
pub struct Routes(Arc<Mutex<HashMap<(Method, String), Waiting>>>);

impl Routes {
    /// The requests of one method and path.
    pub fn route(&self, method: Method, path: &str) -> Route {
        let name = format!("{method} {path}");
        let mut routes = self.0.lock().unwrap();
        let (_, requests) = routes.entry((method, path.to_owned())).or_insert_with(waiting);
        Route {
            name,
            requests: Arc::clone(requests),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Server {
    /// Listens on a free port of loopback.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let routes = Routes::default();
        let accepting = tokio::spawn({
            let routes = routes.clone();
            async move {
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    let routes = routes.clone();
                    let service = service_fn(move |request| handle(request, routes.clone()));
                    tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
                }
            }
        });
        Self {
            address,
            routes,
            accepting,
        }
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The requests of one method and path.
    pub fn route(&self, method: Method, path: &str) -> Route {
        self.routes.route(method, path)
    }

    /// The routes, for a task of their own.
    pub fn handle(&self) -> Routes {
        self.routes.clone()
    }

    /// Answers a resource's lists with this list and its watches with silence, for as long as the server lives.
    pub fn serve_quietly(&self, path: &str, list: Value) {
        let route = self.route(Method::GET, path);
        tokio::spawn(async move {
            let mut open = Vec::new();
            while let Some(exchange) = route.requests.lock().await.recv().await {
                if exchange.is_watch() {
                    open.push(exchange.watch());
                } else {
                    exchange.json(StatusCode::OK, &list);
                }
            }
        });
    }
}

fn waiting() -> Waiting {
    let (sender, receiver) = queue::unbounded_channel();
    (sender, Arc::new(AsyncMutex::new(receiver)))
}

/// Makes an exchange of a request, and waits for its answer.
pub(super) async fn handle<B: http_body::Body<Error: Debug>>(
    request: Request<B>,
    routes: Routes,
) -> Result<Response<Body>, Infallible> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let (reply, answer) = oneshot::channel();
    let exchange = Exchange {
        query: parts.uri.query().unwrap_or_default().to_owned(),
        body: serde_json::from_slice(&body).unwrap_or_default(),
        content_type: parts
            .headers
            .get(header::CONTENT_TYPE)
            .map(|value| value.to_str().unwrap().to_owned()),
        reply,
    };
    let key = (parts.method, parts.uri.path().to_owned());
    let sender = routes
        .0
        .lock()
        .unwrap()
        .entry(key)
        .or_insert_with(waiting)
        .0
        .clone();
    sender.send(exchange).unwrap();
    match answer.await {
        Ok(response) => Ok(response),
        // The test dropped the exchange: a server that hangs.
        Err(_dropped) => std::future::pending().await,
    }
}

/// The requests of one method and path, in their order.
pub struct Route {
    name: String,
    requests: Arc<AsyncMutex<queue::UnboundedReceiver<Exchange>>>,
}

impl Route {
    /// The next request, which must come.
    pub async fn next(&self) -> Exchange {
        let mut requests = soon(&self.name, self.requests.lock()).await;
        soon(&self.name, requests.recv()).await.unwrap()
    }

    /// The next request, whenever it comes.
    pub async fn any(&self) -> Exchange {
        self.requests.lock().await.recv().await.unwrap()
    }

    /// Asserts that no request comes for a while.
    pub async fn stays_silent(&self, time: Duration) {
        let mut requests = self.requests.lock().await;
        if let Ok(Some(exchange)) = tokio::time::timeout(time, requests.recv()).await {
            panic!("unexpected {}?{} {}", self.name, exchange.query, exchange.body);
        }
    }
}

/// A request that waits for its answer. Dropped without one, it hangs.
pub struct Exchange {
    /// The query of the URI.
    pub query: String,
    /// The body, if it is JSON.
    pub body: Value,
    /// The `Content-Type`.
    pub content_type: Option<String>,
    reply: oneshot::Sender<Response<Body>>,
}

impl Exchange {
    /// Whether it is a watch, and not a list.
    pub fn is_watch(&self) -> bool {
        self.parameter("watch").as_deref() == Some("true")
    }

    /// A parameter of the query.
    pub fn parameter(&self, name: &str) -> Option<String> {
        let pairs = self.query.split('&').filter_map(|pair| pair.split_once('='));
        let found = pairs.into_iter().find(|(key, _)| *key == name);
        found.map(|(_, value)| value.replace("%21", "!").replace("%3D", "=").replace("%2C", ","))
    }

    /// Answers with JSON.
    pub fn json(self, status: StatusCode, body: &Value) {
        self.text(status, &body.to_string());
    }

    /// Answers with a failure as the API server writes it.
    pub fn fail(self, code: u16, message: &str) {
        self.json(StatusCode::from_u16(code).unwrap(), &status_error(code, message));
    }

    /// Answers with a failure and asks for patience.
    pub fn fail_for(self, code: u16, seconds: u32) {
        let response = Response::builder()
            .status(code)
            .header(header::RETRY_AFTER, seconds)
            .body(Either::Left(Full::from(
                "Too many requests, please try again later.",
            )));
        let _gone = self.reply.send(response.unwrap());
    }

    /// Answers with anything.
    pub fn text(self, status: StatusCode, body: &str) {
        let response = Response::builder()
            .status(status)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Either::Left(Full::from(body.to_owned())));
        // The client may have given up.
        let _gone = self.reply.send(response.unwrap());
    }

    /// Accepts a watch.
    pub fn watch(self) -> WatchStream {
        assert!(self.is_watch(), "a watch, not {:?}", self.query);
        let (sender, receiver) = mpsc::unbounded();
        let body = Either::Right(StreamBody::new(receiver));
        let _gone = self.reply.send(Response::new(body));
        WatchStream { sender }
    }
}

/// A watch that was accepted. Dropped, it ends as after its time.
pub struct WatchStream {
    sender: mpsc::UnboundedSender<io::Result<Frame<Bytes>>>,
}

impl WatchStream {
    /// Tells of an object.
    pub fn event(&self, kind: &str, object: &Value) {
        self.raw(&format!("{}\n", json!({ "type": kind, "object": object })));
    }

    /// Tells that the server has nothing to tell up to this version.
    pub fn bookmark(&self, kind: &str, version: &str) {
        let object = json!({"kind": kind, "apiVersion": "v1", "metadata": {"resourceVersion": version}});
        self.event("BOOKMARK", &object);
    }

    /// Sends bytes.
    pub fn raw(&self, bytes: &str) {
        self.sender
            .unbounded_send(Ok(Frame::data(Bytes::from(bytes.to_owned()))))
            .unwrap();
    }

    /// Breaks the connection.
    pub fn cut(self) {
        self.sender.unbounded_send(Err(io::Error::other("cut"))).unwrap();
    }

    /// Ends it, as after its time.
    pub fn end(&self) {
        self.sender.close_channel();
    }

    /// Whether the client still listens.
    pub fn is_open(&self) -> bool {
        !self.sender.is_closed()
    }
}
