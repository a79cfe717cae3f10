//! What was said against what was expected.
//!
//! Input: a scenario that was played, the operator's Events, its metrics. Output: what is wrong, in sentences. Must not: talk to
//! anybody.

use jiff::SignedDuration;
use k8s_openapi::api::events::v1::Event;
use sidewatch::domain::checks::rule;

use super::Played;
use crate::scenario::{Expected, Then};

const RECOVERED: &str = "SidecarRecovered";

/// What is wrong with the Events: one that is missing, one too many, a wrong word.
pub(super) fn judge(played: &Played, events: &[Event]) -> Vec<String> {
    let mut left: Vec<&Event> = events.iter().filter(|event| played.is_about(event)).collect();
    let again = left.iter().filter(|event| event.series.is_some());
    let mut errors: Vec<String> = again
        .map(|event| format!("said again: {}", sentence(event)))
        .collect();
    for expected in &played.scenario.story.expect {
        match take(&mut left, |event| fires(played, expected, event)) {
            Some(event) => errors.extend(words(played, expected, event)),
            None => errors.push(format!("missing: {expected}")),
        }
        if expected.then == Then::Recovers
            && take(&mut left, |event| recovers(played, expected, event)).is_none()
        {
            errors.push(format!("no recovery: {expected}"));
        }
    }
    errors.extend(
        left.into_iter()
            .map(|event| format!("a false alarm: {}", sentence(event))),
    );
    errors
}

/// Whether everything was said that is expected.
pub(super) fn is_complete(played: &Played, events: &[Event]) -> bool {
    let about: Vec<&Event> = events.iter().filter(|event| played.is_about(event)).collect();
    played.scenario.story.expect.iter().all(|expected| {
        about.iter().any(|event| fires(played, expected, event))
            && (expected.then != Then::Recovers
                || about.iter().any(|event| recovers(played, expected, event)))
    })
}

/// What is wrong with the violations that fire now.
pub(super) fn firing(played: &Played, metrics: &str) -> Vec<String> {
    let namespace = format!("namespace=\"{}\"", played.scenario.name);
    let is_firing = |line: &&str| {
        line.starts_with("sidewatch_violation{")
            && line.contains("state=\"firing\"")
            && line.contains(&format!(",{namespace}"))
    };
    let mut left: Vec<&str> = metrics.lines().filter(is_firing).collect();
    let mut errors = Vec::new();
    let staying = played
        .scenario
        .story
        .expect
        .iter()
        .filter(|expected| expected.then == Then::Stays);
    for expected in staying {
        let labels = [
            format!("check=\"{}\"", expected.check.as_str()),
            format!("container=\"{}\"", expected.container),
            format!("policy=\"{}\"", expected.policy),
            format!("pod=\"{}", pod(played, expected)),
        ];
        let matches = |line: &&str| labels.iter().all(|label| line.contains(label.as_str()));
        match left.iter().position(matches) {
            Some(at) => drop(left.remove(at)),
            None => errors.push(format!("no series says that it fires: {expected}")),
        }
    }
    errors.extend(
        left.into_iter()
            .map(|line| format!("fires, but should not: {line}")),
    );
    errors
}

fn take<'a>(events: &mut Vec<&'a Event>, wanted: impl Fn(&Event) -> bool) -> Option<&'a Event> {
    let at = events.iter().position(|event| wanted(event))?;
    Some(events.remove(at))
}

fn fires(played: &Played, expected: &Expected, event: &Event) -> bool {
    event.reason.as_deref() == Some(rule(expected.check).reason()) && is_of(played, expected, event)
}

fn recovers(played: &Played, expected: &Expected, event: &Event) -> bool {
    let check = format!("({} under", expected.check.as_str());
    event.reason.as_deref() == Some(RECOVERED)
        && is_of(played, expected, event)
        && note(event).contains(&check)
}

fn is_of(played: &Played, expected: &Expected, event: &Event) -> bool {
    let regarding = event.regarding.as_ref();
    let path = regarding
        .and_then(|regarding| regarding.field_path.as_deref())
        .unwrap_or_default();
    let name = regarding
        .and_then(|regarding| regarding.name.as_deref())
        .unwrap_or_default();
    let policy = event.related.as_ref().and_then(|related| related.name.as_deref());
    path.ends_with(&format!("{{{}}}", expected.container))
        && name.starts_with(pod(played, expected))
        && policy == Some(expected.policy.as_str())
}

fn pod<'a>(played: &'a Played, expected: &'a Expected) -> &'a str {
    expected.pod.as_deref().unwrap_or(&played.scenario.name)
}

fn words(played: &Played, expected: &Expected, event: &Event) -> Vec<String> {
    let missing = expected
        .says
        .iter()
        .filter(|part| !note(event).contains(part.as_str()));
    let mut errors: Vec<String> = missing
        .map(|part| format!("{expected} does not say \"{part}\": {}", sentence(event)))
        .collect();
    if let Some(time) = &event.event_time {
        let late = time.0.duration_since(played.stepped);
        if late > SignedDuration::try_from(expected.within).unwrap_or(SignedDuration::MAX) {
            errors.push(format!("{expected} came {late:#} after the last step"));
        }
    }
    errors
}

fn note(event: &Event) -> &str {
    event.note.as_deref().unwrap_or_default()
}

fn sentence(event: &Event) -> String {
    let regarding = event.regarding.clone().unwrap_or_default();
    format!(
        "{} for {} {} under {}: {}",
        event.reason.as_deref().unwrap_or_default(),
        regarding.name.unwrap_or_default(),
        regarding.field_path.unwrap_or_default(),
        event.related.clone().unwrap_or_default().name.unwrap_or_default(),
        note(event)
    )
}

#[cfg(test)]
mod tests;
