//! The inputs and outputs of the state machine: requests, what the network answers, and the next actions.

use std::time::Duration;

use tokio::time::Instant;

use crate::kubernetes::{
    protobuf::{EventKind, Refusal},
    watch::WatchEvent,
};

/// A request to the API server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Request {
    /// A watch that begins with all objects (KEP-3157) and then continues with changes.
    StreamingList,
    /// One page of a list.
    Page {
        /// The token of the page; `None` for the first one.
        continue_token: Option<String>,
    },
    /// A list in one response.
    WholeList,
    /// A list of one object, whose version is the current one. The watch from `version` follows.
    Check {
        /// The resource version of the broken watch.
        version: String,
    },
    /// A watch of the changes since a version.
    Watch {
        /// The resource version.
        version: String,
    },
}

impl Request {
    /// Reports whether the response is a stream of events.
    pub(super) fn is_watch(&self) -> bool {
        matches!(self, Self::StreamingList | Self::Watch { .. })
    }
}

/// Error of a request or of its response.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) error: kube::Error,
    /// The wait that the API server requests (`Retry-After`).
    pub(super) retry_after: Option<Duration>,
}

impl From<kube::Error> for Failure {
    fn from(error: kube::Error) -> Self {
        Self {
            error,
            retry_after: None,
        }
    }
}

/// An event of the network or of a timer.
#[derive(Debug)]
pub(super) enum Input<T> {
    /// The wait before the request is over.
    Ready,
    /// The API server refused the request, or the request failed.
    Refused(Failure),
    /// The API server accepted the request.
    Accepted,
    /// An item of a page.
    Item(T),
    /// A page is complete.
    PageEnd { version: String, continue_token: String },
    /// An event with an object and its `resourceVersion`.
    Event(EventKind, T, String),
    /// A bookmark.
    Bookmark {
        version: String,
        ends_initial_events: bool,
    },
    /// An ERROR event.
    Error(Refusal),
    /// The body is complete.
    Ended,
    /// The connection ended before the body, or was silent for too long. No event or item is lost.
    CutOff,
    /// The rest of the body cannot be read or decoded.
    Broken(Failure),
    /// The time of [`ListWatch::settled_at`] is reached.
    Settled,
    /// The consumer needs a new list.
    Stale,
}

/// The next action on the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Continue to read the response.
    Read,
    /// Drop the connection, and report [`Input::Ready`] at this time.
    Wait(Instant),
    /// Send this request.
    Send(Request),
}

/// The result of an input.
#[derive(Debug)]
pub(super) struct Step<T> {
    pub(super) event: Option<WatchEvent<T>>,
    pub(super) next: Next,
}
