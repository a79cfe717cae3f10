//! Storms of changes, on a virtual clock that advances to the next timer.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests panic where their expectation fails"
)]

mod rig;
mod storms;
