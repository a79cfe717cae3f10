//! Storms of changes, and slow or silent HTTP clients. Most tests use a virtual clock that advances to the next timer.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests panic where their expectation fails"
)]

mod rig;
mod servers;
mod storms;
