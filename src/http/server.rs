//! A small HTTP server for pages that are made on request: `/metrics`, `/livez`, `/readyz`.
//!
//! In: a listener and [`Pages`]. It is reachable by every Pod of the cluster, so nothing a client does or leaves undone
//! may cost more than its share: one request per connection, a limit on the header's time and size, on the whole
//! connection's time and on the number of connections. At that limit the oldest connection that has not sent its
//! request yet gives way, so that many half-open connections cannot hold up a scrape. Request bodies are never read.

use std::{
    collections::VecDeque,
    convert::Infallible,
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Mutex,
    task::AbortHandle,
    time::{sleep, timeout},
};

use crate::http::address::ListenAddress;

/// What a server shows.
pub trait Pages: Send + Sync + 'static {
    /// The page at `path`, when there is one. Runs on a thread that may block.
    fn page(&self, path: &str) -> Option<Page>;
}

/// One answer.
#[derive(Debug)]
pub struct Page {
    /// The status code.
    pub status: StatusCode,
    /// The `Content-Type`.
    pub content_type: &'static str,
    /// The body.
    pub body: String,
}

impl Page {
    /// Plain text.
    pub fn text(status: StatusCode, body: impl Into<String>) -> Self {
        Self {
            status,
            content_type: "text/plain; charset=utf-8",
            body: body.into(),
        }
    }
}

/// What a client may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How long a client may take to send its request.
    pub header: Duration,
    /// How long a connection may last, the time to read the answer included.
    pub connection: Duration,
    /// How many connections there are at a time.
    pub connections: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header: Duration::from_secs(5),
            // Prometheus gives a scrape 10 s by default.
            connection: Duration::from_secs(15),
            connections: 64,
        }
    }
}

/// Listens on the first of the addresses that the machine has.
pub async fn listen(address: ListenAddress) -> io::Result<(TcpListener, SocketAddr)> {
    let mut failure = io::Error::other("no address to listen on");
    for candidate in address.candidates() {
        match TcpListener::bind(candidate).await {
            Ok(listener) => {
                let local = listener.local_addr()?;
                return Ok((listener, local));
            }
            Err(error) => {
                failure = io::Error::new(error.kind(), format!("cannot listen on {candidate}: {error}"));
            }
        }
    }
    Err(failure)
}

/// Serves until it is dropped.
pub async fn serve(listener: TcpListener, pages: Arc<dyn Pages>, limits: Limits) -> Infallible {
    // Pages are made one at a time: a page may lock the model, and many scrapers must not make that many at once.
    let turn = Arc::new(Mutex::new(()));
    let mut open = Connections::default();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of file descriptors, most likely; connections end within seconds.
            sleep(Duration::from_millis(100)).await;
            continue;
        };
        if !open.make_room(limits.connections) {
            continue;
        }
        let asked = Arc::new(AtomicBool::new(false));
        let task = tokio::spawn(connection(
            stream,
            limits,
            Arc::clone(&asked),
            Arc::clone(&pages),
            Arc::clone(&turn),
        ));
        open.0.push_back(Open {
            asked,
            task: task.abort_handle(),
        });
    }
}

/// The open connections, the oldest first.
#[derive(Default)]
struct Connections(VecDeque<Open>);

struct Open {
    /// Its request has arrived.
    asked: Arc<AtomicBool>,
    task: AbortHandle,
}

impl Connections {
    /// Whether there is room for one more, after the oldest one that has not asked yet gave way if need be.
    fn make_room(&mut self, limit: usize) -> bool {
        self.0.retain(|open| !open.task.is_finished());
        if self.0.len() < limit {
            return true;
        }
        let idle = self.0.iter().position(|open| !open.asked.load(Ordering::Relaxed));
        match idle.and_then(|at| self.0.remove(at)) {
            Some(open) => {
                open.task.abort();
                true
            }
            None => false,
        }
    }
}

impl Drop for Connections {
    fn drop(&mut self) {
        for open in &self.0 {
            open.task.abort();
        }
    }
}

/// Serves one connection. How it ends is the client's business alone.
async fn connection(
    stream: TcpStream,
    limits: Limits,
    asked: Arc<AtomicBool>,
    pages: Arc<dyn Pages>,
    turn: Arc<Mutex<()>>,
) {
    let answer = service_fn(move |request: Request<Incoming>| {
        asked.store(true, Ordering::Relaxed);
        respond(request, Arc::clone(&pages), Arc::clone(&turn))
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header)
        .max_buf_size(16 * 1024)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), answer);
    let _ended = timeout(limits.connection, serving).await;
}

async fn respond(
    request: Request<Incoming>,
    pages: Arc<dyn Pages>,
    turn: Arc<Mutex<()>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let mut response = Response::new(Full::default());
    if ![Method::GET, Method::HEAD].contains(request.method()) {
        *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
        response
            .headers_mut()
            .insert(header::ALLOW, header::HeaderValue::from_static("GET, HEAD"));
        return Ok(response);
    }
    let path = request.uri().path().to_owned();
    let page = {
        let _turn = turn.lock().await;
        tokio::task::spawn_blocking(move || pages.page(&path)).await
    };
    let page = match page {
        Ok(Some(page)) => page,
        Ok(None) => Page::text(StatusCode::NOT_FOUND, "there is no such page\n"),
        Err(_panicked) => Page::text(StatusCode::INTERNAL_SERVER_ERROR, "this page cannot be shown\n"),
    };
    *response.status_mut() = page.status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        header::HeaderValue::from_static(page.content_type),
    );
    // hyper sends the length and no body in answer to HEAD.
    *response.body_mut() = Full::from(page.body);
    Ok(response)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    struct Fixed;

    impl Pages for Fixed {
        fn page(&self, path: &str) -> Option<Page> {
            match path {
                "/small" => Some(Page::text(StatusCode::OK, "hello\n")),
                "/huge" => Some(Page::text(StatusCode::OK, "x".repeat(32 << 20))),
                "/broken" => panic!("a page that fails"),
                _ => None,
            }
        }
    }

    async fn start(limits: Limits) -> SocketAddr {
        let (listener, address) = listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
        tokio::spawn(serve(listener, Arc::new(Fixed), limits));
        address
    }

    async fn ask(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        timeout(Duration::from_secs(10), stream.read_to_string(&mut answer))
            .await
            .expect("an answer, and then the end")
            .unwrap();
        answer
    }

    #[tokio::test]
    async fn answers_what_it_has_and_nothing_else() {
        let address = start(Limits::default()).await;
        let table = [
            (
                "GET /small HTTP/1.1\r\nhost: x\r\n\r\n",
                "200 OK",
                "hello\n",
                "a page",
            ),
            (
                "HEAD /small HTTP/1.1\r\nhost: x\r\n\r\n",
                "200 OK",
                "",
                "its header alone",
            ),
            (
                "GET /small?x=1 HTTP/1.1\r\nhost: x\r\n\r\n",
                "200 OK",
                "hello\n",
                "a query is ignored",
            ),
            (
                "GET /else HTTP/1.1\r\nhost: x\r\n\r\n",
                "404 Not Found",
                "there is no such page\n",
                "no page",
            ),
            (
                "POST /small HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n",
                "405 Method",
                "",
                "no other method",
            ),
            (
                "GET /broken HTTP/1.1\r\nhost: x\r\n\r\n",
                "500 Internal",
                "this page cannot be shown\n",
                "a panic",
            ),
            (
                "GET /small HTTP/1.0\r\n\r\n",
                "200 OK",
                "hello\n",
                "an old client",
            ),
        ];
        for (request, status, body, why) in table {
            let answer = ask(address, request).await;
            let (head, rest) = answer.split_once("\r\n\r\n").unwrap();
            assert!(head.contains(status), "{why}: {head}");
            assert_eq!(rest, body, "{why}");
        }
        let head = ask(address, "HEAD /small HTTP/1.1\r\nhost: x\r\n\r\n").await;
        assert!(head.contains("content-length: 6"), "{head}");
    }

    #[tokio::test]
    async fn a_header_that_never_ends_is_cut() {
        let limits = Limits {
            header: Duration::from_millis(200),
            ..Limits::default()
        };
        let address = start(limits).await;
        for beginning in ["", "GET /small HTTP/1.1\r\nx: "] {
            let begun = Instant::now();
            ask(address, beginning).await;
            assert!(
                begun.elapsed() >= Duration::from_millis(150),
                "not before its time: {beginning:?}"
            );
        }
        let flood = format!("GET /small HTTP/1.1\r\nx: {}", "y".repeat(1 << 20));
        let mut stream = TcpStream::connect(address).await.unwrap();
        // The server hangs up before it has read all of it, which the client may see as an error.
        let _refused = stream.write_all(flood.as_bytes()).await;
        let mut answer = Vec::new();
        let _reset = timeout(Duration::from_secs(10), stream.read_to_end(&mut answer))
            .await
            .expect("an end");
    }

    #[tokio::test]
    async fn half_open_connections_do_not_hold_up_a_scrape() {
        let address = start(Limits::default()).await;
        let mut idle = Vec::new();
        for _ in 0..500 {
            idle.push(TcpStream::connect(address).await.unwrap());
        }
        let begun = Instant::now();
        let answer = ask(address, "GET /small HTTP/1.1\r\nhost: x\r\n\r\n").await;
        assert!(answer.ends_with("hello\n"), "{answer}");
        assert!(
            begun.elapsed() < Duration::from_secs(3),
            "took {:?}",
            begun.elapsed()
        );
    }

    #[tokio::test]
    async fn a_slow_reader_is_cut_and_makes_room() {
        let limits = Limits {
            connection: Duration::from_secs(3),
            connections: 2,
            ..Limits::default()
        };
        let address = start(limits).await;
        let mut slow = Vec::new();
        for _ in 0..2 {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream
                .write_all(b"GET /huge HTTP/1.1\r\nhost: x\r\n\r\n")
                .await
                .unwrap();
            // Its first byte says that the request was read.
            stream.read_u8().await.unwrap();
            slow.push(stream);
        }
        let refused = ask(address, "").await;
        assert_eq!(refused, "", "no room for a third");
        sleep(Duration::from_millis(3200)).await;
        let answer = ask(address, "GET /small HTTP/1.1\r\nhost: x\r\n\r\n").await;
        assert!(answer.ends_with("hello\n"), "{answer}");
    }

    #[tokio::test]
    async fn listening_names_the_address_that_is_taken() {
        let (_held, address) = listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let error = listen(ListenAddress::At(address)).await.unwrap_err();
        assert!(error.to_string().contains(&address.to_string()), "{error}");
    }
}
