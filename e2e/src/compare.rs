//! What an operator has left behind, in a form in which two runs of the same history can be compared.
//!
//! Input: the text of `/metrics`, the Events and the policies of one namespace. Output: a [`Snapshot`], a flat table of facts:
//! violations, Events, statuses, gauges and counters; and the [`Differences`] of two of them. What must differ between two
//! honest runs is taken out: names of namespaces, UIDs, resource versions, times of day and durations in sentences. Times
//! that say when something was found are kept, as distances from the step of the history that brought it about, and
//! compared with a [`Tolerance`].
//!
//! Must not: talk to anybody.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use anyhow::{Context, Result};
use jiff::Timestamp;
use k8s_openapi::api::events::v1::Event;
use kube::api::DynamicObject;
use regex::{Captures, Regex};
use serde_json::Value;

/// What stands in place of the run's namespace.
const NAMESPACE: &str = "NAMESPACE";
/// Series that say how the operator fared, and not what it found.
const ABOUT_THE_RUN: [&str; 8] = [
    "sidewatch_build_info",
    "sidewatch_watch_synced",
    "sidewatch_watch_events_total",
    "sidewatch_watch_errors_total",
    "sidewatch_watch_last_activity_timestamp_seconds",
    "sidewatch_api_writes_total",
    "sidewatch_evaluation_seconds",
    "sidewatch_violation_duration_seconds_",
];
const ONSET: &str = "sidewatch_violation_onset_timestamp_seconds{";
const DURATION_COUNT: &str = "sidewatch_violation_duration_seconds_count";

/// One fact.
#[derive(Debug, Clone, PartialEq)]
enum Fact {
    Text(String),
    Number(f64),
    /// How often something happened in the life of this process.
    Counter(f64),
    /// When a fault began, in seconds after what brought it about.
    Onset(f64),
    /// When an Event was sent, likewise.
    Sent(f64),
}

/// All that one operator says and has written about one namespace.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Snapshot(BTreeMap<String, Fact>);

/// What a snapshot is made from.
#[derive(Debug, Clone, Copy)]
pub struct Sources<'a> {
    /// The namespace of the run.
    pub namespace: &'a str,
    /// The text of `/metrics`.
    pub metrics: &'a str,
    /// All Events of the namespace.
    pub events: &'a [Event],
    /// All policies of the namespace.
    pub policies: &'a [DynamicObject],
}

/// How far two times of one fact may lie apart.
#[derive(Debug, Clone, Copy)]
pub struct Tolerance {
    /// Of onsets. `Duration::MAX` for any.
    pub onset: Duration,
    /// Of the sending of Events.
    pub sent: Duration,
    /// Whether the operator was started again: its counters began anew, and must only not be too high.
    pub restarted: bool,
}

impl Snapshot {
    /// `epoch` tells when the step of the history was that made a Pod's container fail or, for an Event of recovery, brought it
    /// back.
    pub fn new(sources: &Sources<'_>, epoch: impl Fn(&str, bool) -> Timestamp) -> Result<Self> {
        let words = Words::new(sources.namespace)?;
        let mut facts = BTreeMap::new();
        series(sources, &words, &epoch, &mut facts)?;
        events(sources.events, &words, &epoch, &mut facts);
        for policy in sources.policies {
            let name = policy.metadata.name.as_deref().unwrap_or_default();
            let kind = policy.types.as_ref().map_or("policy", |types| &types.kind);
            let status = policy.data.get("status").unwrap_or(&Value::Null);
            flatten(status, &format!("status of {kind} {name}: "), &words, &mut facts);
        }
        Ok(Self(facts))
    }

    /// The facts whose name has this in it, as `name: value` lines, for messages and simple questions.
    pub fn lines(&self, needle: &str) -> Vec<String> {
        let matching = self.0.iter().filter(|(name, _)| name.contains(needle));
        matching.map(|(name, fact)| format!("{name}: {fact}")).collect()
    }

    /// Only the facts whose name is wanted, where a test cannot hold against all of them.
    #[must_use]
    pub fn only(&self, wanted: impl Fn(&str) -> bool) -> Self {
        let facts = self.0.iter().filter(|(name, _)| wanted(name));
        Self(facts.map(|(name, fact)| (name.clone(), fact.clone())).collect())
    }

    /// What differs from an undisturbed run.
    pub fn differences(&self, undisturbed: &Self, tolerance: Tolerance) -> Differences {
        let names: BTreeSet<&String> = self.0.keys().chain(undisturbed.0.keys()).collect();
        let differing = names.into_iter().filter_map(|name| {
            let (calm, this) = (undisturbed.0.get(name), self.0.get(name));
            let agree = match (calm, this) {
                (Some(calm), Some(this)) => this.agrees(calm, tolerance),
                (Some(Fact::Counter(_)), None) => tolerance.restarted,
                _ => false,
            };
            if agree {
                return None;
            }
            let show = |fact: Option<&Fact>| fact.map_or("nothing".to_owned(), Fact::to_string);
            Some(format!(
                "{name}\n    undisturbed: {}\n    here:        {}",
                show(calm),
                show(this)
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

/// How two runs differ, for people; empty when they do not.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[must_use]
pub struct Differences(Vec<String>);

impl Differences {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Differences {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

fn series(
    sources: &Sources<'_>,
    words: &Words,
    epoch: &impl Fn(&str, bool) -> Timestamp,
    facts: &mut BTreeMap<String, Fact>,
) -> Result<()> {
    for (name, value) in samples(sources.metrics)? {
        let fact = if name.starts_with("sidewatch_violation{") {
            Fact::Text(format!("{} {}", label(name, "state"), label(name, "mode")))
        } else if name.starts_with(ONSET) {
            let epoch = epoch(label(name, "pod"), false);
            Fact::Onset(value - epoch.as_duration().as_secs_f64())
        } else if !is_finding(name) {
            continue;
        } else if is_counter(name) {
            Fact::Counter(value)
        } else {
            Fact::Number(value)
        };
        facts.insert(words.plain(&without_state(name)), fact);
    }
    Ok(())
}

/// Series and values of the text format.
fn samples(metrics: &str) -> Result<Vec<(&str, f64)>> {
    let samples = metrics
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty());
    samples
        .map(|line| {
            let (name, value) = line
                .rsplit_once(' ')
                .with_context(|| format!("no series: {line}"))?;
            let value = value.parse().with_context(|| format!("no number: {line}"))?;
            Ok((name, value))
        })
        .collect()
}

fn is_finding(name: &str) -> bool {
    name == DURATION_COUNT
        || name.starts_with("sidewatch_") && !ABOUT_THE_RUN.iter().any(|other| name.starts_with(other))
}

fn is_counter(name: &str) -> bool {
    let name = name.split('{').next().unwrap_or(name);
    name.ends_with("_total") || name.ends_with("_count")
}

/// The value of a label; names of Kubernetes objects need no escapes.
fn label<'a>(series: &'a str, name: &str) -> &'a str {
    let found = series
        .split(['{', ','])
        .find_map(|pair| pair.strip_prefix(name)?.strip_prefix("=\""));
    found.and_then(|rest| rest.split('"').next()).unwrap_or_default()
}

/// So that a violation in another state differs in its state, and not as one that is missing and one too many.
fn without_state(series: &str) -> String {
    let state = format!("state=\"{}\"", label(series, "state"));
    series.replace(&format!("{state},"), "").replace(&state, "")
}

/// Events by what they say. Their names carry a hash of UIDs; two that say the same are numbered in the order of sending.
fn events(
    events: &[Event],
    words: &Words,
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
        let note = words.plain(event.note.as_deref().unwrap_or_default());
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

/// A fact for each leaf. Conditions go by type; the other lists have an order that means something.
fn flatten(value: &Value, path: &str, words: &Words, facts: &mut BTreeMap<String, Fact>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                flatten(value, &format!("{path}.{key}"), words, facts);
            }
        }
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                let key = item
                    .get("type")
                    .and_then(Value::as_str)
                    .map_or(at.to_string(), str::to_owned);
                flatten(item, &format!("{path}[{key}]"), words, facts);
            }
        }
        Value::String(text) => {
            facts.insert(path.to_owned(), Fact::Text(words.plain(text)));
        }
        other => {
            facts.insert(path.to_owned(), Fact::Text(other.to_string()));
        }
    }
}

/// Makes texts of different runs comparable.
struct Words {
    changing: Regex,
    namespace: String,
}

impl Words {
    fn new(namespace: &str) -> Result<Self> {
        let changing = concat!(
            r"(?-u)(?<uid>\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b)",
            r"|(?<id>\b[0-9a-f]{64}\b)",
            r"|(?<time>\b(\d{4}-\d\d-\d\dT)?\d\d:\d\d:\d\d(\.\d+)?Z)",
            r"|(?<duration>\b(\d+(h|ms|m|s))+\b)",
        );
        Ok(Self {
            changing: Regex::new(changing)?,
            namespace: namespace.to_owned(),
        })
    }

    fn plain(&self, text: &str) -> String {
        let text = text.replace(&self.namespace, NAMESPACE);
        let kind = |captures: &Captures<'_>| {
            let kinds = [("uid", "UID"), ("id", "ID"), ("time", "TIME")];
            let found = kinds
                .into_iter()
                .find(|(group, _)| captures.name(group).is_some());
            found.map_or("DURATION", |(_, word)| word)
        };
        self.changing.replace_all(&text, kind).into_owned()
    }
}

#[cfg(test)]
mod tests;
