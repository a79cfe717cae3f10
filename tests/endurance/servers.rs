//! The HTTP server with slow, silent or disconnected clients. The tests use the system clock for their sockets.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::StatusCode;
use sidewatch::http::server::{Limits, Page, Pages, listen, serve};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{sleep, timeout},
};

use testkit::api_server::{SOON, soon};

/// Serves a `/metrics` page larger than the socket buffers. Every other page has 2 bytes. Counts renders.
#[derive(Default)]
struct Large {
    running: AtomicUsize,
    most: AtomicUsize,
}

impl Pages for Large {
    fn page(&self, path: &str) -> Option<Page> {
        let running = self.running.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(running, Ordering::SeqCst);
        let length = if path == "/metrics" { 32 << 20 } else { 2 };
        let page = Page::text(StatusCode::OK, "x".repeat(length));
        self.running.fetch_sub(1, Ordering::SeqCst);
        Some(page)
    }
}

async fn start(limits: Limits) -> SocketAddr {
    start_with(limits, Arc::default()).await
}

async fn start_with(limits: Limits, pages: Arc<Large>) -> SocketAddr {
    let (listener, address) = listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
    tokio::spawn(serve(listener, pages, limits));
    address
}

async fn send(address: SocketAddr, bytes: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes.as_bytes()).await.unwrap();
    stream
}

/// Returns whether the server has closed the connection.
async fn is_closed(stream: &mut TcpStream) -> bool {
    let read = timeout(Duration::from_millis(1), stream.read(&mut [0])).await;
    matches!(read, Ok(Ok(0) | Err(_)))
}

#[tokio::test(flavor = "multi_thread")]
async fn abandoned_scrapes_run_one_render_at_a_time() {
    let pages = Arc::new(Large::default());
    let limits = Limits {
        page_age: Duration::ZERO,
        ..Limits::default()
    };
    let address = start_with(limits, Arc::clone(&pages)).await;
    for _ in 0..120 {
        drop(send(address, "GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n").await);
    }
    let mut response = Vec::new();
    let mut scraper = send(address, "GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n").await;
    soon("a complete response", scraper.read_to_end(&mut response))
        .await
        .unwrap();
    assert!(response.len() > 32 << 20, "{} bytes", response.len());
    assert_eq!(pages.most.load(Ordering::SeqCst), 1, "renders in flight");
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_and_silent_clients_do_not_delay_others() {
    // The limits are longer than that of `soon`, so a scrape that waits for a slow client fails the test.
    let address = start(Limits {
        header: Duration::from_mins(2),
        connection: Duration::from_mins(2),
        page_age: Duration::from_mins(2),
        ..Limits::default()
    })
    .await;
    let mut slow = Vec::new();
    for _ in 0..3 {
        let mut stream = send(address, "GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n").await;
        stream.read_u8().await.unwrap();
        slow.push(tokio::spawn(async move {
            while stream.read_u8().await.is_ok() {
                sleep(Duration::from_secs(1)).await;
            }
        }));
    }
    let mut half_open = Vec::new();
    for n in 0..500 {
        let begun = if n % 2 == 0 {
            ""
        } else {
            "GET /metrics HTTP/1.1\r\nhost:"
        };
        half_open.push(send(address, begun).await);
    }
    for _ in 0..5 {
        let mut response = String::new();
        let mut scraper = send(address, "GET /small HTTP/1.1\r\nhost: x\r\n\r\n").await;
        soon("a response", scraper.read_to_string(&mut response))
            .await
            .unwrap();
        assert!(response.ends_with("xx"), "{response}");
    }
    soon("the server closes all silent connections over the limit", async {
        let mut closed = 0;
        while closed < 500 - Limits::default().connections {
            closed = 0;
            for stream in &mut half_open {
                closed += usize::from(is_closed(stream).await);
            }
        }
    })
    .await;
    assert!(
        slow.iter().all(|reader| !reader.is_finished()),
        "a connection with a request stays open"
    );
    slow.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_whose_header_never_ends_is_closed_after_five_seconds() {
    let address = start(Limits::default()).await;
    let begun = tokio::time::Instant::now();
    let mut stream = send(address, "GET /small HTTP/1.1\r\nx: ").await;
    // More bytes do not extend the limit.
    while !is_closed(&mut stream).await {
        let _closed = stream.write_all(b"y").await;
        sleep(Duration::from_millis(100)).await;
        assert!(begun.elapsed() < SOON, "still open");
    }
    assert!(
        begun.elapsed() >= Duration::from_millis(4_900),
        "closed after {:?}",
        begun.elapsed()
    );
}
