//! The operator's binary with a real API server, its ServiceAccount and role, and a simulated kubelet.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests may say what they expect by panicking"
)]

mod exemptions;
mod findings;
mod lists;
mod memory_limit;
mod older_crds;
mod policies;
mod protected_metrics;
mod support;
mod threats;
