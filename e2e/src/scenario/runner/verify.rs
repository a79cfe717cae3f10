//! Compares the Events and violations of a scenario with the expected ones. No I/O.

use anyhow::Result;
use jiff::SignedDuration;
use k8s_openapi::api::events::v1::Event;
use sidewatch::domain::exemption::{EXEMPTION_ACTIVE, EXEMPTION_ENDED};
use sidewatch::domain::policy::Check;

use super::ScenarioRun;
use crate::metrics::{Sample, samples};
use crate::scenario::{Expected, ExpectedMetric, Then, Workload};

const RECOVERED: &str = "SidecarRecovered";

/// Differences in the Events: missing, unexpected and repeated ones, wrong notes, late ones.
pub(super) fn events(run: &ScenarioRun, events: &[Event]) -> Vec<String> {
    let mut unexpected: Vec<&Event> = events.iter().filter(|event| run.owns(event)).collect();
    let repeated = unexpected.iter().filter(|event| event.series.is_some());
    let mut errors: Vec<String> = repeated
        .map(|event| format!("repeated: {}", describe(event)))
        .collect();
    for expected in &run.scenario.spec.expect {
        match take(&mut unexpected, |event| fires(run, expected, event)) {
            Some(event) => errors.extend(content(run, expected, event)),
            None => errors.push(format!("missing: {expected}")),
        }
        if needs_recovery(run, expected)
            && take(&mut unexpected, |event| recovers(run, expected, event)).is_none()
        {
            errors.push(format!("no recovery: {expected}"));
        }
    }
    for exemption in &run.scenario.spec.exemptions {
        for reason in [EXEMPTION_ACTIVE, EXEMPTION_ENDED] {
            let is_this = |event: &Event| {
                let regarding = event.regarding.as_ref();
                event.reason.as_deref() == Some(reason)
                    && regarding.and_then(|regarding| regarding.name.as_ref()) == Some(exemption)
            };
            if take(&mut unexpected, is_this).is_none() {
                errors.push(format!("missing: {reason} of the exemption {exemption}"));
            }
        }
    }
    let unexpected = unexpected.into_iter();
    errors.extend(unexpected.map(|event| format!("false positive: {}", describe(event))));
    errors
}

/// Whether all expected Events have arrived.
pub(super) fn is_complete(run: &ScenarioRun, events: &[Event]) -> bool {
    let own: Vec<&Event> = events.iter().filter(|event| run.owns(event)).collect();
    run.scenario.spec.expect.iter().all(|expected| {
        own.iter().any(|event| fires(run, expected, event))
            && (!needs_recovery(run, expected) || own.iter().any(|event| recovers(run, expected, event)))
    })
}

/// Differences in the violations that fire at the end.
pub(super) fn violations(run: &ScenarioRun, metrics: &str) -> Result<Vec<String>> {
    let name = run.scenario.name.as_str();
    let labels = [("state", "firing"), ("namespace", name)];
    let mut unexpected = samples(metrics)?;
    unexpected.retain(|sample| sample.matches("sidewatch_violation", &labels));
    let mut errors = Vec::new();
    let staying = run.scenario.spec.expect.iter();
    for expected in staying.filter(|expected| expected.then == Then::Stays) {
        let labels = [
            ("check", expected.check.as_str()),
            (
                "container",
                expected.image.as_ref().unwrap_or(&expected.container),
            ),
            ("policy", &expected.policy),
        ];
        let matches = |sample: &Sample<'_>| {
            let is_about = match (&expected.image, &expected.workload) {
                (Some(_), _) => sample.label("workload").is_empty(),
                (None, Some(Workload { kind, name })) => {
                    sample.label("pod").is_empty()
                        && sample.label("workload_kind") == kind
                        && sample.label("workload") == name
                }
                (None, None) => sample.label("pod").starts_with(pod(run, expected)),
            };
            is_about && sample.matches("sidewatch_violation", &labels)
        };
        match unexpected.iter().position(matches) {
            Some(index) => drop(unexpected.remove(index)),
            None => errors.push(format!("no series of a firing violation: {expected}")),
        }
    }
    let unexpected = unexpected.into_iter();
    errors.extend(unexpected.map(|sample| format!("fires unexpectedly: {}", sample.series)));
    Ok(errors)
}

/// Differences in the other expected metrics.
pub(super) fn metrics(run: &ScenarioRun, metrics: &str) -> Result<Vec<String>> {
    let samples = samples(metrics)?;
    let differing = run.scenario.spec.metrics.iter().filter_map(|expected| {
        let ExpectedMetric { name, labels, value } = expected;
        let pairs = labels.iter();
        let pairs: Vec<_> = pairs
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let selected = samples.iter().filter(|sample| sample.matches(name, &pairs));
        let found: Vec<f64> = selected.map(|sample| sample.value).collect();
        let sum: f64 = found.iter().sum();
        let is_equal = !found.is_empty() && (sum - value).abs() < 0.5;
        (!is_equal).then(|| format!("{name} of {labels:?} is {found:?} instead of {value}"))
    });
    Ok(differing.collect())
}

fn take<'a>(events: &mut Vec<&'a Event>, wanted: impl Fn(&Event) -> bool) -> Option<&'a Event> {
    let index = events.iter().position(|event| wanted(event))?;
    Some(events.remove(index))
}

fn fires(run: &ScenarioRun, expected: &Expected, event: &Event) -> bool {
    event.reason.as_ref() == Some(&expected.reason) && matches(run, expected, event)
}

/// Whether a recovery Event is expected. NotReady and MainReadySidecarNotReady of one container have one together.
fn needs_recovery(run: &ScenarioRun, expected: &Expected) -> bool {
    let reports_for_both = |other: &Expected| {
        other.check == Check::NotReady
            && other.then == Then::Recovers
            && (&other.container, &other.pod, &other.policy)
                == (&expected.container, &expected.pod, &expected.policy)
    };
    let is_second = expected.check == Check::MainReadySidecarNotReady
        && run.scenario.spec.expect.iter().any(reports_for_both);
    expected.then == Then::Recovers && !is_second
}

fn recovers(run: &ScenarioRun, expected: &Expected, event: &Event) -> bool {
    let check = format!("({} under", expected.check.as_str());
    event.reason.as_deref() == Some(RECOVERED)
        && matches(run, expected, event)
        && note(event).contains(&check)
}

/// Whether the subject and the policy of the Event are the expected ones.
fn matches(run: &ScenarioRun, expected: &Expected, event: &Event) -> bool {
    let regarding = event.regarding.clone().unwrap_or_default();
    let policy = event.related.as_ref().and_then(|related| related.name.as_ref());
    let path = regarding.field_path.unwrap_or_default();
    let name = regarding.name.unwrap_or_default();
    let is_about = match (&expected.image, &expected.workload) {
        (Some(image), _) => {
            let kinds = ["SidecarPolicy", "ClusterSidecarPolicy"];
            path.is_empty()
                && kinds.contains(&regarding.kind.as_deref().unwrap_or_default())
                && name == expected.policy
                && note(event).contains(&format!("'{image}'"))
        }
        (None, Some(workload)) => {
            let container = format!("'{}'", expected.container);
            path.is_empty()
                && regarding.kind.as_ref() == Some(&workload.kind)
                && name == workload.name
                && note(event).contains(&container)
        }
        (None, None) => {
            path.ends_with(&format!("{{{}}}", expected.container)) && name.starts_with(pod(run, expected))
        }
    };
    is_about && policy == Some(&expected.policy)
}

/// Prefix of the name of the Pod.
fn pod<'a>(run: &'a ScenarioRun, expected: &'a Expected) -> &'a str {
    expected.pod.as_deref().unwrap_or(&run.scenario.name)
}

/// Differences in the note and the time of an Event.
fn content(run: &ScenarioRun, expected: &Expected, event: &Event) -> Vec<String> {
    let missing = expected.note.iter().filter(|part| !note(event).contains(*part));
    let mut errors: Vec<String> = missing
        .map(|part| format!("{expected} lacks \"{part}\": {}", describe(event)))
        .collect();
    if let Some(time) = &event.event_time {
        let after = time.0.duration_since(run.stepped);
        if after > SignedDuration::try_from(expected.within).unwrap_or(SignedDuration::MAX) {
            errors.push(format!("{expected} came {after:#} after the last step"));
        }
    }
    errors
}

fn note(event: &Event) -> &str {
    event.note.as_deref().unwrap_or_default()
}

fn describe(event: &Event) -> String {
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
