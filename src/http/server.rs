//! A small HTTP server for pages that are rendered on request: `/metrics`, `/livez`, `/readyz`.
//!
//! Input: a listener, [`Pages`] and their [`Protection`]. Every Pod of the cluster can connect to the server, so its cost
//! has fixed limits: one request per connection, limits on the TLS handshake (time), on the header (time, size), on the
//! connection (time) and on the number of connections ([`super::connections`]), one render at a time and two pages
//! ([`super::page_cache`]). The server never reads request bodies, and renders nothing for a request that is not allowed.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use http::{Method, Request, Response, StatusCode, header};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};

pub use super::page::{Body, Page, Pages};
use super::{
    address::ListenAddress,
    auth::Authorizer,
    connections::{Activity, Connections},
    page::{Reader, SharedPage},
    page_cache::PageCache,
    tls::Tls,
};

/// Limits on the resources that clients can use.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Maximum time of the TLS handshake, and then maximum time until the request has arrived.
    pub header: Duration,
    /// Maximum duration of a connection, including the time to read the response.
    pub connection: Duration,
    /// Maximum number of open connections.
    pub connections: usize,
    /// Requests that arrive within this time after a render began share its page.
    pub page_age: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header: Duration::from_secs(5),
            // The default timeout of a Prometheus scrape is 10 s.
            connection: Duration::from_secs(15),
            connections: 64,
            page_age: Duration::from_secs(1),
        }
    }
}

/// Listens on the first of the addresses that the machine supports.
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

/// Protection of the pages of a server. The default is plain HTTP for every client.
#[derive(Clone, Default)]
pub struct Protection {
    /// Encrypts the connections.
    pub tls: Option<Arc<Tls>>,
    /// Decides which requests are allowed.
    pub authorizer: Option<Arc<Authorizer>>,
}

/// What the connections of a server share.
struct Server {
    cache: PageCache,
    limits: Limits,
    protection: Protection,
}

/// Serves until the future is dropped.
pub async fn serve(
    listener: TcpListener,
    pages: Arc<dyn Pages>,
    limits: Limits,
    protection: Protection,
) -> Infallible {
    let tls = protection.tls.clone();
    let server = Arc::new(Server {
        cache: PageCache::new(pages, limits.page_age),
        limits,
        protection,
    });
    match tls {
        None => accept(listener, server).await,
        Some(tls) => tokio::select! {
            never = accept(listener, server) => never,
            never = tls.reload() => never,
        },
    }
}

async fn accept(listener: TcpListener, server: Arc<Server>) -> Infallible {
    let mut open = Connections::default();
    loop {
        let Ok((stream, peer)) = listener.accept().await else {
            // Most likely the process has no free file descriptor. Connections end within seconds.
            sleep(Duration::from_millis(100)).await;
            continue;
        };
        let activity = Activity::new(peer.ip());
        let authorizer = server.protection.authorizer.as_ref();
        let is_known = authorizer.is_some_and(|authorizer| authorizer.is_known(activity.peer()));
        let activity = Arc::new(activity.known(is_known));
        let task = tokio::spawn(Arc::clone(&server).connection(stream, Arc::clone(&activity)));
        open.add(activity, task.abort_handle(), server.limits.connections);
    }
}

impl Server {
    /// Serves one connection. Does not report failures of the client.
    async fn connection(self: Arc<Self>, stream: TcpStream, activity: Arc<Activity>) {
        let limits = self.limits;
        let _outcome = timeout(limits.connection, async move {
            let Some(tls) = self.protection.tls.clone() else {
                return self.request(stream, activity).await;
            };
            if let Ok(Ok(stream)) = timeout(limits.header, tls.accept(stream)).await {
                self.request(stream, activity).await;
            }
        })
        .await;
    }

    /// Serves the request of a connection.
    async fn request(
        self: Arc<Self>,
        stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
        activity: Arc<Activity>,
    ) {
        let header = self.limits.header;
        let service = service_fn(move |request: Request<Incoming>| {
            activity.requested();
            Arc::clone(&self).respond(request, Arc::clone(&activity))
        });
        let _outcome = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(header)
            .max_buf_size(16 * 1024)
            .keep_alive(false)
            .serve_connection(TokioIo::new(stream), service)
            .await;
    }

    async fn respond(
        self: Arc<Self>,
        request: Request<Incoming>,
        activity: Arc<Activity>,
    ) -> Result<Response<Reader>, Infallible> {
        if let Some(authorizer) = &self.protection.authorizer
            && let Err(refusal) = authorizer.authorize(activity.peer(), request.headers()).await
        {
            let page = Page::text(refusal.status(), refusal.message());
            let mut response = respond_with(Arc::new(SharedPage::new(page)), activity);
            if refusal.status() == StatusCode::UNAUTHORIZED {
                let scheme = header::HeaderValue::from_static("Bearer");
                response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
            }
            return Ok(response);
        }
        if ![Method::GET, Method::HEAD].contains(request.method()) {
            let mut response = respond_with(text(StatusCode::METHOD_NOT_ALLOWED, ""), activity);
            let allowed = header::HeaderValue::from_static("GET, HEAD");
            response.headers_mut().insert(header::ALLOW, allowed);
            return Ok(response);
        }
        let page = self.cache.get(request.uri().path()).await;
        let page = page.unwrap_or_else(|| text(StatusCode::NOT_FOUND, "page not found\n"));
        // For HEAD, hyper sends the length without the body.
        Ok(respond_with(page, activity))
    }
}

fn respond_with(page: Arc<SharedPage>, activity: Arc<Activity>) -> Response<Reader> {
    let (status, content_type) = (page.status, header::HeaderValue::from_static(page.content_type));
    let mut response = Response::new(Reader::new(page, activity));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response
}

fn text(status: StatusCode, body: &str) -> Arc<SharedPage> {
    Arc::new(SharedPage::new(Page::text(status, body)))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::http::testing::{
        assert_closed_at_the_limit, assert_not_delayed, exchange, impatient, read_to_end,
    };

    const SMALL: &str = "GET /small HTTP/1.1\r\nhost: x\r\n\r\n";

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
        tokio::spawn(serve(listener, Arc::new(Fixed), limits, Protection::default()));
        address
    }

    async fn get(address: SocketAddr, request: &str) -> String {
        exchange(TcpStream::connect(address).await.unwrap(), request).await
    }

    async fn get_small(address: SocketAddr) {
        let response = get(address, SMALL).await;
        assert!(response.ends_with("hello\n"), "{response}");
    }

    #[tokio::test]
    async fn responds_with_a_page_or_an_error() {
        let address = start(Limits::default()).await;
        #[rustfmt::skip]
        let table = [
            (SMALL, "200 OK", "hello\n", "a page"),
            ("HEAD /small HTTP/1.1\r\nhost: x\r\n\r\n", "200 OK", "", "the header alone"),
            ("GET /small?x=1 HTTP/1.1\r\nhost: x\r\n\r\n", "200 OK", "hello\n", "a query is ignored"),
            ("GET /other HTTP/1.1\r\nhost: x\r\n\r\n", "404 Not Found", "page not found\n", "no page"),
            ("POST /small HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n", "405 Method", "", "no other method"),
            ("GET /broken HTTP/1.1\r\nhost: x\r\n\r\n", "500 Internal", "the page could not be rendered\n", "a panic"),
            ("GET /small HTTP/1.0\r\n\r\n", "200 OK", "hello\n", "an old client"),
        ];
        for (request, status, body, why) in table {
            let response = get(address, request).await;
            let (head, rest) = response.split_once("\r\n\r\n").unwrap();
            assert!(head.contains(status), "{why}: {head}");
            assert_eq!(rest, body, "{why}");
        }
        let head = get(address, "HEAD /small HTTP/1.1\r\nhost: x\r\n\r\n").await;
        assert!(head.contains("content-length: 6"), "{head}");
    }

    #[tokio::test]
    async fn a_header_that_never_ends_is_closed() {
        let address = start(impatient()).await;
        assert_closed_at_the_limit(address, b"").await;
        assert_closed_at_the_limit(address, b"GET /small HTTP/1.1\r\nx: ").await;
        let flood = format!("GET /small HTTP/1.1\r\nx: {}", "y".repeat(1 << 20));
        let mut stream = TcpStream::connect(address).await.unwrap();
        // The server closes the connection before it has read all, which the client may see as an error.
        let _refused = stream.write_all(flood.as_bytes()).await;
        read_to_end(stream).await;
    }

    #[tokio::test]
    async fn half_open_connections_do_not_delay_a_scrape() {
        let address = start(Limits::default()).await;
        assert_not_delayed(address, b"", get(address, SMALL)).await;
    }

    /// A client that sends a request for the large page, and reads nothing.
    async fn silent_reader(address: SocketAddr) -> TcpStream {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream
            .write_all(b"GET /huge HTTP/1.1\r\nhost: x\r\n\r\n")
            .await
            .unwrap();
        stream
    }

    /// The same, but it reads the first byte of the response, so the server has read the request.
    async fn slow_reader(address: SocketAddr) -> TcpStream {
        let mut stream = silent_reader(address).await;
        stream.read_u8().await.unwrap();
        stream
    }

    /// Reads to the end of the connection, and fails if the response is complete.
    async fn assert_is_cut(stream: TcpStream) {
        let rest = read_to_end(stream).await;
        assert!(rest.len() < 32 << 20, "the response is complete");
    }

    #[tokio::test]
    async fn a_slow_reader_gives_way_to_a_new_connection() {
        let limits = Limits {
            connection: Duration::from_mins(1),
            connections: 2,
            ..Limits::default()
        };
        let address = start(limits).await;
        let [first, _second] = [slow_reader(address).await, slow_reader(address).await];
        get_small(address).await;
        assert_is_cut(first).await;
    }

    #[tokio::test]
    async fn a_slow_reader_is_closed_after_the_limit() {
        let limits = Limits {
            connection: Duration::from_secs(1),
            ..Limits::default()
        };
        let address = start(limits).await;
        let slow = silent_reader(address).await;
        sleep(Duration::from_secs(2)).await;
        assert_is_cut(slow).await;
    }

    #[tokio::test]
    async fn a_reader_of_an_older_page_is_cut() {
        let limits = Limits {
            page_age: Duration::ZERO,
            ..Limits::default()
        };
        let address = start(limits).await;
        let slow = slow_reader(address).await;
        for _ in 0..2 {
            get_small(address).await;
        }
        assert_is_cut(slow).await;
    }

    #[tokio::test]
    async fn listen_names_the_address_that_is_in_use() {
        let (_held, address) = listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let error = listen(ListenAddress::At(address)).await.unwrap_err();
        assert!(error.to_string().contains(&address.to_string()), "{error}");
    }
}
