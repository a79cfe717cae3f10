//! The operator's own binary on a real API server, under its own ServiceAccount and role; the kubelet is played.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests may say what they expect by panicking"
)]

mod access;
mod findings;
mod policies;
mod restart;
mod support;
