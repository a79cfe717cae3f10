//! Alerts and when they fired, from the series `ALERTS` over a range of time.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use jiff::{Timestamp, Unit};
use serde::Deserialize;

/// Prefix of the names of the common alerts in their rule file.
const COMMON: &str = "Original";

/// Origin of an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// One of the three common alerts on kube-state-metrics.
    Common,
    /// An alert that Sidewatch ships.
    Shipped,
}

/// A series of Prometheus in a range of time.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Series {
    /// Its labels.
    pub metric: BTreeMap<String, String>,
    /// Times in seconds since 1970, and values.
    pub values: Vec<(f64, String)>,
}

/// An alert with one set of labels, and its history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alert {
    /// Its origin.
    pub source: Source,
    /// Its published name.
    pub name: String,
    /// Other labels: `namespace`, `pod`, `container`, `severity` and so on.
    pub labels: BTreeMap<String, String>,
    /// When it first became pending.
    pub pending: Option<Timestamp>,
    /// Each time span in which it fired: from the first sample that fires to the first that does not.
    pub firing: Vec<Range<Timestamp>>,
}

impl Alert {
    /// Value of a label, or empty, which Prometheus treats as missing.
    pub fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }

    /// When it first fired between these times; `from` if it fired before.
    pub fn fired_between(&self, from: Timestamp, to: Timestamp) -> Option<Timestamp> {
        let mut times = self.firing.iter();
        let first = times.find(|time| time.end > from && time.start <= to)?;
        Some(first.start.max(from))
    }

    /// Whether it fired at this time.
    pub fn fires_at(&self, time: Timestamp) -> bool {
        self.fired_between(time, time).is_some()
    }
}

impl fmt::Display for Alert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}, firing", self.name, self.labels)?;
        for time in &self.firing {
            write!(f, " from {} to {}", time.start, time.end)?;
        }
        Ok(())
    }
}

/// Converts the series of `ALERTS`: one for each alert and state, with a sample at each `step`.
pub(super) fn from_series(all: Vec<Series>, step: Duration) -> Result<Vec<Alert>> {
    let mut alerts: BTreeMap<BTreeMap<String, String>, Alert> = BTreeMap::new();
    for Series { metric, values } in all {
        let mut labels = metric;
        labels.remove("__name__");
        let state = labels
            .remove("alertstate")
            .context("an alert without the label alertstate")?;
        let times: Vec<_> = values
            .iter()
            .map(|(time, _)| timestamp(*time))
            .collect::<Result<_>>()?;
        let alert = alerts.entry(labels.clone()).or_insert_with(|| new(labels));
        match state.as_str() {
            "pending" => alert.pending = times.first().copied(),
            "firing" => alert.firing = spans(&times, step),
            _ => bail!("an alert is {state}: {alert:?}"),
        }
    }
    Ok(alerts.into_values().collect())
}

fn new(mut labels: BTreeMap<String, String>) -> Alert {
    let name = labels.remove("alertname").unwrap_or_default();
    let (source, name) = match name.strip_prefix(COMMON) {
        Some(name) => (Source::Common, name.to_owned()),
        None => (Source::Shipped, name),
    };
    Alert {
        source,
        name,
        labels,
        pending: None,
        firing: Vec::new(),
    }
}

/// Timestamp with the precision of Prometheus.
fn timestamp(seconds: f64) -> Result<Timestamp> {
    let time = Timestamp::UNIX_EPOCH + Duration::try_from_secs_f64(seconds)?;
    Ok(time.round(Unit::Millisecond)?)
}

/// Time spans without a gap. Each sample stands for the time until the next.
fn spans(samples: &[Timestamp], step: Duration) -> Vec<Range<Timestamp>> {
    let mut spans: Vec<Range<Timestamp>> = Vec::new();
    for &sample in samples {
        let end = sample + step;
        match spans.last_mut() {
            Some(span) if span.end == sample => span.end = end,
            _ => spans.push(sample..end),
        }
    }
    spans
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millisecond(seconds * 1000 + 1).unwrap()
    }

    #[test]
    fn an_alert_has_states_and_gaps() {
        let series = |name: &str, state: &str, times: &[f64]| {
            let values: Vec<_> = times.iter().map(|time| json!([time, "1"])).collect();
            let metric =
                json!({"__name__": "ALERTS", "alertname": name, "alertstate": state, "container": "proxy"});
            serde_json::from_value(json!({"metric": metric, "values": values})).unwrap()
        };
        let alerts = from_series(
            vec![
                series("OriginalX", "pending", &[10.001, 11.001, 21.001]),
                series("OriginalX", "firing", &[12.001, 13.001, 14.001, 22.001]),
                series("X", "firing", &[5.001]),
            ],
            Duration::from_secs(1),
        )
        .unwrap();
        let [common, shipped] = &alerts[..] else {
            panic!("{alerts:?}")
        };
        assert_eq!((common.source, common.name.as_str()), (Source::Common, "X"));
        assert_eq!((shipped.source, shipped.name.as_str()), (Source::Shipped, "X"));
        assert_eq!((common.label("container"), common.label("pod")), ("proxy", ""));
        assert_eq!((common.pending, shipped.pending), (Some(at(10)), None));
        assert_eq!(common.firing, [at(12)..at(15), at(22)..at(23)]);
        assert_eq!(common.fired_between(at(0), at(30)), Some(at(12)));
        assert_eq!(
            common.fired_between(at(13), at(30)),
            Some(at(13)),
            "it fired before"
        );
        assert_eq!(common.fired_between(at(15), at(21)), None, "in the gap");
        let a_moment = Duration::from_micros(700);
        assert!(common.fires_at(at(22) + a_moment), "until the next sample");
        assert!(!common.fires_at(at(23)) && !common.fires_at(at(22) - a_moment));
    }
}
