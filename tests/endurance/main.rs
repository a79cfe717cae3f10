//! What an operator goes through in its life, on a clock that jumps from one moment with something to do to the next:
//! storms that would flood it, and long times in which nothing happens.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests panic where their expectation fails"
)]

mod rig;
mod servers;
mod storms;
