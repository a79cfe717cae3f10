//! The metrics of the checkpoint.

use jiff::Timestamp;
use prometheus::{Gauge, IntCounterVec, IntGauge, Registry};

use super::counters::counters;

/// The metrics of the checkpoint.
pub struct CheckpointMetrics {
    last_write: Gauge,
    size: IntGauge,
    omitted: IntGauge,
    writes: IntCounterVec,
    ignored: IntCounterVec,
}

/// The reasons why a checkpoint is ignored, as label values.
const IGNORED: [&str; 8] = [
    "checksum",
    "content",
    "foreign",
    "future",
    "missing",
    "too_large",
    "truncated",
    "version",
];

/// The outcome of a write of the checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckpointWrite {
    /// The API server accepted it.
    Ok,
    /// Another client wrote the object in the meantime. The checkpoints are merged, and the write is repeated.
    Conflict,
    /// The API server refused it or could not be reached.
    Error,
    /// The API server did not respond in time.
    Timeout,
}

impl CheckpointWrite {
    const ALL: [Self; 4] = [Self::Ok, Self::Conflict, Self::Error, Self::Timeout];

    /// Returns the label value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Conflict => "conflict",
            Self::Error => "error",
            Self::Timeout => "timeout",
        }
    }
}

impl CheckpointMetrics {
    /// Creates the metrics.
    pub fn new() -> prometheus::Result<Self> {
        Ok(Self {
            last_write: Gauge::new(
                "sidewatch_checkpoint_last_write_timestamp_seconds",
                "Time of the last successful write of the checkpoint by this replica, 0 before the first.",
            )?,
            size: IntGauge::new(
                "sidewatch_checkpoint_size_bytes",
                "Size of the checkpoint that this replica wrote last.",
            )?,
            omitted: IntGauge::new(
                "sidewatch_checkpoint_entries_omitted",
                "Entries that the checkpoint does not contain because of its size limit.",
            )?,
            writes: counters(
                "sidewatch_checkpoint_writes_total",
                "Writes of the checkpoint.",
                "outcome",
                CheckpointWrite::ALL.map(CheckpointWrite::as_str),
            )?,
            ignored: counters(
                "sidewatch_checkpoint_ignored_total",
                "Checkpoints that were read and could not be used.",
                "reason",
                IGNORED,
            )?,
        })
    }

    /// Counts a write.
    pub fn write(&self, outcome: CheckpointWrite) {
        self.writes.with_label_values(&[outcome.as_str()]).inc();
    }

    /// Records a successful write.
    pub fn written(&self, now: Timestamp, size: usize, omitted: u32) {
        self.last_write
            .set(now.duration_since(Timestamp::UNIX_EPOCH).as_secs_f64());
        self.size.set(i64::try_from(size).unwrap_or(i64::MAX));
        self.omitted.set(omitted.into());
    }

    /// Counts a checkpoint that could not be used.
    pub fn ignored(&self, reason: &'static str) {
        self.ignored.with_label_values(&[reason]).inc();
    }

    pub(super) fn register(&self, registry: &Registry) -> prometheus::Result<()> {
        let Self {
            last_write,
            size,
            omitted,
            writes,
            ignored,
        } = self;
        registry.register(Box::new(last_write.clone()))?;
        registry.register(Box::new(size.clone()))?;
        registry.register(Box::new(omitted.clone()))?;
        registry.register(Box::new(writes.clone()))?;
        registry.register(Box::new(ignored.clone()))
    }
}
