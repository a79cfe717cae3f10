//! Helpers for tests of servers.

use std::{future::Future, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, timeout},
};

use super::server::Limits;

/// The limit of each wait.
const LIMIT: Duration = Duration::from_secs(10);

/// The limits of a server that waits for 200 ms until a request or a handshake is complete.
pub(super) fn impatient() -> Limits {
    Limits {
        header: Duration::from_millis(200),
        ..Limits::default()
    }
}

/// Reads to the end of the connection. The peer may also reset it.
pub(super) async fn read_to_end(mut stream: impl AsyncRead + Unpin) -> Vec<u8> {
    let mut received = Vec::new();
    let _reset = timeout(LIMIT, stream.read_to_end(&mut received))
        .await
        .expect("the end of the connection");
    received
}

/// Sends a request, and returns the response. The server must then end the connection without an error.
pub(super) async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin, request: &str) -> String {
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut response = String::new();
    timeout(LIMIT, stream.read_to_string(&mut response))
        .await
        .expect("the end of the connection")
        .unwrap();
    response
}

/// Asserts that an [`impatient`] server closes a connection on which only these bytes arrive, and not before its limit.
pub(super) async fn assert_closed_at_the_limit(address: SocketAddr, sent: &[u8]) {
    let begun = Instant::now();
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(sent).await.unwrap();
    read_to_end(stream).await;
    let waited = begun.elapsed();
    assert!(waited >= Duration::from_millis(150), "{sent:?}: {waited:?}");
}

/// Asserts that the response to a scrape is not delayed by 500 connections on which only these bytes arrive.
pub(super) async fn assert_not_delayed(
    address: SocketAddr,
    sent: &[u8],
    scrape: impl Future<Output = String>,
) {
    let mut incomplete = Vec::new();
    for _ in 0..500 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(sent).await.unwrap();
        incomplete.push(stream);
    }
    let begun = Instant::now();
    let response = scrape.await;
    assert!(response.ends_with("hello\n"), "{response}");
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(3), "{took:?}");
}
