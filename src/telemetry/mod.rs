//! What the process reports about itself: logs, its own counters and the state of its watches.
//!
//! Imports `clock` and `domain` only, so that every other folder may report here.

pub mod checkpoint;
mod counters;
pub mod log_limit;
pub mod logging;
pub mod metrics;
pub mod monitor;
