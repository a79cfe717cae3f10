//! The subjects to evaluate: those whose facts have changed, those that wait for the end of a hold, and their deadlines.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::domain::history::Observed;

/// The subjects of one kind of facts to evaluate.
#[derive(Debug)]
pub(in crate::domain::index) struct Queue<K> {
    /// The subjects to evaluate, and how their latest change was observed.
    changed: BTreeMap<K, Observed>,
    /// The subjects to evaluate after the hold of their watch.
    held: BTreeMap<K, Observed>,
    /// The next time at which time alone changes each subject.
    deadlines: BTreeSet<(Timestamp, K)>,
    deadline_of: BTreeMap<K, Timestamp>,
}

impl<K> Default for Queue<K> {
    fn default() -> Self {
        Self {
            changed: BTreeMap::new(),
            held: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            deadline_of: BTreeMap::new(),
        }
    }
}

impl<K: Clone + Ord> Queue<K> {
    /// Queues a subject whose facts have changed.
    pub(in crate::domain::index) fn mark(&mut self, key: K, observed: Observed) {
        let kept = self.changed.entry(key).or_insert(observed);
        *kept = observed.max(*kept);
    }

    /// Whether a subject has to be evaluated.
    pub(in crate::domain::index) fn has_work(&self) -> bool {
        !self.changed.is_empty()
    }

    /// The first subject to evaluate at or after `first`.
    pub(in crate::domain::index) fn changed_from(&self, first: &K) -> Option<&K> {
        self.changed.range(first..).next().map(|(key, _)| key)
    }

    /// Removes and returns the first subject to evaluate at or after `from`, with how its latest change was observed. For a subject
    /// that waits, `after` returns the key at which the search goes on; `from` keeps it for the next call.
    pub(in crate::domain::index) fn next_changed(
        &mut self,
        from: &mut K,
        after: impl Fn(&K) -> Option<K>,
    ) -> Option<(K, Observed)> {
        loop {
            let key = self.changed_from(from)?.clone();
            match after(&key) {
                Some(next) => *from = next,
                None => return self.changed.remove_entry(&key),
            }
        }
    }

    /// Lets a subject wait for the end of the hold.
    pub(in crate::domain::index) fn hold(&mut self, key: K, observed: Observed) {
        self.set_deadline(&key, None);
        let kept = self.held.entry(key).or_insert(observed);
        *kept = observed.max(*kept);
    }

    /// Queues the subjects that waited for the end of a hold, and those whose deadlines have passed.
    pub(in crate::domain::index) fn release(&mut self, now: Timestamp, concerns: impl Fn(&K) -> bool) {
        let due = self.deadlines.iter().take_while(|(at, _)| *at <= now);
        let due: Vec<K> = due
            .map(|(_, key)| key.clone())
            .filter(|key| concerns(key))
            .collect();
        for key in due {
            self.set_deadline(&key, None);
            self.mark(key, Observed::Live);
        }
        let held = std::mem::take(&mut self.held);
        for (key, observed) in held {
            if concerns(&key) {
                self.mark(key, observed);
            } else {
                self.held.insert(key, observed);
            }
        }
    }

    pub(in crate::domain::index) fn set_deadline(&mut self, key: &K, deadline: Option<Timestamp>) {
        if let Some(at) = self.deadline_of.remove(key) {
            self.deadlines.remove(&(at, key.clone()));
        }
        if let Some(at) = deadline {
            self.deadline_of.insert(key.clone(), at);
            self.deadlines.insert((at, key.clone()));
        }
    }

    /// The next deadline.
    pub(in crate::domain::index) fn next_deadline(&self) -> Option<Timestamp> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// Removes and returns the first deadline that is not after `now`.
    pub(in crate::domain::index) fn take_due(&mut self, now: Timestamp) -> Option<(Timestamp, K)> {
        let is_due = self.deadlines.first().is_some_and(|(at, _)| *at <= now);
        let (at, key) = is_due.then(|| self.deadlines.pop_first()).flatten()?;
        self.deadline_of.remove(&key);
        Some((at, key))
    }
}

#[cfg(test)]
impl<K: Clone + Ord> Queue<K> {
    /// Panics if the deadlines differ from those by subject. Returns the subjects with a deadline.
    pub(in crate::domain::index) fn assert_deadlines(&self) -> impl Iterator<Item = &K> {
        let by_key = self.deadline_of.iter().map(|(key, at)| (*at, key.clone()));
        assert!(self.deadlines == by_key.collect(), "deadlines of subjects");
        self.deadline_of.keys()
    }
}
