//! The evaluation of Pods under policies. Uses only std, jiff, regex and thiserror. No I/O, no clock, no log: `now` is an
//! argument.
//!
//! ```text
//! observation ─┐
//!              ├─ roles ─ checks ─ tracker ─┐
//! policy ──────┘            │               ├─ index ─ effects, reports
//!                        history ───────────┘
//! ```

pub mod catalogue;
pub mod checkpoint;
pub mod checks;
pub mod effects;
pub mod exemption;
pub mod expected;
pub mod hash;
pub mod histogram;
pub mod history;
pub mod image_version;
pub mod index;
pub mod observation;
pub mod pattern;
pub mod policy;
pub mod roles;
pub mod rollout;
pub mod selector;
pub mod summary;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
pub mod time;
pub mod tracker;
pub mod violation;
