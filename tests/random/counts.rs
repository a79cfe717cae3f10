//! Counts of what the seeds covered, so that a loss of coverage fails the test.

use std::collections::{BTreeMap, BTreeSet};

use crate::{compare::StoredEvent, history::Change, plan::Plan};

/// Counts of one run, or the sum of several.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    runs: usize,
    changes: usize,
    /// The changes that happened in gaps.
    in_gaps: usize,
    events: usize,
    /// The number of runs with an Event of each reason.
    reasons: BTreeMap<String, usize>,
    /// How often each fault occurred.
    faults: Faults,
}

/// How often each fault occurred.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults(BTreeMap<&'static str, usize>);

impl Faults {
    /// Counts an occurrence of a fault.
    pub(crate) fn count(&mut self, fault: &'static str) {
        self.add(fault, 1);
    }

    /// Adds the counts of other faults.
    pub(crate) fn extend(&mut self, other: &Self) {
        for (fault, count) in &other.0 {
            self.add(fault, *count);
        }
    }

    fn add(&mut self, fault: &'static str, count: usize) {
        *self.0.entry(fault).or_default() += count;
    }
}

/// The faults of writes.
const WRITES: [&str; 9] = [
    "write refused with 429",
    "write refused with 500",
    "write refused with 503",
    "write done but answered with 500",
    "write done but answered with 504",
    "write never answered",
    "write done but never answered",
    "connection broken",
    "connection broken after the write",
];

/// The faults of watches in tests of the reconciler.
pub(crate) const FAULTS: [&str; 9] = [
    "watch resumed",
    "watch broken twice",
    "list",
    "list begun twice",
    "list of policies",
    "event twice",
    "SIGTERM",
    "SIGKILL",
    "process stalls",
];

/// The faults of watches in tests of the complete operator.
pub(crate) const OUTAGES: [&str; 14] = [
    "outage",
    "watch ended",
    "watch cut in an event",
    "read refused with 429",
    "read refused with 500",
    "read refused with 503",
    "no connection for a read",
    "410 as an answer",
    "410 as an event",
    "list broken off",
    "event twice",
    "SIGTERM",
    "SIGKILL",
    "process stalls",
];

impl Counts {
    /// The counts of one run.
    pub(crate) fn new(
        plan: &Plan,
        changes: &[(i64, Change)],
        events: &BTreeMap<String, StoredEvent>,
        faults: Faults,
    ) -> Self {
        let is_in_gap = |(second, _): &&(i64, Change)| plan.gap(*second).is_some();
        let reasons: BTreeSet<&String> = events.values().map(|event| &event.reason).collect();
        Self {
            runs: 1,
            changes: changes.len(),
            in_gaps: changes.iter().filter(is_in_gap).count(),
            events: events.len(),
            reasons: reasons.into_iter().map(|reason| (reason.clone(), 1)).collect(),
            faults,
        }
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.runs += other.runs;
        self.changes += other.changes;
        self.in_gaps += other.in_gaps;
        self.events += other.events;
        for (reason, count) in &other.reasons {
            *self.reasons.entry(reason.clone()).or_default() += count;
        }
        self.faults.extend(&other.faults);
    }

    /// Asserts that every reason and every fault occurred often enough.
    pub(crate) fn assert_sufficient(&self, faults: &[&'static str]) {
        assert_eq!(self.reasons.len(), 8, "seven checks and recoveries: {self:?}");
        let often = |count: &usize| *count >= self.runs / 10;
        assert!(self.reasons.values().all(often), "{self:?}");
        let expected: BTreeSet<&str> = WRITES.iter().chain(faults).copied().collect();
        let found: BTreeSet<&str> = self.faults.0.keys().copied().collect();
        assert_eq!(found, expected, "every fault, and no other");
        assert!(self.faults.0.values().all(often), "{self:?}");
        assert!(self.events > 10 * self.runs, "{self:?}");
        assert!(self.in_gaps > 3 * self.runs, "{self:?}");
    }
}
