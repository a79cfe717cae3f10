//! Comparable snapshots of what an operator reports about one namespace.
//!
//! A [`Snapshot`] is a flat table of facts: violations, Events, statuses, gauges and counters. [`Differences`] compares two
//! runs of the same test sequence. Values that differ between two correct runs are replaced: names of namespaces, UIDs,
//! resource versions, times and durations in texts. Onsets and send times of Events are kept relative to the step that caused
//! them, and compared with a [`Tolerance`]. No I/O.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use anyhow::Result;
use jiff::Timestamp;
use k8s_openapi::api::events::v1::Event;
use kube::api::DynamicObject;
use regex::{Captures, Regex};
use serde_json::Value;

use crate::metrics::{Sample, samples};

/// Replacement of the name of the namespace.
const NAMESPACE: &str = "NAMESPACE";
/// Metrics of the operator itself, which differ between runs.
const IGNORED: [&str; 11] = [
    "sidewatch_build_info",
    "sidewatch_checkpoint_",
    "sidewatch_leader",
    "sidewatch_watch_synced",
    "sidewatch_watch_events_total",
    "sidewatch_watch_errors_total",
    "sidewatch_watch_last_activity_timestamp_seconds",
    "sidewatch_api_writes_total",
    "sidewatch_evaluation_seconds",
    "sidewatch_violation_duration_seconds_",
    // A Pod whose start a run has missed does not count.
    "sidewatch_sidecar_startup_seconds_",
];
/// The text before the worst violation in the message of `SidecarsHealthy`.
const WORST: &str = "; worst: ";
const ONSET: &str = "sidewatch_violation_onset_timestamp_seconds";
const DURATION_COUNT: &str = "sidewatch_violation_duration_seconds_count";

/// A fact.
#[derive(Debug, Clone, PartialEq)]
enum Fact {
    Text(String),
    Number(f64),
    /// A count since the start of the process.
    Counter(f64),
    /// Onset of a fault, in seconds after its cause.
    Onset(f64),
    /// Send time of an Event, in seconds after its cause.
    Sent(f64),
}

/// Facts that an operator reports about one namespace.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Snapshot(BTreeMap<String, Fact>);

/// Input of a snapshot.
#[derive(Debug, Clone, Copy)]
pub struct Sources<'a> {
    /// The namespace.
    pub namespace: &'a str,
    /// The text of `/metrics`.
    pub metrics: &'a str,
    /// All Events of the namespace.
    pub events: &'a [Event],
    /// All policies of the namespace.
    pub policies: &'a [DynamicObject],
}

/// Permitted differences of times.
#[derive(Debug, Clone, Copy)]
pub struct Tolerance {
    /// Of onsets; `Duration::MAX` permits any.
    pub onset: Duration,
    /// Of send times of Events.
    pub sent: Duration,
    /// Whether the operator was restarted: its counters start at zero and may be lower.
    pub restarted: bool,
}

impl Snapshot {
    /// Creates a snapshot. `epoch(pod, recovered)` is the time of the step that caused the fault or the recovery of a Pod.
    pub fn new(sources: &Sources<'_>, epoch: impl Fn(&str, bool) -> Timestamp) -> Result<Self> {
        let texts = Normalizer::new(sources.namespace)?;
        let mut facts = BTreeMap::new();
        series(sources, &texts, &epoch, &mut facts)?;
        events(sources.events, &texts, &epoch, &mut facts);
        for policy in sources.policies {
            let name = policy.metadata.name.as_deref().unwrap_or_default();
            let kind = policy.types.as_ref().map_or("policy", |types| &types.kind);
            let status = policy.data.get("status").unwrap_or(&Value::Null);
            flatten(status, &format!("status of {kind} {name}: "), &texts, &mut facts);
        }
        Ok(Self(facts))
    }

    /// Facts whose name contains `needle`, as `name: value`.
    pub fn lines(&self, needle: &str) -> Vec<String> {
        let matching = self.0.iter().filter(|(name, _)| name.contains(needle));
        matching.map(|(name, fact)| format!("{name}: {fact}")).collect()
    }

    /// Keeps the facts whose name is wanted.
    #[must_use]
    pub fn only(&self, wanted: impl Fn(&str) -> bool) -> Self {
        let facts = self.0.iter().filter(|(name, _)| wanted(name));
        Self(facts.map(|(name, fact)| (name.clone(), fact.clone())).collect())
    }

    /// Leaves out which violation a message names as the worst. Of several with the same severity it is the oldest, so it can
    /// differ if a [`Tolerance`] permits other onsets.
    #[must_use]
    pub fn without_worst(mut self) -> Self {
        for fact in self.0.values_mut() {
            if let Fact::Text(text) = fact
                && let Some(end) = text.find(WORST)
            {
                text.truncate(end);
            }
        }
        self
    }

    /// Differences from an undisturbed run.
    pub fn differences(&self, undisturbed: &Self, tolerance: Tolerance) -> Differences {
        let names: BTreeSet<&String> = self.0.keys().chain(undisturbed.0.keys()).collect();
        let differing = names.into_iter().filter_map(|name| {
            let (expected, found) = (undisturbed.0.get(name), self.0.get(name));
            let agree = match (expected, found) {
                (Some(expected), Some(found)) => found.agrees(expected, tolerance),
                (Some(Fact::Counter(_)), None) => tolerance.restarted,
                _ => false,
            };
            if agree {
                return None;
            }
            let show = |fact: Option<&Fact>| fact.map_or("missing".to_owned(), Fact::to_string);
            Some(format!(
                "{name}\n    undisturbed: {}\n    found:       {}",
                show(expected),
                show(found)
            ))
        });
        Differences(differing.collect())
    }
}

impl Fact {
    fn agrees(&self, undisturbed: &Self, tolerance: Tolerance) -> bool {
        let near = |a: f64, b: f64, tolerance: Duration| (a - b).abs() <= tolerance.as_secs_f64();
        match (self, undisturbed) {
            (Self::Counter(a), Self::Counter(b)) if tolerance.restarted => a <= b,
            (Self::Onset(a), Self::Onset(b)) => near(*a, *b, tolerance.onset),
            (Self::Sent(a), Self::Sent(b)) => near(*a, *b, tolerance.sent),
            (a, b) => a == b,
        }
    }
}

impl fmt::Display for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Number(number) | Self::Counter(number) => write!(f, "{number}"),
            Self::Onset(seconds) | Self::Sent(seconds) => write!(f, "{seconds:.1} s after its cause"),
        }
    }
}

/// Differences of two snapshots, as text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[must_use]
pub struct Differences(Vec<String>);

impl Differences {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One text for each fact that differs.
    pub fn facts(&self) -> &[String] {
        &self.0
    }
}

impl fmt::Display for Differences {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

fn series(
    sources: &Sources<'_>,
    texts: &Normalizer,
    epoch: &impl Fn(&str, bool) -> Timestamp,
    facts: &mut BTreeMap<String, Fact>,
) -> Result<()> {
    for sample in samples(sources.metrics)? {
        let fact = if sample.name() == "sidewatch_violation" {
            Fact::Text(format!("{} {}", sample.label("state"), sample.label("mode")))
        } else if sample.name() == ONSET {
            let epoch = epoch(sample.label("pod"), false);
            Fact::Onset(sample.value - epoch.as_duration().as_secs_f64())
        } else if !is_compared(sample.name()) {
            continue;
        } else if sample.name().ends_with("_total") || sample.name().ends_with("_count") {
            Fact::Counter(sample.value)
        } else {
            Fact::Number(sample.value)
        };
        // A workload can have one series per state.
        let series = if sample.name() == "sidewatch_workload_violations" {
            sample.series.to_owned()
        } else {
            without_state(sample)
        };
        facts.insert(texts.normalize(&series), fact);
    }
    Ok(())
}

fn is_compared(name: &str) -> bool {
    name == DURATION_COUNT
        || name.starts_with("sidewatch_") && !IGNORED.iter().any(|other| name.starts_with(other))
}

/// The series without the label `state`, so that a changed state is one difference and not two.
fn without_state(sample: Sample<'_>) -> String {
    let state = format!("state=\"{}\"", sample.label("state"));
    sample
        .series
        .replace(&format!("{state},"), "")
        .replace(&state, "")
}

/// Events, identified by their content, because their names contain a hash of UIDs. Events with equal content are numbered in
/// order of time.
fn events(
    events: &[Event],
    texts: &Normalizer,
    epoch: &impl Fn(&str, bool) -> Timestamp,
    facts: &mut BTreeMap<String, Fact>,
) {
    let mut events: Vec<&Event> = events.iter().collect();
    events.sort_by_key(|event| event.event_time.as_ref().map(|time| time.0));
    let mut copies: BTreeMap<String, u32> = BTreeMap::new();
    for event in events {
        let regarding = event.regarding.clone().unwrap_or_default();
        let related = event.related.clone().unwrap_or_default();
        let pod = regarding.name.unwrap_or_default();
        let reason = event.reason.as_deref().unwrap_or_default();
        let note = texts.normalize(event.note.as_deref().unwrap_or_default());
        let kind = format!(
            "Event {reason} for {} {pod} {} under {} {}: {note}",
            regarding.kind.unwrap_or_default(),
            regarding.field_path.unwrap_or_default(),
            related.kind.unwrap_or_default(),
            related.name.unwrap_or_default(),
        );
        let copy = copies.entry(kind.clone()).or_default();
        *copy += 1;
        let name = format!("{kind} #{copy}");
        let count = event.series.as_ref().map_or(1, |series| series.count);
        let of_type = event.type_.as_deref().unwrap_or_default();
        facts.insert(
            format!("{name} type and count"),
            Fact::Text(format!("{of_type} {count}")),
        );
        if let Some(time) = &event.event_time {
            let since = epoch(&pod, reason == "SidecarRecovered");
            facts.insert(
                format!("{name} sent"),
                Fact::Sent(time.0.duration_since(since).as_secs_f64()),
            );
        }
    }
}

/// Adds a fact for each leaf. Conditions are identified by type, violations by what fails, because their order depends on
/// onsets, and elements of other lists by index.
fn flatten(value: &Value, path: &str, texts: &Normalizer, facts: &mut BTreeMap<String, Fact>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                flatten(value, &format!("{path}.{key}"), texts, facts);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                let key = key(item).unwrap_or_else(|| index.to_string());
                flatten(item, &format!("{path}[{key}]"), texts, facts);
            }
        }
        Value::String(text) => {
            facts.insert(path.to_owned(), Fact::Text(texts.normalize(text)));
        }
        other => {
            facts.insert(path.to_owned(), Fact::Text(other.to_string()));
        }
    }
}

/// Returns the identity of an element of a list: the type of a condition, or Pod, container and check of a violation.
fn key(item: &Value) -> Option<String> {
    let text = |field: &str| item.get(field).and_then(Value::as_str);
    let violation = || {
        Some(format!(
            "{} {} {}",
            text("pod")?,
            text("container")?,
            text("check")?
        ))
    };
    text("type").map(str::to_owned).or_else(violation)
}

/// Replaces the parts of texts that differ between runs.
struct Normalizer {
    variable: Regex,
    namespace: String,
}

impl Normalizer {
    fn new(namespace: &str) -> Result<Self> {
        let variable = concat!(
            r"(?-u)(?<uid>\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b)",
            r"|(?<id>\b[0-9a-f]{64}\b)",
            r"|(?<time>\b(\d{4}-\d\d-\d\dT)?\d\d:\d\d:\d\d(\.\d+)?Z)",
            r"|(?<duration>\b(\d+(h|ms|m|s))+\b)",
        );
        Ok(Self {
            variable: Regex::new(variable)?,
            namespace: namespace.to_owned(),
        })
    }

    fn normalize(&self, text: &str) -> String {
        let text = text.replace(&self.namespace, NAMESPACE);
        let kind = |captures: &Captures<'_>| {
            let kinds = [("uid", "UID"), ("id", "ID"), ("time", "TIME")];
            let found = kinds
                .into_iter()
                .find(|(group, _)| captures.name(group).is_some());
            found.map_or("DURATION", |(_, word)| word)
        };
        self.variable.replace_all(&text, kind).into_owned()
    }
}

#[cfg(test)]
mod tests;
