//! What `/metrics` shows.
//!
//! Two kinds of series: those about Pods and policies are computed from the index at each scrape ([`model`]), so that
//! none outlives its object; those about the operator itself are counted here as things happen. No series of the
//! second kind carries the name of an object. Nothing here decides or writes anything.

mod model;

use std::sync::{Arc, Mutex};

use http::StatusCode;
use prometheus::{
    Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry, TEXT_FORMAT, TextEncoder,
    process_collector::ProcessCollector,
};

use self::model::ModelCollector;
use crate::{
    domain::index::Index,
    http::health::Health,
    http::server::{Page, Pages},
};

/// What the operator counts about itself.
pub struct Metrics {
    watch_events: IntCounter,
    watch_errors: IntCounterVec,
    api_writes: IntCounterVec,
    events_dropped: IntCounterVec,
    evaluation: Histogram,
}

/// The kind of a write to the API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteKind {
    /// An Event.
    Event,
    /// A policy's status.
    Status,
}

/// How a write ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteOutcome {
    /// The API server holds what we wanted.
    Ok,
    /// It refused, or could not be reached.
    Error,
    /// It did not answer in time.
    Timeout,
}

/// Why an Event was not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropReason {
    /// Its Pod had too many.
    PodLimit,
    /// All Pods together had too many.
    GlobalLimit,
    /// Too many wait to be written.
    QueueFull,
    /// The API server refused it for good.
    Refused,
    /// The API server could not take it for too long.
    GaveUp,
    /// The operator stopped before it was written.
    Shutdown,
}

impl WriteKind {
    /// The label's value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Event => "event",
            Self::Status => "status",
        }
    }
}

impl WriteOutcome {
    /// The label's value.
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

    /// The label's value.
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
    /// Counters at zero. Those whose labels are known are there from the start: a rate needs a zero to rise from.
    pub fn new() -> prometheus::Result<Self> {
        let vec = |name, help, labels: &[&str]| IntCounterVec::new(Opts::new(name, help), labels);
        let metrics = Self {
            watch_events: IntCounter::new(
                "sidewatch_watch_events_total",
                "Objects that lists and watches brought.",
            )?,
            watch_errors: vec(
                "sidewatch_watch_errors_total",
                "Failed tries to list or watch, and objects that did not decode.",
                &["resource", "reason"],
            )?,
            api_writes: vec(
                "sidewatch_api_writes_total",
                "Writes to the API server: Events and statuses.",
                &["kind", "outcome"],
            )?,
            events_dropped: vec(
                "sidewatch_events_dropped_total",
                "Events that were not written.",
                &["reason"],
            )?,
            evaluation: Histogram::with_opts(
                HistogramOpts::new(
                    "sidewatch_evaluation_seconds",
                    "Time to take in one fact and judge what it changes.",
                )
                .buckets(vec![
                    0.000_01, 0.000_05, 0.000_25, 0.001, 0.005, 0.025, 0.1, 0.5, 2.0,
                ]),
            )?,
        };
        for kind in [WriteKind::Event, WriteKind::Status] {
            for outcome in [WriteOutcome::Ok, WriteOutcome::Error, WriteOutcome::Timeout] {
                metrics.writes(kind, outcome).inc_by(0);
            }
        }
        for reason in DropReason::ALL {
            metrics
                .events_dropped
                .with_label_values(&[reason.as_str()])
                .inc_by(0);
        }
        Ok(metrics)
    }

    /// A list or watch brought an object.
    pub fn watch_event(&self) {
        self.watch_events.inc();
    }

    /// A list or watch failed, or brought something that does not decode.
    pub fn watch_error(&self, resource: &'static str, reason: &'static str) {
        self.watch_errors.with_label_values(&[resource, reason]).inc();
    }

    /// A write ended.
    pub fn write(&self, kind: WriteKind, outcome: WriteOutcome) {
        self.writes(kind, outcome).inc();
    }

    /// Events will not be written.
    pub fn dropped(&self, reason: DropReason, events: u64) {
        self.events_dropped
            .with_label_values(&[reason.as_str()])
            .inc_by(events);
    }

    /// A fact was taken in.
    pub fn evaluated(&self, took: std::time::Duration) {
        self.evaluation.observe(took.as_secs_f64());
    }

    fn writes(&self, kind: WriteKind, outcome: WriteOutcome) -> IntCounter {
        self.api_writes
            .with_label_values(&[kind.as_str(), outcome.as_str()])
    }

    fn register(&self, registry: &Registry) -> prometheus::Result<()> {
        let Self {
            watch_events,
            watch_errors,
            api_writes,
            events_dropped,
            evaluation,
        } = self;
        registry.register(Box::new(watch_events.clone()))?;
        registry.register(Box::new(watch_errors.clone()))?;
        registry.register(Box::new(api_writes.clone()))?;
        registry.register(Box::new(events_dropped.clone()))?;
        registry.register(Box::new(evaluation.clone()))
    }
}

/// The page `/metrics`.
pub struct MetricsPages {
    registry: Registry,
}

impl MetricsPages {
    /// Shows the operator's own counters, the model and the state of the watches.
    pub fn new(metrics: &Metrics, index: Arc<Mutex<Index>>, health: Arc<Health>) -> prometheus::Result<Self> {
        let registry = Registry::new();
        metrics.register(&registry)?;
        registry.register(Box::new(ModelCollector::new(index, health)?))?;
        registry.register(Box::new(ProcessCollector::for_self()))?;
        let build = IntGauge::with_opts(
            Opts::new(
                "sidewatch_build_info",
                "The version that runs; the value is always 1.",
            )
            .const_label("version", env!("CARGO_PKG_VERSION")),
        )?;
        build.set(1);
        registry.register(Box::new(build))?;
        Ok(Self { registry })
    }

    /// The series in the text format.
    pub fn text(&self) -> prometheus::Result<String> {
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}

impl Pages for MetricsPages {
    fn page(&self, path: &str) -> Option<Page> {
        if path != "/metrics" {
            return None;
        }
        Some(match self.text() {
            Ok(body) => Page {
                status: StatusCode::OK,
                content_type: TEXT_FORMAT,
                body,
            },
            Err(error) => Page::text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
        })
    }
}

#[cfg(test)]
mod tests;
