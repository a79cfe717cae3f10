//! Effects on their way to the API server: [`events`] and [`status`].
//!
//! Each has a queue, a plain struct that decides what is written when, and a task that writes it through [`Writer`].
//! A write that fails is logged and counted, and never stops anything else.

mod bucket;
mod event_object;
mod event_queue;
pub mod events;
mod pending_events;
pub mod status;
mod status_object;
mod status_queue;

use std::{sync::Arc, time::Duration};

use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use hyper::body::Bytes;
use kube::{Client, client::Body, core::Status};
use tokio::time::timeout;

pub use pending_events::PendingEvents;

use crate::{
    kubernetes::failure,
    telemetry::metrics::{Metrics, WriteKind, WriteOutcome},
};

/// The name under which the API server knows what we own.
const FIELD_MANAGER: &str = "sidewatch";
/// How long the API server may take to answer a write.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// Longer answers are not read; an object of ours is far smaller.
const LONGEST_ANSWER: usize = 4 << 20;

/// Sends writes: each with a time limit, each counted, none tried twice.
#[derive(Clone)]
pub struct Writer {
    client: Client,
    metrics: Arc<Metrics>,
}

/// Why a write failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct WriteError {
    /// The status code, when there was an answer.
    pub status: Option<StatusCode>,
    /// How long the API server asked us to wait.
    pub retry_after: Option<Duration>,
    /// What is wrong, for people.
    pub message: String,
    /// The namespace is being deleted, and takes in nothing new.
    pub namespace_ends: bool,
}

impl WriteError {
    /// Whether the same write may succeed later: no answer, no connection, or a server that is busy or ill. A token
    /// that has just expired is among these, and a right that was taken away, which may be given back.
    pub fn is_transient(&self) -> bool {
        self.status.is_none_or(|status| match status {
            StatusCode::FORBIDDEN => !self.namespace_ends,
            StatusCode::UNAUTHORIZED | StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => true,
            status => status.is_server_error(),
        })
    }
}

impl Writer {
    /// Sends through a client that does not retry.
    pub fn new(client: Client, metrics: Arc<Metrics>) -> Self {
        Self { client, metrics }
    }

    /// The counters that writes count into.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Sends one request. A success, or one of the codes that the caller `expects`, is an answer.
    async fn send(
        &self,
        kind: WriteKind,
        request: Result<Request<Vec<u8>>, kube::core::request::Error>,
        expects: &[StatusCode],
    ) -> Result<(StatusCode, Bytes), WriteError> {
        let result = match request {
            Ok(request) => timeout(WRITE_TIMEOUT, self.exchange(request.map(Body::from), expects)).await,
            Err(error) => Ok(Err(WriteError {
                // It can never be sent: as final as a refusal.
                status: Some(StatusCode::BAD_REQUEST),
                retry_after: None,
                message: error.to_string(),
                namespace_ends: false,
            })),
        };
        let (outcome, result) = match result {
            Ok(Ok(answer)) => (WriteOutcome::Ok, Ok(answer)),
            Ok(Err(error)) => (WriteOutcome::Error, Err(error)),
            Err(_elapsed) => {
                let error = WriteError {
                    status: None,
                    retry_after: None,
                    message: format!("no answer within {} s", WRITE_TIMEOUT.as_secs()),
                    namespace_ends: false,
                };
                (WriteOutcome::Timeout, Err(error))
            }
        };
        self.metrics.write(kind, outcome);
        result
    }

    async fn exchange(
        &self,
        request: Request<Body>,
        expects: &[StatusCode],
    ) -> Result<(StatusCode, Bytes), WriteError> {
        let failed = |message: String| WriteError {
            status: None,
            retry_after: None,
            message,
            namespace_ends: false,
        };
        let response = self
            .client
            .send(request)
            .await
            .map_err(|error| failed(failure::chain(&error)))?;
        let status = response.status();
        let retry_after = response.headers().get(header::RETRY_AFTER).and_then(seconds);
        let body = Limited::new(response.into_body(), LONGEST_ANSWER).collect().await;
        let body = body.map_err(|error| failed(error.to_string()))?.to_bytes();
        if status.is_success() || expects.contains(&status) {
            return Ok((status, body));
        }
        // Not every answer is a Status: a proxy, or the server's own flow control, answers in plain text.
        let said = serde_json::from_slice::<Status>(&body).ok();
        Err(WriteError {
            status: Some(status),
            retry_after,
            namespace_ends: said.as_ref().is_some_and(namespace_ends),
            message: said.map_or_else(
                || format!("{status}: {}", String::from_utf8_lossy(&body)),
                |said| failure::describe_status(&said),
            ),
        })
    }
}

/// Whether the API server refuses because the namespace is being deleted: it says so in a cause, with 403.
fn namespace_ends(status: &Status) -> bool {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    causes
        .into_iter()
        .any(|cause| cause.reason == "NamespaceTerminating")
}

/// A `Retry-After` in seconds, the form that Kubernetes uses.
fn seconds(value: &header::HeaderValue) -> Option<Duration> {
    value.to_str().ok()?.parse().ok().map(Duration::from_secs)
}
