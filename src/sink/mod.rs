//! Writes to the API server: [`events`] and [`status`].
//!
//! Each module has a queue and a task. The queue is a struct without I/O that decides what is written when. The task
//! writes through [`Writer`]. A failed write is logged and counted, and does not stop other writes.

mod bucket;
mod event_object;
mod event_queue;
pub mod events;
mod pending_events;
pub mod status;
mod status_object;
mod status_queue;

use std::{sync::Arc, time::Duration};

use http::{Request, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Bytes;
use kube::{Client, client::Body, core::Status};
use tokio::time::timeout;

pub use pending_events::PendingEvents;

use crate::{
    kubernetes::failure,
    telemetry::metrics::{Metrics, WriteKind, WriteOutcome},
};

/// The field manager of Sidewatch.
const FIELD_MANAGER: &str = "sidewatch";
/// Timeout of a write.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum size of a response in bytes.
const MAX_RESPONSE: usize = 4 << 20;

/// Sends writes, with a timeout and counters, and without retries.
#[derive(Clone)]
pub struct Writer {
    client: Client,
    metrics: Arc<Metrics>,
}

/// Why a write failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct WriteError {
    /// Status code of the response; `None` without a response.
    pub status: Option<StatusCode>,
    /// `Retry-After` of the response.
    pub retry_after: Option<Duration>,
    /// Description of the error.
    pub message: String,
    /// The namespace is being deleted and accepts no new objects.
    pub is_namespace_terminating: bool,
    /// The fields that the response names as invalid.
    pub invalid_fields: Vec<String>,
}

impl WriteError {
    /// Reports whether a retry may succeed: after a failed connection, a timeout, a server error or throttling. An
    /// expired token and a missing permission are included, because both can be corrected without a change of the
    /// request.
    pub fn is_transient(&self) -> bool {
        self.status.is_none_or(|status| match status {
            StatusCode::FORBIDDEN => !self.is_namespace_terminating,
            StatusCode::UNAUTHORIZED | StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => true,
            status => status.is_server_error(),
        })
    }
}

impl Writer {
    /// Creates a writer. The client must not retry.
    pub fn new(client: Client, metrics: Arc<Metrics>) -> Self {
        Self { client, metrics }
    }

    /// Returns the counters.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Sends one request. Returns the response for a success status and for the codes in `expected`. Other codes are
    /// errors.
    async fn send(
        &self,
        kind: WriteKind,
        request: Result<Request<Vec<u8>>, kube::core::request::Error>,
        expected: &[StatusCode],
    ) -> Result<(StatusCode, Bytes), WriteError> {
        let result = match request {
            Ok(request) => timeout(WRITE_TIMEOUT, self.exchange(request.map(Body::from), expected)).await,
            Err(error) => Ok(Err(WriteError {
                // A request that cannot be built fails again on a retry, like a refused one.
                status: Some(StatusCode::BAD_REQUEST),
                retry_after: None,
                message: error.to_string(),
                is_namespace_terminating: false,
                invalid_fields: Vec::new(),
            })),
        };
        let (outcome, result) = match result {
            Ok(Ok(response)) => (WriteOutcome::Ok, Ok(response)),
            Ok(Err(error)) => (WriteOutcome::Error, Err(error)),
            Err(_elapsed) => {
                let error = WriteError {
                    status: None,
                    retry_after: None,
                    message: format!("no response within {} s", WRITE_TIMEOUT.as_secs()),
                    is_namespace_terminating: false,
                    invalid_fields: Vec::new(),
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
        expected: &[StatusCode],
    ) -> Result<(StatusCode, Bytes), WriteError> {
        let failed = |message: String| WriteError {
            status: None,
            retry_after: None,
            message,
            is_namespace_terminating: false,
            invalid_fields: Vec::new(),
        };
        let response = self
            .client
            .send(request)
            .await
            .map_err(|error| failed(failure::chain(&error)))?;
        let status = response.status();
        let retry_after = failure::retry_after(response.headers());
        let body = Limited::new(response.into_body(), MAX_RESPONSE).collect().await;
        let body = body.map_err(|error| failed(error.to_string()))?.to_bytes();
        if status.is_success() || expected.contains(&status) {
            return Ok((status, body));
        }
        // Proxies and the flow control of the API server respond in plain text.
        let parsed = serde_json::from_slice::<Status>(&body).ok();
        Err(WriteError {
            status: Some(status),
            retry_after,
            is_namespace_terminating: parsed.as_ref().is_some_and(is_namespace_terminating),
            invalid_fields: parsed.as_ref().map(invalid_fields).unwrap_or_default(),
            message: parsed.map_or_else(
                || format!("{status}: {}", String::from_utf8_lossy(&body)),
                |status| failure::describe_status(&status),
            ),
        })
    }
}

/// Reports whether the API server refused a write, with code 403, because the namespace is being deleted.
fn is_namespace_terminating(status: &Status) -> bool {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    causes
        .into_iter()
        .any(|cause| cause.reason == "NamespaceTerminating")
}

/// Returns the fields that a status with code 422 lists as invalid.
fn invalid_fields(status: &Status) -> Vec<String> {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    causes.map(|cause| cause.field.clone()).collect()
}
