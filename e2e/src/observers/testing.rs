//! Alerts and scenarios by hand.

use std::ops::Range;

use jiff::Timestamp;

use super::{Alert, Played, Source};
use crate::scenario::Scenario;

/// So many seconds after the beginning of every scenario here.
pub(super) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + seconds).unwrap()
}

/// A scenario with its first document.
pub(super) fn scenario(name: &str, story: &str) -> Scenario {
    Scenario {
        name: name.to_owned(),
        story: serde_saphyr::from_str(&format!("about: A test.\n{story}")).unwrap(),
        objects: String::new(),
    }
}

/// Each from 0 to 100.
pub(super) fn played(scenarios: &[Scenario]) -> Vec<Played<'_>> {
    let play = |scenario| Played {
        scenario,
        began: at(0),
        until: at(100),
    };
    scenarios.iter().map(play).collect()
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
