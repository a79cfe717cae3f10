//! Writes to the API server: [`events`] and [`status`].
//!
//! Each module has a queue and a task. The queue is a struct without I/O that decides what is written when. The task
//! writes through [`Writer`]. A failed write is logged and counted, and does not stop other writes. A standby writes
//! nothing: its queues keep what it may have to write when it becomes the leader.

mod bucket;
mod dropped_names;
mod event_limits;
mod event_object;
mod event_queue;
pub mod events;
mod exemption_status;
mod fair_queue;
mod kept_events;
mod pending_events;
pub mod status;
mod status_content;
mod status_object;
mod status_queue;
mod status_reduction;
mod status_target;

use std::{sync::Arc, time::Duration};

use http::{Request, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Bytes;
use kube::{Client, client::Body, core::Status};

pub use event_object::instance;
pub use pending_events::PendingEvents;
pub use status_content::StatusContent;
pub use status_target::{Exemptions, Policies, Target};

use crate::{
    kubernetes::{failure, fence::Fence},
    telemetry::metrics::{Metrics, WriteKind, WriteOutcome},
};

/// Maximum size of a response in bytes.
const MAX_RESPONSE: usize = 4 << 20;

/// Sends writes that the fence permits, with a timeout and counters, and without retries.
#[derive(Clone)]
pub struct Writer {
    client: Client,
    metrics: Arc<Metrics>,
    fence: Fence,
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
    /// This replica is not the leader: the write did not start, or its response did not arrive before the deadline.
    pub is_fenced: bool,
}

impl WriteError {
    /// Creates the error of a write without a usable response.
    fn without_response(message: String) -> Self {
        Self {
            status: None,
            retry_after: None,
            message,
            is_namespace_terminating: false,
            invalid_fields: Vec::new(),
            is_fenced: false,
        }
    }

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
    pub fn new(client: Client, metrics: Arc<Metrics>, fence: Fence) -> Self {
        Self {
            client,
            metrics,
            fence,
        }
    }

    /// Returns the counters.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Returns the fence that permits the writes.
    pub fn fence(&self) -> &Fence {
        &self.fence
    }

    /// Sends one request. Returns the response for a success status and for the codes in `expected`. Other codes are
    /// errors. Sends nothing if this replica is not the leader.
    async fn send(
        &self,
        kind: WriteKind,
        request: Result<Request<Vec<u8>>, kube::core::request::Error>,
        expected: &[StatusCode],
    ) -> Result<(StatusCode, Bytes), WriteError> {
        let Some(permit) = self.fence.permit() else {
            return Err(WriteError {
                is_fenced: true,
                ..WriteError::without_response("this replica is not the leader".to_owned())
            });
        };
        let limit = permit.limit();
        let result = match request {
            Ok(request) => permit.run(self.exchange(request.map(Body::from), expected)).await,
            Err(error) => Ok(Err(WriteError {
                // A request that cannot be built fails again on a retry, like a refused one.
                status: Some(StatusCode::BAD_REQUEST),
                ..WriteError::without_response(error.to_string())
            })),
        };
        let (outcome, result) = match result {
            Ok(Ok(response)) => (WriteOutcome::Ok, Ok(response)),
            Ok(Err(error)) => (WriteOutcome::Error, Err(error)),
            Err(_limit_reached) => {
                let error = WriteError {
                    is_fenced: self.fence.permit().is_none(),
                    ..WriteError::without_response(format!("no response within {} s", limit.as_secs()))
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
        let response = self
            .client
            .send(request)
            .await
            .map_err(|error| WriteError::without_response(failure::chain(&error)))?;
        let status = response.status();
        let retry_after = failure::retry_after(response.headers());
        let body = Limited::new(response.into_body(), MAX_RESPONSE).collect().await;
        let body = body
            .map_err(|error| WriteError::without_response(error.to_string()))?
            .to_bytes();
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
            is_fenced: false,
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
