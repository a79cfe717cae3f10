//! What stories were made of, so that it shows when they become poor.

use std::collections::{BTreeMap, BTreeSet};

use crate::{compare::Told, history::Change, plan::Plan};

/// See the module's documentation.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    stories: usize,
    changes: usize,
    /// How many of them happened while nobody looked.
    unseen: usize,
    events: usize,
    /// In how many stories there was an Event for this reason.
    reasons: BTreeMap<String, usize>,
    /// How often each fault came.
    faults: Faults,
}

/// How often each fault came.
pub(crate) type Faults = BTreeMap<&'static str, usize>;

/// What may become of a write.
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

/// What may become of a watch, as the reconciler is told of it.
pub(crate) const FAULTS: [&str; 9] = [
    "watch resumed",
    "watch broken twice",
    "list",
    "list begun twice",
    "list of policies",
    "event twice",
    "SIGTERM",
    "SIGKILL",
    "process stands still",
];

/// What may become of a watch, as the API server answers.
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
    "process stands still",
];

impl Tally {
    /// Of one story.
    pub(crate) fn new(
        plan: &Plan,
        changes: &[(i64, Change)],
        events: &BTreeMap<String, Told>,
        faults: Faults,
    ) -> Self {
        let is_unseen = |(second, _): &&(i64, Change)| plan.blind(*second).is_some();
        let reasons: BTreeSet<&String> = events.values().map(|told| &told.reason).collect();
        Self {
            stories: 1,
            changes: changes.len(),
            unseen: changes.iter().filter(is_unseen).count(),
            events: events.len(),
            reasons: reasons.into_iter().map(|reason| (reason.clone(), 1)).collect(),
            faults,
        }
    }

    pub(crate) fn add(&mut self, told: &Self) {
        self.stories += told.stories;
        self.changes += told.changes;
        self.unseen += told.unseen;
        self.events += told.events;
        for (reason, count) in &told.reasons {
            *self.reasons.entry(reason.clone()).or_default() += count;
        }
        for (fault, count) in &told.faults {
            *self.faults.entry(fault).or_default() += count;
        }
    }

    /// That all of it happened, and often.
    pub(crate) fn assert_rich(&self, faults: &[&'static str]) {
        assert_eq!(self.reasons.len(), 8, "seven checks and recoveries: {self:?}");
        let often = |count: &usize| *count >= self.stories / 10;
        assert!(self.reasons.values().all(often), "{self:?}");
        let expected: BTreeSet<&str> = WRITES.iter().chain(faults).copied().collect();
        let found: BTreeSet<&str> = self.faults.keys().copied().collect();
        assert_eq!(found, expected, "every fault, and no other");
        assert!(self.faults.values().all(often), "{self:?}");
        assert!(self.events > 10 * self.stories, "{self:?}");
        assert!(self.unseen > 3 * self.stories, "{self:?}");
    }
}
