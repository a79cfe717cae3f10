//! The operator against a scripted API server: what it asks, in which order, and how it lives through every answer.
//! A module per subject.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests panic where their expectation fails"
)]

mod access;
mod cuts;
mod events;
mod sinks;
mod status;
mod watching;
