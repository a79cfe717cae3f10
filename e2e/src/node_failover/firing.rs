//! The firing violations that operators report over time, and how two operators differ.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;
use std::time::Duration;

use anyhow::Result;

use crate::metrics::samples;

const ONSET: &str = "sidewatch_violation_onset_timestamp_seconds";

/// What identifies a violation.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    /// Name of the policy.
    pub policy: String,
    /// Name of the Pod.
    pub pod: String,
    /// Name of the container.
    pub container: String,
    /// Name of the check.
    pub check: String,
}

/// Firing violations, with their onsets in seconds since 1970.
pub type Firing = BTreeMap<Violation, f64>;

/// The firing violations of a namespace in the text of `/metrics`.
pub fn firing(metrics: &str, namespace: &str) -> Result<Firing> {
    let all = samples(metrics)?;
    let of_namespace = all
        .into_iter()
        .filter(|sample| sample.matches(ONSET, &[("namespace", namespace), ("state", "firing")]));
    let violation = |label: &dyn Fn(&str) -> String| Violation {
        policy: label("policy"),
        pod: label("pod"),
        container: label("container"),
        check: label("check"),
    };
    Ok(of_namespace
        .map(|sample| (violation(&|name| sample.label(name).to_owned()), sample.value))
        .collect())
}

/// What one operator reported, in order of time. A time without an answer is missing.
#[derive(Debug, Clone, Default)]
pub struct History(Vec<(Duration, Firing)>);

/// A violation that one operator reported and the other did not, at about that time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Difference {
    /// The violation.
    pub violation: Violation,
    /// Whether only the disturbed operator reported it; otherwise only the undisturbed one.
    pub is_additional: bool,
    /// The first time.
    pub from: Duration,
    /// The last time.
    pub to: Duration,
}

impl History {
    /// Adds what the operator reports at a time after all earlier ones.
    pub fn push(&mut self, at: Duration, firing: Firing) {
        self.0.push((at, firing));
    }

    /// The times of its answers from `from` on.
    pub fn answers_from(&self, from: Duration) -> impl Iterator<Item = Duration> {
        let times = self.0.iter().map(|(at, _)| *at);
        times.filter(move |at| *at >= from)
    }

    /// The latest violations.
    pub fn last(&self) -> Option<&Firing> {
        self.0.last().map(|(_, firing)| firing)
    }

    /// What at least one of two operators reported, as rules with `max by` see it.
    #[must_use]
    pub fn or(&self, other: &Self) -> Self {
        let mut united: BTreeMap<Duration, Firing> = self.0.iter().cloned().collect();
        for (at, firing) in &other.0 {
            let known = united.entry(*at).or_default();
            known.extend(
                firing
                    .iter()
                    .map(|(violation, onset)| (violation.clone(), *onset)),
            );
        }
        Self(united.into_iter().collect())
    }

    /// Differences from an undisturbed operator in a range of time: each violation that one of them reported and the other
    /// did not report at any time within `tolerance`. Times without an answer of the other within `tolerance` do not count.
    pub fn differences(
        &self,
        undisturbed: &Self,
        times: Range<Duration>,
        tolerance: Duration,
    ) -> Vec<Difference> {
        let mut found: BTreeMap<(&Violation, bool), Range<Duration>> = BTreeMap::new();
        for (one, other, is_additional) in [(self, undisturbed, true), (undisturbed, self, false)] {
            for (at, firing) in one.0.iter().filter(|(at, _)| times.contains(at)) {
                let near = other.near(*at, tolerance);
                if near.is_empty() {
                    continue;
                }
                let known: BTreeSet<&Violation> = near.iter().flat_map(|(_, firing)| firing.keys()).collect();
                for violation in firing.keys().filter(|violation| !known.contains(violation)) {
                    found.entry((violation, is_additional)).or_insert(*at..*at).end = *at;
                }
            }
        }
        let difference =
            |((violation, is_additional), times): ((&Violation, bool), Range<Duration>)| Difference {
                violation: violation.clone(),
                is_additional,
                from: times.start,
                to: times.end,
            };
        found.into_iter().map(difference).collect()
    }

    /// The answers within `tolerance` of a time, and the one before and the one after it if they are further away: what
    /// happened in between is unknown. None if the operator did not answer within `tolerance`.
    fn near(&self, time: Duration, tolerance: Duration) -> &[(Duration, Firing)] {
        let first = self.0.partition_point(|(at, _)| *at + tolerance < time);
        let end = self
            .0
            .partition_point(|(at, _)| *at <= time.saturating_add(tolerance));
        if first == end {
            return &[];
        }
        let before = self.0.partition_point(|(at, _)| *at < time).saturating_sub(1);
        let after = self.0.partition_point(|(at, _)| *at <= time) + 1;
        self.0
            .get(first.min(before)..end.max(after).min(self.0.len()))
            .unwrap_or_default()
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            policy,
            pod,
            container,
            check,
        } = self;
        write!(f, "{check} of {pod}/{container} under {policy}")
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.is_additional {
            "additional"
        } else {
            "missing"
        };
        let (from, to) = (self.from.as_secs_f64(), self.to.as_secs_f64());
        write!(f, "{sign} from {from:.0} to {to:.0} s: {}", self.violation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn violation(pod: &str) -> Violation {
        Violation {
            policy: "quick".to_owned(),
            pod: pod.to_owned(),
            container: "proxy".to_owned(),
            check: "NotReady".to_owned(),
        }
    }

    /// A history with one answer per second: the names of the Pods, or `-` for no answer.
    fn history(answers: &[&str]) -> History {
        let mut history = History::default();
        for (at, pods) in (0..).zip(answers).filter(|(_, pods)| **pods != "-") {
            let pods = pods.split_whitespace();
            history.push(
                Duration::from_secs(at),
                pods.map(|pod| (violation(pod), 1.0)).collect(),
            );
        }
        history
    }

    #[test]
    fn only_firing_violations_of_the_namespace_count() {
        let line = |namespace: &str, state: &str| {
            let labels = "check=\"NotReady\",container=\"proxy\",policy=\"quick\",pod=\"a\"";
            format!("{ONSET}{{{labels},namespace=\"{namespace}\",state=\"{state}\"}} 5\n")
        };
        let text =
            line("here", "firing") + &line("elsewhere", "firing") + "sidewatch_violation{pod=\"b\"} 1\n";
        assert_eq!(
            firing(&text, "here").unwrap(),
            Firing::from([(violation("a"), 5.0)])
        );
        assert!(firing(&line("here", "pending"), "here").unwrap().is_empty());
    }

    #[test]
    fn differences_are_longer_than_the_tolerance() {
        let all = Duration::ZERO..Duration::MAX;
        let one_second = Duration::from_secs(1);
        for (disturbed, undisturbed, expected) in [
            (&["a", "a", "a"][..], &["a", "a", "a"][..], &[][..]),
            (&["a", "a", ""], &["a", "", ""], &[]),
            (
                &["a b", "a", "a"],
                &["a", "a", "a"],
                &["additional from 0 to 0 s"],
            ),
            (
                &["a", "", "", "", "a"],
                &["a", "a", "a", "a", "a"],
                &["missing from 2 to 2 s"],
            ),
            (
                &["a", "-", "-", "-", "a"],
                &["a", "b", "b", "b", "a"],
                &["missing from 1 to 3 s"],
            ),
            (&["a", "-", "-", "-", "-"], &["a", "a", "b", "b", "b"], &[]),
            // the undisturbed operator may have reported it while it was not asked
            (&["", "a", "-", "-", "-"], &["", "", "-", "-", "a"], &[]),
            (
                &["", "a", "", "-", "-"],
                &["", "", "", "-", "a"],
                &["additional from 1 to 1 s"],
            ),
        ] {
            let found = history(disturbed).differences(&history(undisturbed), all.clone(), one_second);
            let found: Vec<String> = found.iter().map(Difference::to_string).collect();
            assert_eq!(found.len(), expected.len(), "{disturbed:?}: {found:?}");
            for (found, expected) in found.iter().zip(expected) {
                assert!(found.starts_with(expected), "{disturbed:?}: {found}");
            }
        }
    }

    #[test]
    fn two_replicas_report_what_one_of_them_reports() {
        let both = history(&["a", "-", "a"]).or(&history(&["b", "b", "-"]));
        let nothing = both.differences(
            &history(&["a b", "b", "a"]),
            Duration::ZERO..Duration::MAX,
            Duration::ZERO,
        );
        assert_eq!(nothing, []);
        assert_eq!(both.answers_from(Duration::from_secs(1)).count(), 2);
        assert_eq!(both.last().map(Firing::len), Some(1));
    }
}
