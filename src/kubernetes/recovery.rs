//! How a list-watch deals with failures: when the picture was last complete, how long to wait before the next try, and
//! when a resumed watch has caught up.
//!
//! Shared by the Pod list-watch and the watches on kube-runtime. No I/O.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use kube::runtime::watcher;
use tokio::time::Instant;

use crate::{
    kubernetes::backoff::Backoff,
    kubernetes::failure::{self, Reason},
    telemetry::{metrics::Metrics, monitor::Monitor},
};

/// What happened during an outage comes right after the resumed watch is answered. It is taken in before the outage
/// counts as over, or deadlines would act on what the server is about to correct: it is over after this much silence,
const QUIET: Duration = Duration::from_millis(500);
/// and in a cluster that is never silent after this.
const CATCH_UP: Duration = Duration::from_secs(3);

/// The health of one watch and its back-off.
pub(super) struct Recovery {
    monitor: Arc<Monitor>,
    metrics: Arc<Metrics>,
    backoff: Backoff,
    last_wait: Duration,
    last_failure: Option<Reason>,
    healthy_since: Option<Instant>,
}

/// What a failure means for the watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Outage {
    /// When the picture was last complete.
    pub(super) last_synced: Timestamp,
    /// How long to wait before the next request.
    pub(super) wait: Duration,
}

impl Recovery {
    /// A watch that has not begun.
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

    /// The picture is complete.
    pub(super) fn healthy(&mut self) {
        self.healthy_since = Some(Instant::now());
        self.monitor.in_sync();
    }

    /// The picture may be out of date. Returns when it was last complete.
    pub(super) fn lost(&self) -> Timestamp {
        self.monitor.lost()
    }

    /// An object was received.
    pub(super) fn received(&self) {
        self.metrics.watch_event();
    }

    /// Counts and logs a failure. `asked` is how long the API server asks to wait.
    pub(super) fn failed(&mut self, error: &watcher::Error, asked: Option<Duration>) -> Outage {
        let last_synced = self.monitor.lost();
        let reason = failure::reason(error);
        self.metrics
            .watch_error(self.monitor.resource.as_str(), reason.as_str());
        let problem = failure::problem(error, self.monitor.resource, &self.monitor.scope);
        self.monitor.failed(reason.as_str(), &problem);

        // A watch that held no longer than the wait before it has not recovered: a server that answers and then fails
        // at once must not be asked ever faster.
        let recovered = self
            .healthy_since
            .take()
            .is_some_and(|since| since.elapsed() >= self.last_wait);
        // A server that has forgotten our version after other failures is back: that is how long outages end.
        let before = self.last_failure.replace(reason);
        let back = reason == Reason::Gone && before != Some(Reason::Gone);
        if recovered || back {
            self.backoff.reset();
        }
        self.last_wait = self.backoff.next_wait_or(asked);
        Outage {
            last_synced,
            wait: self.last_wait,
        }
    }
}

/// A broken watch that goes on from the last version that it saw.
#[derive(Clone, Copy, Debug)]
pub(super) struct Resuming {
    answered: Option<Instant>,
    last_event: Instant,
}

impl Resuming {
    /// A watch that is not answered yet.
    pub(super) fn new() -> Self {
        Self {
            answered: None,
            last_event: Instant::now(),
        }
    }

    /// The API server answered the watch.
    pub(super) fn answered(&mut self) {
        self.answered.get_or_insert_with(Instant::now);
    }

    /// An event was received.
    pub(super) fn received(&mut self) {
        self.last_event = Instant::now();
    }

    /// Whether the watch is answered.
    pub(super) fn is_answered(&self) -> bool {
        self.answered.is_some()
    }

    /// When the watch has caught up, as far as that is known; `None` until it is answered.
    pub(super) fn settled_at(&self) -> Option<Instant> {
        let answered = self.answered?;
        let quiet = self.last_event.max(answered) + QUIET;
        Some(quiet.min(answered + CATCH_UP))
    }
}
