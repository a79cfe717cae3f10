//! The state machine of a list-watch: chooses the next request and interprets the responses.
//!
//! Input: [`Input`]s, one at a time. Output: a [`Step`] for each: an event for the consumer, and the next action on the
//! network. No I/O. The only clock is that of tokio's timers.
//!
//! ```text
//!            ┌──────────── 410, ERROR event, undecodable event ───────────┐
//!            ▼                                                            │
//!     streaming list ──────────── initial-events-end ─────────────▶ watch from version ─┐
//!            │ ▲ 422, or cut off                                     ▲    │ ▲           │ end of the watch
//!            ▼ │                                                     │    │ └───────────┘
//!       paged list ──────────────── last page ───────────────────────┘    │ failure ▲
//!              │                                                          ▼         │
//!              └──────────────── versions went back ──────────────── version check ─┘
//! ```
//!
//! After a restore of etcd, the API server's versions are lower than that of a broken watch. It accepts a watch from a
//! version that it has not reached, and sends nothing until it reaches it. So the current version is compared before a
//! broken watch resumes, and after a watch that is cut off: etcd may have been restored behind a silent partition. A
//! watch that is cut off counts as broken only if that request fails.
//!
//! A page that the API server refuses with `Retry-After` is requested again, as client-go does. If the token of a page has
//! expired, one whole list follows, in one response: the watch needs a version at which all objects were read.

use std::time::Duration;

use jiff::Timestamp;
use kube::{core::Status, runtime::watcher};
use serde::de::Error as _;
use tokio::time::Instant;

use crate::kubernetes::{
    backoff::LONGEST_RETRY_AFTER,
    failure::{self, Reason},
    list_watch::exchange::{Failure, Input, Next, Request, Step},
    protobuf::{EventKind, Refusal},
    recovery::{Outage, Recovery, Resuming},
    watch::WatchEvent,
};

/// Minimum duration of a watch without events. A shorter one counts as failed, as in client-go: a server that accepts
/// and then ends each watch at once must not receive requests without a pause.
const SHORTEST_WATCH: Duration = Duration::from_secs(1);

/// Maximum number of repetitions of a page, as in client-go.
const MAX_REPETITIONS: u32 = 10;

/// How a kind is listed and watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mode {
    /// The list is a streaming list if the API server supports it. Otherwise it is always paged.
    pub(super) streaming: bool,
    /// A missing CRD means that there are no objects.
    pub(super) optional: bool,
}

/// The state of a list-watch.
pub(super) struct ListWatch {
    mode: Mode,
    request: Request,
    /// The number of repetitions of the current page.
    repetitions: u32,
    recovery: Recovery,
    /// Set while a broken watch resumes from its last version.
    resuming: Option<Resuming>,
    /// When the request was accepted.
    accepted: Option<Instant>,
    /// Whether the connection received an event.
    has_events: bool,
    /// Whether the consumer was informed that the list has begun.
    restarted: bool,
}

impl ListWatch {
    /// Creates a list-watch that begins with a list.
    pub(super) fn new(mode: Mode, recovery: Recovery) -> Self {
        Self {
            mode,
            request: mode.list(),
            repetitions: 0,
            recovery,
            resuming: None,
            accepted: None,
            has_events: false,
            restarted: false,
        }
    }

    /// Returns the reason of the last failure.
    pub(super) fn last_failure(&self) -> Option<Reason> {
        self.recovery.last_failure()
    }

    /// Returns when a resumed watch has caught up.
    pub(super) fn settled_at(&self) -> Option<Instant> {
        self.resuming.as_ref().and_then(Resuming::settled_at)
    }

    /// Processes one input.
    pub(super) fn step<T>(&mut self, input: Input<T>) -> Step<T> {
        match input {
            Input::Ready => self.send(),
            Input::Accepted => {
                self.accepted = Some(Instant::now());
                self.has_events = false;
                if let (Some(resuming), Request::Watch { .. }) = (&mut self.resuming, &self.request) {
                    resuming.answered();
                }
                read(None)
            }
            Input::Refused(failure) => self.refused(failure),
            Input::Item(_) if matches!(self.request, Request::Check { .. }) => read(None),
            Input::Item(object) => {
                self.recovery.received();
                read(Some(WatchEvent::Listed(object)))
            }
            Input::PageEnd {
                version,
                continue_token,
            } => self.page_end(version, continue_token),
            Input::Event(kind, object, version) => self.event(kind, object, version),
            Input::Bookmark {
                version,
                ends_initial_events,
            } => self.bookmark(version, ends_initial_events),
            Input::Error(Refusal { status, retry_after }) => {
                self.fail(&watcher::Error::WatchError(status), retry_after)
            }
            Input::Ended | Input::CutOff if !self.is_watching() => self.incomplete(),
            Input::Ended => self.ended(),
            Input::CutOff => self.cut_off(),
            Input::Broken(failure) => {
                let Failure { error, retry_after } = failure;
                let error = if self.is_listing() {
                    watcher::Error::InitialListFailed(error)
                } else {
                    watcher::Error::WatchFailed(error)
                };
                self.fail(&error, retry_after)
            }
            Input::Stale => self.relist(),
            Input::Settled => {
                if self.resuming.as_mut().is_some_and(Resuming::wait_again_if_late) {
                    return read(None);
                }
                self.resuming = None;
                self.recovery.healthy();
                read(Some(WatchEvent::Resumed))
            }
        }
    }

    /// Sends the request. Before the first request of a list, reports to the consumer that a list begins.
    fn send<T>(&mut self) -> Step<T> {
        let begins = self.is_listing() && !self.restarted;
        let event = begins.then(|| {
            self.restarted = true;
            WatchEvent::Restarted {
                last_synced: self.recovery.lost(),
            }
        });
        self.accepted = None;
        let next = Next::Send(self.request.clone());
        Step { event, next }
    }

    fn refused<T>(&mut self, failure: Failure) -> Step<T> {
        let Failure { error, retry_after } = failure;
        if self.request == Request::StreamingList && is_refused_streaming_list(&error) {
            self.request = Request::Page { continue_token: None };
            return self.send();
        }
        if !self.is_listing() {
            return self.fail(&watcher::Error::WatchStartFailed(error), retry_after);
        }
        let error = watcher::Error::InitialListFailed(error);
        let Request::Page { continue_token } = &self.request else {
            return self.fail(&error, retry_after);
        };
        let reason = failure::reason(&error);
        if let Some(wait) = repetition(reason, retry_after, self.repetitions) {
            self.repetitions += 1;
            self.recovery.repeated(&error);
            let next = Next::Wait(Instant::now() + wait);
            return Step { event: None, next };
        }
        if reason == Reason::Gone && continue_token.is_some() {
            self.recovery.repeated(&error);
            self.request = Request::WholeList;
            // Objects of the earlier pages may have been deleted since.
            self.restarted = false;
            return self.send();
        }
        self.fail(&error, retry_after)
    }

    /// Starts over with a list.
    fn relist<T>(&mut self) -> Step<T> {
        self.request = self.mode.list();
        self.repetitions = 0;
        self.resuming = None;
        self.restarted = false;
        self.send()
    }

    /// Reports whether the request is a watch whose list is complete.
    fn is_watching(&self) -> bool {
        matches!(self.request, Request::Watch { .. })
    }

    /// Reports whether an input shows that the known objects are current. The response of a check does not: the watch may
    /// be silent although other requests succeed.
    pub(super) fn is_activity<T>(&self, input: &Input<T>) -> bool {
        match input {
            Input::Item(_) | Input::PageEnd { .. } => self.is_listing(),
            Input::Event(..) | Input::Bookmark { .. } => true,
            Input::Ended => self.is_watching() && !self.is_short_and_empty(),
            _ => false,
        }
    }

    /// Reports whether the request is a list, and not a watch or the check before one.
    fn is_listing(&self) -> bool {
        matches!(
            self.request,
            Request::StreamingList | Request::Page { .. } | Request::WholeList
        )
    }

    fn page_end<T>(&mut self, version: String, continue_token: String) -> Step<T> {
        if let Request::Check { version: last } = &mut self.request {
            let last = std::mem::take(last);
            return self.checked(last, &version);
        }
        self.repetitions = 0;
        if !continue_token.is_empty() {
            self.request = Request::Page {
                continue_token: Some(continue_token),
            };
            return self.send();
        }
        if version.is_empty() {
            let error = serde_json::Error::custom("the list has no metadata.resourceVersion");
            return self.step(Input::Broken(kube::Error::SerdeError(error).into()));
        }
        self.complete(version);
        let Step { next, .. } = self.send::<T>();
        Step {
            event: Some(WatchEvent::Complete),
            next,
        }
    }

    /// Resumes the watch from `last`, or lists again if the API server's current version is lower.
    fn checked<T>(&mut self, last: String, current: &str) -> Step<T> {
        if went_back(&last, current) {
            let message = format!("the resource version went back from {last} to {current}");
            let status = Status::failure(&message, "Expired").with_code(410).boxed();
            return self.fail(&watcher::Error::WatchError(status), None);
        }
        self.request = Request::Watch { version: last };
        self.send()
    }

    fn event<T>(&mut self, kind: EventKind, object: T, version: String) -> Step<T> {
        self.has_events = true;
        if let Some(resuming) = &mut self.resuming {
            resuming.received();
        }
        if version.is_empty() {
            return self.fail(&watcher::Error::NoResourceVersion, None);
        }
        self.recovery.received();
        let listed = match &mut self.request {
            Request::Watch { version: last } => {
                *last = version;
                false
            }
            _ => true,
        };
        read(Some(match kind {
            EventKind::Applied if listed => WatchEvent::Listed(object),
            EventKind::Applied => WatchEvent::Applied(object),
            // A streaming list may include changes that happen before its end.
            EventKind::Deleted => WatchEvent::Deleted(object),
        }))
    }

    fn bookmark<T>(&mut self, version: String, ends_initial_events: bool) -> Step<T> {
        self.has_events = true;
        if version.is_empty() {
            return self.fail(&watcher::Error::NoResourceVersion, None);
        }
        match &mut self.request {
            Request::Watch { version: last } => {
                *last = version;
                read(None)
            }
            _ if ends_initial_events => {
                self.complete(version);
                read(Some(WatchEvent::Complete))
            }
            _ => read(None),
        }
    }

    /// Completes the list at this version.
    fn complete(&mut self, version: String) {
        self.recovery.healthy();
        self.request = Request::Watch { version };
        self.restarted = false;
    }

    /// Handles the end of a list or check that is not complete.
    fn incomplete<T>(&mut self) -> Step<T> {
        self.end_of_file("the list is not complete")
    }

    /// Handles the end of a watch. It continues at once from the version of its last event.
    fn ended<T>(&mut self) -> Step<T> {
        if self.is_short_and_empty() {
            return self.end_of_file("the watch ended at once and without an event");
        }
        self.wait_for_answer();
        self.send()
    }

    /// Handles a watch that is cut off. It continues at once if the version has not gone back.
    fn cut_off<T>(&mut self) -> Step<T> {
        if self.is_short_and_empty() {
            return self.end_of_file("the connection ended at once");
        }
        self.wait_for_answer();
        if let Request::Watch { version } = &mut self.request {
            let version = std::mem::take(version);
            self.request = Request::Check { version };
        }
        self.send()
    }

    /// Reports whether the watch ended at once and without an event.
    fn is_short_and_empty(&self) -> bool {
        let accepted = self.accepted;
        !self.has_events && accepted.is_some_and(|accepted| accepted.elapsed() < SHORTEST_WATCH)
    }

    /// Makes a watch that resumes wait until its next request is accepted. It has not caught up before.
    fn wait_for_answer(&mut self) {
        if let Some(resuming) = &mut self.resuming {
            *resuming = Resuming::new();
        }
    }

    fn end_of_file<T>(&mut self, message: &'static str) -> Step<T> {
        let error = std::io::Error::new(std::io::ErrorKind::UnexpectedEof, message);
        self.step(Input::Broken(kube::Error::ReadEvents(error).into()))
    }

    /// Treats the missing CRD of an optional resource as an empty list, if it is the first one. Later, the known objects stay:
    /// their deletion comes before that of their CRD.
    fn absent<T>(&mut self, error: &watcher::Error) -> Step<T> {
        let (is_first, wait) = self.recovery.absent(error);
        self.resuming = None;
        self.restarted = false;
        self.request = self.mode.list();
        let event = if is_first {
            WatchEvent::Complete
        } else {
            let last_synced = Timestamp::MIN;
            WatchEvent::Disconnected { last_synced }
        };
        Step {
            event: Some(event),
            next: Next::Wait(Instant::now() + wait),
        }
    }

    /// Counts the failure, and waits before the next request: the same watch if it can resume, else a list.
    fn fail<T>(&mut self, error: &watcher::Error, retry_after: Option<Duration>) -> Step<T> {
        self.repetitions = 0;
        if self.mode.optional && failure::reason(error) == Reason::NotFound {
            return self.absent(error);
        }
        let Outage { last_synced, wait } = self.recovery.failed(error, retry_after);
        let resumed = match &mut self.request {
            Request::Watch { version } | Request::Check { version } if failure::can_resume(error) => {
                Some(std::mem::take(version))
            }
            _ => None,
        };
        self.resuming = None;
        if let Some(version) = resumed {
            self.resuming = Some(Resuming::new());
            self.request = Request::Check { version };
        } else {
            // A streaming list that was cut off may fail each time, for example because it takes too long.
            let broke_off = self.request == Request::StreamingList && self.accepted.is_some();
            self.request = if broke_off {
                Request::Page { continue_token: None }
            } else {
                self.mode.list()
            };
            self.restarted = false;
        }
        Step {
            event: Some(WatchEvent::Disconnected { last_synced }),
            next: Next::Wait(Instant::now() + wait),
        }
    }
}

impl Mode {
    /// Returns the first request of a list.
    fn list(self) -> Request {
        if self.streaming {
            Request::StreamingList
        } else {
            Request::Page { continue_token: None }
        }
    }
}

/// Returns the wait before a page is requested again, or `None` if it is not: as in client-go, the API server must request a
/// wait, and the number of repetitions is limited.
pub(super) fn repetition(
    reason: Reason,
    retry_after: Option<Duration>,
    repetitions: u32,
) -> Option<Duration> {
    let is_repeated = matches!(reason, Reason::Throttled | Reason::Server | Reason::Timeout);
    let wait = retry_after.filter(|_| is_repeated && repetitions < MAX_REPETITIONS)?;
    Some(wait.min(LONGEST_RETRY_AFTER))
}

/// Reports whether the current version is lower than the last one. Versions that are not numbers cannot be compared.
fn went_back(last: &str, current: &str) -> bool {
    match (last.parse::<u64>(), current.parse::<u64>()) {
        (Ok(last), Ok(current)) => current < last,
        _ => false,
    }
}

fn read<T>(event: Option<WatchEvent<T>>) -> Step<T> {
    let next = Next::Read;
    Step { event, next }
}

/// Reports whether the API server does not support streaming lists: they are off by default in Kubernetes 1.30, 1.31
/// and 1.33.
fn is_refused_streaming_list(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if matches!(**status, Status { code: 400 | 422, .. }))
}

#[cfg(test)]
mod tests;
