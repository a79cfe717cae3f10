//! The evaluation, pure: std, jiff and regex only. `now` is an argument; nothing here reads a clock, waits, writes
//! or logs.

pub mod effects;
pub mod hash;
pub mod observation;
pub mod pattern;
pub mod policy;
pub mod selector;
pub mod summary;
pub mod time;
