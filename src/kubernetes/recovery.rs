//! Failure handling of a list-watch: the time of the last sync, the wait before the next attempt, and when a resumed
//! watch has caught up.
//!
//! The list-watch uses this module. The reconciler uses the same times after a late
//! wake. No I/O.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use kube::runtime::watcher;
use tokio::time::Instant;

use crate::{
    kubernetes::{
        backoff::Backoff,
        failure::{self, Reason},
    },
    telemetry::{metrics::Metrics, monitor::Monitor},
};

/// A resumed watch has caught up after this time without an event. The API server sends the changes of an outage right
/// after it accepts the resumed watch. They must be processed before the outage ends, or deadlines would act on
/// outdated state.
pub(crate) const QUIET: Duration = Duration::from_millis(500);
/// Maximum time until a resumed watch has caught up, for clusters in which events never pause for [`QUIET`].
pub(crate) const CATCH_UP: Duration = Duration::from_secs(3);
/// A timer that fires later than this after its time shows that the process did not run: CPU throttling, a suspended
/// machine, or a clock that was set forward. Events that arrived in between are not processed yet.
pub(crate) const LATE: Duration = Duration::from_secs(1);

/// The health of one watch and its back-off.
pub(super) struct Recovery {
    monitor: Arc<Monitor>,
    metrics: Arc<Metrics>,
    backoff: Backoff,
    last_wait: Duration,
    last_failure: Option<Reason>,
    healthy_since: Option<Instant>,
}

/// The result of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Outage {
    /// When the watch was last in sync.
    pub(super) last_synced: Timestamp,
    /// The wait before the next request.
    pub(super) wait: Duration,
}

impl Recovery {
    /// Creates the state of a watch that has not started.
    pub(super) fn new(monitor: Arc<Monitor>, metrics: Arc<Metrics>) -> Self {
        Self {
            monitor,
            metrics,
            backoff: Backoff::default(),
            last_wait: Duration::ZERO,
            last_failure: None,
            healthy_since: None,
        }
    }

    /// Records that the watch is in sync.
    pub(super) fn healthy(&mut self) {
        self.healthy_since = Some(Instant::now());
        self.monitor.in_sync();
    }

    /// Records that the watch may be out of sync. Returns when it was last in sync.
    pub(super) fn lost(&self) -> Timestamp {
        self.monitor.lost()
    }

    /// Counts a received object.
    pub(super) fn received(&self) {
        self.metrics.watch_event();
    }

    /// Records that an optional resource does not exist. Returns whether this replaces the first list, and the wait before the
    /// next request.
    pub(super) fn absent(&mut self, error: &watcher::Error) -> (bool, Duration) {
        let problem = failure::problem(error, self.monitor.resource, &self.monitor.scope);
        self.healthy_since = None;
        self.last_wait = self.backoff.next_wait();
        (self.monitor.absent(&problem), self.last_wait)
    }

    /// Returns the reason of the last failure.
    pub(super) fn last_failure(&self) -> Option<Reason> {
        self.last_failure
    }

    /// Counts and logs a failure of a request that is repeated. It does not end the list.
    pub(super) fn repeated(&self, error: &watcher::Error) {
        self.record(error);
    }

    fn record(&self, error: &watcher::Error) -> Reason {
        let reason = failure::reason(error);
        self.metrics
            .watch_error(self.monitor.resource.as_str(), reason.as_str());
        let problem = failure::problem(error, self.monitor.resource, &self.monitor.scope);
        self.monitor.failed(reason.as_str(), &problem);
        reason
    }

    /// Counts and logs a failure. `retry_after` is the wait that the API server requests.
    pub(super) fn failed(&mut self, error: &watcher::Error, retry_after: Option<Duration>) -> Outage {
        let last_synced = self.monitor.lost();
        let reason = self.record(error);

        // A watch that was healthy for less time than the last wait has not recovered. Otherwise a server that responds
        // and then fails at once would receive requests at the shortest wait.
        let recovered = self
            .healthy_since
            .take()
            .is_some_and(|since| since.elapsed() >= self.last_wait);
        // A 410 after other failures shows that the server is available again: long outages end this way.
        let before = self.last_failure.replace(reason);
        let is_available_again = reason == Reason::Gone && before != Some(Reason::Gone);
        if recovered || is_available_again {
            self.backoff.reset();
        }
        self.last_wait = self.backoff.next_wait_or(retry_after);
        Outage {
            last_synced,
            wait: self.last_wait,
        }
    }
}

/// A broken watch that resumes from its last resource version.
#[derive(Clone, Copy, Debug)]
pub(super) struct Resuming {
    answered: Option<Instant>,
    last_event: Instant,
}

impl Resuming {
    /// Creates the state of a watch that is not accepted yet.
    pub(super) fn new() -> Self {
        Self {
            answered: None,
            last_event: Instant::now(),
        }
    }

    /// Records that the API server accepted the watch.
    pub(super) fn answered(&mut self) {
        self.answered.get_or_insert_with(Instant::now);
    }

    /// Records that an event was received.
    pub(super) fn received(&mut self) {
        self.last_event = Instant::now();
    }

    /// Waits again, if the time at which the watch would have caught up passed more than [`LATE`] ago. The process then
    /// did not run, and events may wait that it has not processed. Returns whether the wait began again.
    pub(super) fn wait_again_if_late(&mut self) -> bool {
        let now = Instant::now();
        let is_late = self
            .settled_at()
            .is_some_and(|settled_at| now > settled_at + LATE);
        if is_late {
            self.answered = Some(now);
        }
        is_late
    }

    /// Returns when the watch has caught up if no further event arrives; `None` until the watch is accepted.
    pub(super) fn settled_at(&self) -> Option<Instant> {
        let answered = self.answered?;
        let quiet = self.last_event.max(answered) + QUIET;
        Some(quiet.min(answered + CATCH_UP))
    }
}
