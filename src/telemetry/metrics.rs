//! The operator's own counters: watch events, errors, writes and evaluation times.
//!
//! The parts that do the work count here, and `/metrics` shows the result. No label carries the name of an object.

use super::{checkpoint::CheckpointMetrics, counters::counters};
use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry};

/// Counters and histograms of the operator's own work.
pub struct Metrics {
    watch_events: IntCounter,
    watch_errors: IntCounterVec,
    api_writes: IntCounterVec,
    events_dropped: IntCounterVec,
    evaluation: Histogram,
    checkpoint: CheckpointMetrics,
    leader: IntGauge,
    tls_reloads: IntCounterVec,
    token_reviews: IntCounterVec,
}

/// Outcome of a comparison of the metrics certificate with its files that were changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsReload {
    /// The new certificate is in use.
    Ok,
    /// The files cannot be used.
    Error,
}

/// Outcome of the review of a bearer token of a metrics request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Review {
    /// The user may get the metrics.
    Allowed,
    /// The API server does not accept the token.
    Unauthenticated,
    /// The user may not get the metrics.
    Forbidden,
    /// The API server refused the review or could not be reached.
    Error,
    /// The API server did not respond in time.
    Timeout,
    /// The token was not reviewed, because a limit is reached.
    Limited,
}

/// Kind of a write to the API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteKind {
    /// An Event.
    Event,
    /// A policy's status.
    Status,
}

/// Outcome of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteOutcome {
    /// The API server accepted it.
    Ok,
    /// The API server refused it or could not be reached.
    Error,
    /// The API server did not respond in time.
    Timeout,
}

/// Reason why an Event was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropReason {
    /// The limit for one Pod is reached.
    PodLimit,
    /// The limit for all Pods together is reached.
    GlobalLimit,
    /// The event queue is full.
    QueueFull,
    /// The API server refused it and will not accept it later.
    Refused,
    /// Every attempt failed for too long.
    GaveUp,
    /// The operator stopped before it was written.
    Shutdown,
}

impl TlsReload {
    const ALL: [Self; 2] = [Self::Ok, Self::Error];

    /// Returns the label value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Error => "error",
        }
    }
}

impl Review {
    const ALL: [Self; 6] = [
        Self::Allowed,
        Self::Unauthenticated,
        Self::Forbidden,
        Self::Error,
        Self::Timeout,
        Self::Limited,
    ];

    /// Returns the label value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Unauthenticated => "unauthenticated",
            Self::Forbidden => "forbidden",
            Self::Error => "error",
            Self::Timeout => "timeout",
            Self::Limited => "limited",
        }
    }
}

impl WriteKind {
    const ALL: [Self; 2] = [Self::Event, Self::Status];

    /// Returns the label value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Event => "event",
            Self::Status => "status",
        }
    }
}

impl WriteOutcome {
    const ALL: [Self; 3] = [Self::Ok, Self::Error, Self::Timeout];

    /// Returns the label value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Error => "error",
            Self::Timeout => "timeout",
        }
    }
}

impl DropReason {
    const ALL: [Self; 6] = [
        Self::PodLimit,
        Self::GlobalLimit,
        Self::QueueFull,
        Self::Refused,
        Self::GaveUp,
        Self::Shutdown,
    ];

    /// Returns the label value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PodLimit => "pod_limit",
            Self::GlobalLimit => "global_limit",
            Self::QueueFull => "queue_full",
            Self::Refused => "refused",
            Self::GaveUp => "gave_up",
            Self::Shutdown => "shutdown",
        }
    }
}

impl Metrics {
    /// Creates the counters at zero.
    pub fn new() -> prometheus::Result<Self> {
        let vec = |name, help, labels: &[&str]| IntCounterVec::new(Opts::new(name, help), labels);
        let metrics = Self {
            watch_events: IntCounter::new(
                "sidewatch_watch_events_total",
                "Objects that lists and watches delivered.",
            )?,
            watch_errors: vec(
                "sidewatch_watch_errors_total",
                "Failed lists and watches, and objects that did not decode.",
                &["resource", "reason"],
            )?,
            api_writes: vec(
                "sidewatch_api_writes_total",
                "Writes to the API server: Events and statuses.",
                &["kind", "outcome"],
            )?,
            events_dropped: counters(
                "sidewatch_events_dropped_total",
                "Events that were not written.",
                "reason",
                DropReason::ALL.map(DropReason::as_str),
            )?,
            evaluation: Histogram::with_opts(
                HistogramOpts::new(
                    "sidewatch_evaluation_seconds",
                    "Time to apply one watch event or deadline to the index.",
                )
                .buckets(vec![
                    0.000_01, 0.000_05, 0.000_25, 0.001, 0.005, 0.025, 0.1, 0.5, 2.0,
                ]),
            )?,
            checkpoint: CheckpointMetrics::new()?,
            leader: IntGauge::new(
                "sidewatch_leader",
                "1 if this replica writes Events and statuses, 0 for a standby; always 1 without leader election.",
            )?,
            tls_reloads: counters(
                "sidewatch_metrics_tls_reloads_total",
                "Reads of a changed certificate of the metrics server.",
                "outcome",
                TlsReload::ALL.map(TlsReload::as_str),
            )?,
            token_reviews: counters(
                "sidewatch_metrics_reviews_total",
                "Reviews of the bearer tokens of metrics requests.",
                "outcome",
                Review::ALL.map(Review::as_str),
            )?,
        };
        for kind in WriteKind::ALL {
            for outcome in WriteOutcome::ALL {
                metrics.writes(kind, outcome);
            }
        }
        Ok(metrics)
    }

    /// Counts an object that a list or watch delivered.
    pub fn watch_event(&self) {
        self.watch_events.inc();
    }

    /// Counts a failed list or watch, or an object that does not decode.
    pub fn watch_error(&self, resource: &'static str, reason: &'static str) {
        self.watch_errors.with_label_values(&[resource, reason]).inc();
    }

    /// Counts a write.
    pub fn write(&self, kind: WriteKind, outcome: WriteOutcome) {
        self.writes(kind, outcome).inc();
    }

    /// Counts Events that will not be written.
    pub fn dropped(&self, reason: DropReason, events: u64) {
        self.events_dropped
            .with_label_values(&[reason.as_str()])
            .inc_by(events);
    }

    /// Records the duration of one step of the reconciler.
    pub fn evaluated(&self, took: std::time::Duration) {
        self.evaluation.observe(took.as_secs_f64());
    }

    /// Sets whether this replica writes.
    pub fn set_leader(&self, is_leader: bool) {
        self.leader.set(i64::from(is_leader));
    }

    /// Counts a read of a changed certificate of the metrics server.
    pub fn tls_reload(&self, outcome: TlsReload) {
        self.tls_reloads.with_label_values(&[outcome.as_str()]).inc();
    }

    /// Counts the review of a bearer token of a metrics request.
    pub fn review(&self, outcome: Review) {
        self.token_reviews.with_label_values(&[outcome.as_str()]).inc();
    }

    /// Returns the metrics of the checkpoint.
    pub fn checkpoint(&self) -> &CheckpointMetrics {
        &self.checkpoint
    }

    fn writes(&self, kind: WriteKind, outcome: WriteOutcome) -> IntCounter {
        self.api_writes
            .with_label_values(&[kind.as_str(), outcome.as_str()])
    }

    /// Adds the counters to a registry.
    pub fn register(&self, registry: &Registry) -> prometheus::Result<()> {
        let Self {
            watch_events,
            watch_errors,
            api_writes,
            events_dropped,
            evaluation,
            checkpoint,
            leader,
            tls_reloads,
            token_reviews,
        } = self;
        checkpoint.register(registry)?;
        registry.register(Box::new(watch_events.clone()))?;
        registry.register(Box::new(watch_errors.clone()))?;
        registry.register(Box::new(api_writes.clone()))?;
        registry.register(Box::new(events_dropped.clone()))?;
        registry.register(Box::new(evaluation.clone()))?;
        registry.register(Box::new(leader.clone()))?;
        registry.register(Box::new(tls_reloads.clone()))?;
        registry.register(Box::new(token_reviews.clone()))
    }
}

#[cfg(test)]
impl Metrics {
    /// Returns the value of a counter, by its series in the text format.
    pub(crate) fn counter(&self, series: &str) -> u64 {
        let registry = Registry::new();
        self.register(&registry).unwrap();
        let text = prometheus::TextEncoder::new()
            .encode_to_string(&registry.gather())
            .unwrap();
        let mut values = text
            .lines()
            .filter_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        values.next().unwrap().parse().unwrap()
    }
}
