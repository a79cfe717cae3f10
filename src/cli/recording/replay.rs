//! Evaluates a recording: each event acts at its own time, and each deadline between two events too.

use std::{path::Path, time::Duration};

use jiff::Timestamp;

use super::read::Reader;
use crate::{
    cli::{evaluation::Evaluation, exit::Failure, files},
    domain::{policy::PolicyUpdate, time::later},
};

const NO_POD: &str = "the recording contains no Pod";

/// An evaluated recording.
#[derive(Debug)]
pub struct Replay {
    /// The time at which the recording starts.
    pub start: Timestamp,
    /// The time at which the evaluation ends.
    pub end: Timestamp,
    /// The evaluation at its end.
    pub evaluation: Evaluation,
}

/// Evaluates the recording in a file, or on standard input for `-`, under policies. `policies` returns them for the namespace of
/// the first Pod. The evaluation ends at `length` after the start, or else with the last line.
pub fn replay(
    path: &Path,
    length: Option<Duration>,
    policies: impl FnOnce(&str) -> Result<Vec<PolicyUpdate>, Failure>,
) -> Result<Replay, Failure> {
    let mut reader = Reader::new(path.display().to_string(), files::open(path)?);
    let (first, namespace) = loop {
        let Some(entry) = reader.entry()? else {
            return Err(NO_POD.into());
        };
        let pod = entry.event.as_ref().and_then(Evaluation::pod_of);
        if let Some(namespace) = pod.map(|pod| pod.namespace.clone()) {
            break (entry, namespace);
        }
    };
    let mut pending = Some(first);
    let Some(start) = reader.start() else {
        return Err(NO_POD.into());
    };
    let limit = match length {
        Some(length) => Some(later(start, length.try_into()?)),
        None => None,
    };
    let mut evaluation = Evaluation::new(policies(&namespace)?, None, start).keeping_reports();
    evaluation.begin_without_pods(start);
    let mut end = start;
    while let Some(entry) = match pending.take() {
        Some(entry) => Some(entry),
        None => reader.entry()?,
    } {
        if limit.is_some_and(|limit| entry.at > limit) {
            break;
        }
        end = entry.at;
        match entry.event {
            Some(event) => evaluation.apply(event, entry.at),
            None => evaluation.pass_time(entry.at),
        }
    }
    let end = limit.unwrap_or(end);
    evaluation.pass_time(end);
    Ok(Replay {
        start,
        end,
        evaluation,
    })
}
