//! The operator against a scripted API server: its requests, their order, and its reaction to every kind of response.
//!
//! Time is virtual: requests do not pass a network, so waits end at once.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a helper of a test panics where its expectation fails"
)]

mod access;
mod checkpoint;
mod cuts;
mod events;
mod exemptions;
mod leadership;
mod restored;
mod sinks;
mod stale;
mod start;
mod status;
mod streaming;
mod supervision;
mod watching;
