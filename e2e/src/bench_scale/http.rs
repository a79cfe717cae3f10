//! Plain HTTP requests to servers on loopback.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

const ANSWER_WITHIN: Duration = Duration::from_mins(1);

/// Returns the body of `http://ADDRESS/PATH`. The request has a connection of its own.
pub(super) async fn get(address: &str, path: &str) -> Result<Bytes> {
    exchange(address, Method::GET, path, Bytes::new()).await
}

/// Sends a JSON document and returns the body of the answer.
pub(super) async fn post(address: &str, path: &str, json: Vec<u8>) -> Result<Bytes> {
    exchange(address, Method::POST, path, json.into()).await
}

async fn exchange(address: &str, method: Method, path: &str, body: Bytes) -> Result<Bytes> {
    let exchange = async {
        let stream = TcpStream::connect(address).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let connection = tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("Host", address)
            .header("Connection", "close")
            .body(Full::new(body))?;
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        connection.abort();
        ensure!(
            status.is_success(),
            "{status}: {}",
            String::from_utf8_lossy(&body)
        );
        anyhow::Ok(body)
    };
    tokio::time::timeout(ANSWER_WITHIN, exchange)
        .await
        .map_err(anyhow::Error::from)
        .flatten()
        .with_context(|| format!("http://{address}{path}"))
}
