//! The evaluation, pure: std, jiff and regex only. `now` is an argument; nothing here reads a clock, waits, writes
//! or logs.
//!
//! ```text
//! observation ─┐
//!              ├─ roles ─ checks ─ tracker ─┐
//! policy ──────┘            │               ├─ index ─ effects, summary
//!                        history ───────────┘
//! ```

pub mod catalogue;
pub mod checks;
pub mod effects;
pub mod hash;
pub mod history;
pub mod index;
pub mod observation;
pub mod pattern;
pub mod policy;
pub mod roles;
pub mod selector;
pub mod summary;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
pub mod time;
pub mod tracker;
