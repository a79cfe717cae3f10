//! The list-watch of Pods.
//!
//! Input: a client and the scope. Output: an endless stream of [`WatchEvent`]s with [`LeanPod`]s. [`machine`] decides
//! the next action. [`connection`] sends HTTP requests and decodes the responses. [`exchange`] has the types between
//! them. This module connects the two: it waits, sends, reads, and passes inputs to the state machine.
//!
//! Pods have their own list-watch because kube's `watcher` supports only JSON and does not report when a watch was
//! answered.

mod connection;
mod exchange;
mod machine;

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use futures::{Stream, stream};
use k8s_openapi::api::core::v1::Pod;
use kube::{Client, Resource};
use tokio::{
    select,
    time::{Instant, sleep_until, timeout},
};

use self::{
    connection::{Answer, Selection, send},
    exchange::{Failure, Input, Next, Request, Step},
    machine::ListWatch,
};
use super::{
    decode::pod::LeanPod,
    recovery::Recovery,
    watch::{Selectors, WATCH_TIMEOUT, WatchEvent},
};
use crate::telemetry::{metrics::Metrics, monitor::Monitor};

/// Timeout of a response without new data. It is longer than the timeout of a watch, and the server sends bookmarks.
const IDLE: Duration = Duration::from_secs(WATCH_TIMEOUT as u64 + 5);
/// Timeout of the response to a check. It reads one object.
const CHECK_TIMEOUT: Duration = Duration::from_secs(10);

/// Lists and watches the selected Pods without end.
pub(super) fn watch_pods(
    client: Client,
    selectors: Selectors<'_>,
    monitor: Arc<Monitor>,
    metrics: Arc<Metrics>,
) -> impl Stream<Item = WatchEvent<LeanPod>> + Send + use<> {
    let (fields, labels) = selectors.options();
    // Boxed, because `unfold` moves the state for each event.
    let pods = Box::new(PodWatch {
        client,
        selection: Selection {
            path: Pod::url_path(&(), monitor.scope.as_deref()),
            fields,
            labels,
        },
        machine: ListWatch::new(Recovery::new(Arc::clone(&monitor), metrics)),
        monitor,
        connection: Connection::Waiting(Instant::now()),
    });
    stream::unfold(pods, |mut pods| async move {
        let event = pods.next().await;
        Some((event, pods))
    })
}

struct PodWatch {
    client: Client,
    selection: Selection,
    machine: ListWatch,
    monitor: Arc<Monitor>,
    connection: Connection,
}

/// The state of the connection.
enum Connection {
    /// Waiting until the time of the next request.
    Waiting(Instant),
    /// Waiting for the response.
    Sent(Pin<Box<dyn Future<Output = Result<Answer, Failure>> + Send>>),
    /// Reading the response.
    Open(Box<Answer>),
}

impl PodWatch {
    async fn next(&mut self) -> WatchEvent<LeanPod> {
        loop {
            let settled = self.machine.settled_at();
            let input = select! {
                biased;
                () = at(settled) => Input::Settled,
                input = self.connection.next() => input,
            };
            if self.machine.is_activity(&input) {
                self.monitor.pulse.record_activity();
            }
            let Step { event, next } = self.machine.step(input);
            match next {
                Next::Read => {}
                Next::Wait(until) => self.connection = Connection::Waiting(until),
                Next::Send(request) => {
                    let limit = matches!(request, Request::Check { .. }).then_some(CHECK_TIMEOUT);
                    let answer = send(self.client.clone(), self.selection.clone(), request);
                    self.connection = Connection::Sent(match limit {
                        Some(limit) => Box::pin(within(limit, answer)),
                        None => Box::pin(answer),
                    });
                }
            }
            if let Some(event) = event {
                return event;
            }
        }
    }
}

/// Waits for a response, for a limited time.
async fn within(
    limit: Duration,
    answer: impl Future<Output = Result<Answer, Failure>>,
) -> Result<Answer, Failure> {
    timeout(limit, answer).await.unwrap_or_else(|_elapsed| {
        let error = std::io::Error::from(std::io::ErrorKind::TimedOut);
        Err(kube::Error::ReadEvents(error).into())
    })
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

impl Connection {
    /// Waits for the next input. Cancel safe.
    async fn next(&mut self) -> Input<LeanPod> {
        loop {
            match self {
                Self::Waiting(until) => {
                    sleep_until(*until).await;
                    return Input::Ready;
                }
                Self::Sent(answer) => {
                    return match answer.await {
                        Ok(answer) => {
                            *self = Self::Open(Box::new(answer));
                            Input::Accepted
                        }
                        Err(failure) => Input::Refused(failure),
                    };
                }
                Self::Open(answer) => {
                    if let Some(input) = answer.next() {
                        return input;
                    }
                    match timeout(IDLE, answer.receive()).await {
                        Ok(Some(input)) => return input,
                        Ok(None) => {}
                        Err(_elapsed) => return Input::CutOff,
                    }
                }
            }
        }
    }
}
