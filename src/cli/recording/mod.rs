//! Recordings of Pods: watch events with their times, one JSON object on each line.
//!
//! `docs/recordings.md` describes the format. [`read`] decodes a recording, [`fields`] selects the fields that `sidewatch
//! record` writes, and [`replay()`] evaluates a recording on the clock of its lines.

pub mod fields;
pub mod read;
mod replay;
pub mod write;

pub use self::replay::{Replay, replay};
