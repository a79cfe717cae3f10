//! Builders of alerts and scenarios for unit tests.

use std::ops::Range;

use jiff::Timestamp;

use super::{Alert, ObservedRun, Source};
use crate::scenario::Scenario;

/// Time in seconds after the start of the scenarios.
pub(super) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + seconds).unwrap()
}

/// A scenario with this spec.
pub(super) fn scenario(name: &str, spec: &str) -> Scenario {
    Scenario {
        name: name.to_owned(),
        spec: serde_saphyr::from_str(&format!("about: A test.\n{spec}")).unwrap(),
        objects: String::new(),
    }
}

/// Runs of the scenarios from 0 to 100.
pub(super) fn runs(scenarios: &[Scenario]) -> Vec<ObservedRun<'_>> {
    let run = |scenario| ObservedRun {
        scenario,
        started: at(0),
        ended: at(100),
    };
    scenarios.iter().map(run).collect()
}

/// An alert that fired once, with these labels.
pub(super) fn alert(source: Source, name: &str, labels: &[(&str, &str)], fired: Range<i64>) -> Alert {
    Alert {
        source,
        name: name.to_owned(),
        labels: labels
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        pending: None,
        firing: vec![at(fired.start)..at(fired.end)],
    }
}
