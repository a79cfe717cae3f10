//! HTTP client for endpoints on loopback.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use http::{Request, header};
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

const TIMEOUT: Duration = Duration::from_secs(10);

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
    let exchange = async {
        let stream = TcpStream::connect(address).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let request = Request::get(path)
            .header(header::HOST, address)
            .body(Empty::<Bytes>::new())?;
        let exchange = async {
            let response = sender.send_request(request).await?;
            let status = response.status().as_u16();
            let body = response.into_body().collect().await?.to_bytes();
            anyhow::Ok(Answer {
                status,
                body: String::from_utf8(body.into())?,
            })
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
        .with_context(|| format!("no answer to GET {path}"))?
        .with_context(|| format!("GET {path}"))
}

/// Body of the answer to `GET path`; an error when the status is not 200.
pub async fn get_body(address: &str, path: &str) -> Result<String> {
    let Answer { status, body } = get(address, path).await?;
    ensure!(status == 200, "GET {path}: status {status}: {body}");
    Ok(body)
}
