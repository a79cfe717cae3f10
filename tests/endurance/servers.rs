//! The pages for people and machines, and clients that ask too much of them or nothing at all. On the machine's own
//! clock: these clients are sockets.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use http::StatusCode;
use sidewatch::http::server::{Limits, Page, Pages, listen, serve};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{sleep, timeout},
};

use testkit::api_server::{SOON, soon};

/// A page as long as that of a cluster with very many faults, longer than what sockets buffer.
struct Long;

impl Pages for Long {
    fn page(&self, path: &str) -> Option<Page> {
        let length = if path == "/metrics" { 32 << 20 } else { 2 };
        Some(Page::text(StatusCode::OK, "x".repeat(length)))
    }
}

async fn start(limits: Limits) -> SocketAddr {
    let (listener, address) = listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
    tokio::spawn(serve(listener, Arc::new(Long), limits));
    address
}

async fn send(address: SocketAddr, bytes: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes.as_bytes()).await.unwrap();
    stream
}

/// Whether the server has hung up.
async fn is_cut(stream: &mut TcpStream) -> bool {
    let read = timeout(Duration::from_millis(1), stream.read(&mut [0])).await;
    matches!(read, Ok(Ok(0) | Err(_)))
}

#[tokio::test(flavor = "multi_thread")]
async fn no_client_holds_up_another() {
    // Nobody is cut for being slow, so a scrape that had to wait for those would wait longer than `soon` allows.
    let address = start(Limits {
        header: Duration::from_mins(2),
        connection: Duration::from_mins(2),
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
        let mut answer = String::new();
        let mut scraper = send(address, "GET /small HTTP/1.1\r\nhost: x\r\n\r\n").await;
        soon("an answer", scraper.read_to_string(&mut answer))
            .await
            .unwrap();
        assert!(answer.ends_with("xx"), "{answer}");
    }
    soon("all give way but as many as there may be", async {
        let mut cut = 0;
        while cut < 500 - Limits::default().connections {
            cut = 0;
            for stream in &mut half_open {
                cut += usize::from(is_cut(stream).await);
            }
        }
    })
    .await;
    assert!(
        slow.iter().all(|reader| !reader.is_finished()),
        "who has asked is served"
    );
    slow.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_that_never_ends_is_cut_after_five_seconds() {
    let address = start(Limits::default()).await;
    let begun = Instant::now();
    let mut stream = send(address, "GET /small HTTP/1.1\r\nx: ").await;
    // A byte now and then is no reason to wait longer.
    while !is_cut(&mut stream).await {
        let _cut = stream.write_all(b"y").await;
        sleep(Duration::from_millis(100)).await;
        assert!(begun.elapsed() < SOON, "still open");
    }
    assert!(
        begun.elapsed() >= Duration::from_millis(4_900),
        "cut after {:?}",
        begun.elapsed()
    );
}
