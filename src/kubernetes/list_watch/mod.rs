//! The list-watch of a kind of objects.
//!
//! Input: a client, the scope and the selection. Output: an endless stream of [`WatchEvent`]s with [`Decoded`] objects, or
//! one complete list. [`machine`] decides the next action. [`connection`] sends HTTP requests and decodes the responses.
//! [`exchange`] has the types between them. This module connects the two: it waits, sends, reads, and passes inputs to the
//! state machine.
//!
//! kube's `watcher` is not used. It reads JSON only and a page at a time, one object can fail its list, a page is not
//! repeated, and it does not report when a watch was answered.

mod connection;
mod exchange;
mod machine;
pub(crate) mod single;

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use futures::{Stream, stream};
use k8s_openapi::{ClusterResourceScope, NamespaceResourceScope};
use kube::{Client, Resource, runtime::watcher};
use tokio::{
    select,
    time::{Instant, sleep, sleep_until, timeout},
};

pub(crate) use self::connection::Selection;
use self::{
    connection::{Answer, PAGE, WATCH_TIMEOUT, send},
    exchange::{Failure, Input, Next, Request, Step},
    machine::{ListWatch, Mode, repetition},
};
use super::{
    decode::object::{Decoded, Object},
    failure::{self, Reason},
    recovery::Recovery,
    watch::{Selectors, WatchEvent},
};
use crate::{
    domain::index::Scope,
    telemetry::{metrics::Metrics, monitor::Monitor},
};

/// Timeout of a response without new data. It is longer than the timeout of a watch, and the server sends bookmarks.
const IDLE: Duration = Duration::from_secs(WATCH_TIMEOUT as u64 + 5);
/// Timeout of the response to a check. It reads one object.
const CHECK_TIMEOUT: Duration = Duration::from_secs(10);

impl Selection {
    /// Selects objects of the collection at a path.
    pub(crate) fn new(path: String, selectors: Selectors<'_>) -> Self {
        let (fields, labels) = selectors.options();
        Self {
            path,
            fields,
            labels,
            limit: PAGE,
        }
    }

    /// Sets the number of objects in a page.
    pub(crate) fn with_limit(self, limit: u32) -> Self {
        Self { limit, ..self }
    }
}

/// Returns the path of the objects of a namespaced kind in a scope.
pub(crate) fn in_scope<K>(scope: &Scope) -> String
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
{
    K::url_path(&(), scope.as_deref())
}

/// Returns the path of the objects of a kind that is not namespaced.
pub(crate) fn in_cluster<K>() -> String
where
    K: Resource<Scope = ClusterResourceScope, DynamicType = ()>,
{
    K::url_path(&(), None)
}

/// Lists and watches the selected objects without end.
pub(crate) fn watch<T: Object>(
    client: Client,
    selection: Selection,
    monitor: Arc<Monitor>,
    metrics: Arc<Metrics>,
) -> impl Stream<Item = WatchEvent<Decoded<T>>> + Send + use<T> {
    let optional = monitor.resource.is_optional();
    // Boxed, because `unfold` moves the state for each event.
    let objects = Box::new(ObjectWatch::new(client, selection, optional, monitor, metrics));
    stream::unfold(objects, |mut objects| async move {
        let event = objects.next().await;
        Some((event, objects))
    })
}

/// Lists the selected objects once. Fails at the first failure that does not permit to repeat a page.
pub(crate) async fn list<T: Object>(
    client: Client,
    selection: Selection,
    monitor: Arc<Monitor>,
    metrics: Arc<Metrics>,
) -> Result<Vec<Decoded<T>>, (Reason, String)> {
    let mut watch = ObjectWatch::new(client, selection, false, Arc::clone(&monitor), metrics);
    let mut objects = Vec::new();
    loop {
        match watch.next().await {
            WatchEvent::Restarted { .. } => objects.clear(),
            WatchEvent::Listed(object) => objects.push(object),
            WatchEvent::Complete => return Ok(objects),
            WatchEvent::Disconnected { .. } => {
                let reason = watch.machine.last_failure().unwrap_or(Reason::Other);
                return Err((reason, monitor.not_ready_reason().unwrap_or_default()));
            }
            WatchEvent::Applied(_) | WatchEvent::Deleted(_) | WatchEvent::Resumed => {}
        }
    }
}

/// One page of a list.
pub(crate) struct Page<T> {
    pub(crate) objects: Vec<Decoded<T>>,
    /// The token of the next page.
    pub(crate) next: Option<String>,
}

/// Reads one page of a list. A page that is refused with `Retry-After` is requested again. If the token has expired, the list
/// continues with the token of the API server, with what exists now.
pub(crate) async fn page<T: Object>(
    client: &Client,
    selection: &Selection,
    mut continue_token: Option<String>,
) -> watcher::Result<Page<T>> {
    let (mut repetitions, mut is_inconsistent) = (0, false);
    loop {
        let page = connection::page(client.clone(), selection.clone(), continue_token.clone());
        let Failure { error, retry_after } = match page.await {
            Ok(page) => return Ok(page),
            Err(failure) => failure,
        };
        let token = inconsistent_token(&error).filter(|_| continue_token.is_some() && !is_inconsistent);
        let error = watcher::Error::InitialListFailed(error);
        if let Some(wait) = repetition(failure::reason(&error), retry_after, repetitions) {
            repetitions += 1;
            sleep(wait).await;
        } else if token.is_some() {
            (continue_token, is_inconsistent) = (token, true);
        } else {
            return Err(error);
        }
    }
}

/// Returns the token with which a list can continue after its own has expired: the objects are then of different versions.
fn inconsistent_token(error: &kube::Error) -> Option<String> {
    match error {
        kube::Error::Api(status) if status.code == 410 => status.metadata.as_ref()?.continue_.clone(),
        _ => None,
    }
}

struct ObjectWatch<T> {
    client: Client,
    selection: Selection,
    machine: ListWatch,
    monitor: Arc<Monitor>,
    connection: Connection<T>,
}

/// The state of the connection.
enum Connection<T> {
    /// Waiting until the time of the next request.
    Waiting(Instant),
    /// Waiting for the response.
    Sent(Pin<Box<dyn Future<Output = Result<Answer<T>, Failure>> + Send>>),
    /// Reading the response.
    Open(Box<Answer<T>>),
}

impl<T: Object> ObjectWatch<T> {
    fn new(
        client: Client,
        selection: Selection,
        optional: bool,
        monitor: Arc<Monitor>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let mode = Mode {
            streaming: T::HAS_PROTOBUF,
            optional,
        };
        Self {
            client,
            selection,
            machine: ListWatch::new(mode, Recovery::new(Arc::clone(&monitor), metrics)),
            monitor,
            connection: Connection::Waiting(Instant::now()),
        }
    }

    async fn next(&mut self) -> WatchEvent<Decoded<T>> {
        loop {
            let settled = self.machine.settled_at();
            let input = select! {
                biased;
                () = at(settled) => Input::Settled,
                input = self.connection.next() => input,
                () = self.monitor.pulse.list_requested() => Input::Stale,
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
async fn within<T>(
    limit: Duration,
    answer: impl Future<Output = Result<Answer<T>, Failure>>,
) -> Result<Answer<T>, Failure> {
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

impl<T: Object> Connection<T> {
    /// Waits for the next input. Cancel safe.
    async fn next(&mut self) -> Input<Decoded<T>> {
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
