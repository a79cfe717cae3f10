//! HTTP client for endpoints on loopback.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use http::{Method, Request, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

const TIMEOUT: Duration = Duration::from_mins(1);

/// Answer to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The body.
    pub body: String,
}

/// Sends `GET path` to `HOST:PORT` on a new connection.
pub async fn get(address: &str, path: &str) -> Result<Answer> {
    let (status, body) = exchange(address, Method::GET, path, Bytes::new()).await?;
    let body = String::from_utf8(body.into())?;
    Ok(Answer { status, body })
}

/// Body of the answer to `GET path`; an error when the status is not 200.
pub async fn get_body(address: &str, path: &str) -> Result<String> {
    Ok(String::from_utf8(get_bytes(address, path).await?.into())?)
}

/// The same as bytes.
pub(crate) async fn get_bytes(address: &str, path: &str) -> Result<Bytes> {
    expect_ok(path, exchange(address, Method::GET, path, Bytes::new()).await?)
}

/// Sends a JSON document; returns the body of the answer, or an error when the status is not 200.
pub(crate) async fn post(address: &str, path: &str, json: Vec<u8>) -> Result<Bytes> {
    expect_ok(path, exchange(address, Method::POST, path, json.into()).await?)
}

fn expect_ok(path: &str, (status, body): (u16, Bytes)) -> Result<Bytes> {
    ensure!(
        status == 200,
        "{path}: status {status}: {}",
        String::from_utf8_lossy(&body)
    );
    Ok(body)
}

async fn exchange(address: &str, method: Method, path: &str, body: Bytes) -> Result<(u16, Bytes)> {
    let exchange = async {
        let stream = TcpStream::connect(address).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, address)
            .body(Full::new(body))?;
        let exchange = async {
            let response = sender.send_request(request).await?;
            let status = response.status().as_u16();
            let body = response.into_body().collect().await?.to_bytes();
            anyhow::Ok((status, body))
        };
        // The connection makes progress only while it is polled, and ends after the exchange.
        tokio::pin!(exchange);
        tokio::select! {
            answer = &mut exchange => answer,
            _ = connection => exchange.await,
        }
    };
    tokio::time::timeout(TIMEOUT, exchange)
        .await
        .with_context(|| format!("no answer from http://{address}{path}"))?
        .with_context(|| format!("http://{address}{path}"))
}
