//! Decides which status, of a policy or an exemption, is synced and when. No I/O; time is an argument.
//!
//! A policy is *dirty* when its status may differ from the observed one. A dirty policy is due at once, unless its status was
//! written or compared a short time ago, or waits for the Events of the policy. The policies that are due take turns by
//! namespace, as [`FairQueue`] says. The queue contains only keys: the status is computed when its turn comes.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    hash::Hash,
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;

use super::fair_queue::{Attempt, FairQueue};
use crate::{
    api::PolicyStatus,
    domain::policy::PolicyKey,
    kubernetes::{backoff::Backoff, decode::policy::status::ObservedStatus},
};

/// Minimum time between two writes to one policy.
const WRITE_PERIOD: Duration = Duration::from_secs(10);
/// Minimum time after a sync without a write. A report costs time, and most Pod updates do not change a status.
const SYNC_PERIOD: Duration = Duration::from_millis(500);

/// Maximum time that a status waits for the Events of its policy. Then it is written without them.
const EVENTS_TIMEOUT: Duration = Duration::from_secs(5);
/// Wait after a write that was not sent because this replica had no permit.
const POSTPONED: Duration = Duration::from_secs(1);

/// The identity of an object that has a status.
pub trait Subject: Clone + Eq + Hash + Ord {
    /// Returns the name under which the object takes turns: its namespace, or a name of its own.
    fn flow(&self) -> Arc<str>;
}

/// Where a policy is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Nowhere: it is not dirty.
    Idle,
    /// In `due`, at this time.
    Due(Instant),
    /// In `turns`.
    Queued,
    /// A sync is running.
    Syncing,
}

#[derive(Debug)]
struct Entry<S> {
    observed: ObservedStatus<S>,
    dirty: bool,
    place: Place,
    /// Earliest time of the next sync.
    not_before: Instant,
    /// Until when the status waits for the Events of its policy.
    events_until: Option<Instant>,
    /// The back-off after conflicts.
    backoff: Backoff,
}

/// A policy that is due.
#[derive(Debug)]
pub(super) struct Sync<K, S> {
    pub(super) key: K,
    pub(super) observed: ObservedStatus<S>,
    /// The status may wait for the Events of its policy.
    pub(super) may_wait: bool,
    flow: Arc<str>,
}

/// Result of a sync.
#[derive(Clone, Debug)]
pub(super) enum Outcome<S = PolicyStatus> {
    /// The observed status is current, or there is no report yet.
    Unchanged,
    /// The status was written.
    Written(ObservedStatus<S>),
    /// The status waits until this policy has no pending Event, for at most [`EVENTS_TIMEOUT`].
    AwaitsEvents(PolicyKey),
    /// The object has changed since it was observed. The write is retried with the object that the watch delivers.
    Conflict,
    /// The write failed and is retried.
    Failed {
        /// `Retry-After` of the response.
        retry_after: Option<Duration>,
    },
    /// This replica had no permit. The write is retried.
    NotSent,
    /// The policy does not exist.
    NotFound,
}

/// The known policies, and the time at which each is due.
#[derive(Debug)]
pub(super) struct StatusQueue<K = PolicyKey, S = PolicyStatus> {
    entries: HashMap<K, Entry<S>>,
    /// Dirty policies that wait for a time.
    due: BTreeSet<(Instant, K)>,
    /// Of these, the policies whose Events are awaited.
    awaiting: BTreeMap<K, PolicyKey>,
    /// Dirty policies whose time has come. Contains keys of deleted policies until their turn comes.
    turns: FairQueue<K>,
}

impl<K: Subject, S: Clone + PartialEq> StatusQueue<K, S> {
    pub(super) fn new() -> Self {
        Self {
            entries: HashMap::new(),
            due: BTreeSet::new(),
            awaiting: BTreeMap::new(),
            turns: FairQueue::new(),
        }
    }

    /// Records the status that a watch observed.
    ///
    /// The version can be lower than that of the last write: the watch has not delivered the write yet, or etcd was
    /// restored. Both are compared at the next sync, which comes so late after a write that the watch has delivered it.
    pub(super) fn observe(&mut self, key: &K, observed: ObservedStatus<S>, now: Instant) {
        match self.entries.get_mut(key) {
            Some(entry) if entry.observed.uid == observed.uid => {
                let is_changed = entry.observed.status != observed.status;
                entry.observed = observed;
                if is_changed {
                    self.mark_changed(key, now);
                }
            }
            _ => {
                self.remove(key);
                let entry = Entry {
                    observed,
                    dirty: false,
                    place: Place::Idle,
                    not_before: now,
                    events_until: None,
                    backoff: Backoff::default(),
                };
                self.entries.insert(key.clone(), entry);
                self.mark_changed(key, now);
            }
        }
    }

    /// Marks a policy whose status may have changed.
    pub(super) fn mark_changed(&mut self, key: &K, now: Instant) {
        if let Some(entry) = self.entries.get_mut(key) {
            entry.dirty = true;
            if entry.place == Place::Idle {
                let at = entry.not_before.max(now);
                entry.place = Place::Due(at);
                self.due.insert((at, key.clone()));
            }
        }
    }

    /// Marks all policies, for a replica that becomes the leader.
    pub(super) fn mark_all_changed(&mut self, now: Instant) {
        let keys: Vec<K> = self.entries.keys().cloned().collect();
        for key in &keys {
            self.mark_changed(key, now);
        }
    }

    /// Makes the policies due that no longer await Events.
    pub(super) fn events_written(&mut self, is_pending: impl Fn(&PolicyKey) -> bool, now: Instant) {
        let written = self.awaiting.iter().filter(|(_, policy)| !is_pending(policy));
        let written: Vec<K> = written.map(|(key, _)| key.clone()).collect();
        for key in written {
            self.awaiting.remove(&key);
            if let Some(entry) = self.entries.get_mut(&key)
                && let Place::Due(at) = entry.place
            {
                entry.place = Place::Due(now);
                self.due.remove(&(at, key.clone()));
                self.due.insert((now, key));
            }
        }
    }

    /// Removes a deleted policy.
    pub(super) fn remove(&mut self, key: &K) {
        if let Some(entry) = self.entries.remove(key)
            && let Place::Due(at) = entry.place
        {
            self.due.remove(&(at, key.clone()));
        }
        self.awaiting.remove(key);
    }

    /// Removes the policies for which `is_listed` is true and that are not in `existing`.
    pub(super) fn retain(&mut self, is_listed: impl Fn(&K) -> bool, existing: &BTreeSet<K>) {
        let keys = self.entries.keys();
        let gone: Vec<K> = keys
            .filter(|key| is_listed(key) && !existing.contains(*key))
            .cloned()
            .collect();
        for key in &gone {
            self.remove(key);
        }
    }

    /// Returns the next policy that is due. The caller reports the result with [`Self::finish`]. Does not return the policy
    /// again before that.
    pub(super) fn take(&mut self, now: Instant) -> Option<Sync<K, S>> {
        while let Some(first) = self.due.pop_first() {
            if first.0 > now {
                self.due.insert(first);
                break;
            }
            let (_, key) = first;
            self.awaiting.remove(&key);
            if let Some(entry) = self.entries.get_mut(&key) {
                entry.place = Place::Queued;
                self.turns.push(&key.flow(), key, now);
            }
        }
        loop {
            let (flow, key) = self.turns.take(now, |_| true)?;
            match self.entries.get_mut(&key) {
                Some(entry) if entry.place == Place::Queued => {
                    entry.place = Place::Syncing;
                    entry.dirty = false;
                    return Some(Sync {
                        key,
                        observed: entry.observed.clone(),
                        may_wait: entry.events_until.is_none_or(|until| now < until),
                        flow,
                    });
                }
                // The policy was deleted, and perhaps created again.
                _ => self.turns.end(&flow, Attempt::NotSent(Duration::ZERO), now),
            }
        }
    }

    /// Records the result of a sync.
    pub(super) fn finish(&mut self, sync: &Sync<K, S>, outcome: Outcome<S>, now: Instant) {
        let Sync {
            key, observed, flow, ..
        } = sync;
        let attempt = match &outcome {
            Outcome::Unchanged | Outcome::AwaitsEvents(_) => Attempt::NotSent(Duration::ZERO),
            Outcome::NotSent => Attempt::NotSent(POSTPONED),
            Outcome::Written(_) | Outcome::Conflict | Outcome::NotFound => Attempt::Accepted,
            Outcome::Failed { retry_after } => Attempt::Failed {
                retry_after: *retry_after,
            },
        };
        let entry = self.entries.get_mut(key);
        let Some(entry) = entry.filter(|entry| entry.observed.uid == observed.uid) else {
            return self.turns.end(flow, attempt, now);
        };
        if let Outcome::Failed { .. } | Outcome::NotSent = outcome {
            entry.dirty = true;
            entry.place = Place::Queued;
            return self.turns.end_with(flow, attempt, key.clone(), now);
        }
        self.turns.end(flow, attempt, now);
        entry.place = Place::Idle;
        match outcome {
            Outcome::Unchanged => {
                entry.not_before = now + SYNC_PERIOD;
                entry.events_until = None;
                entry.backoff.reset();
            }
            Outcome::Written(written) => {
                if written.version >= entry.observed.version {
                    entry.observed = written;
                }
                entry.not_before = now + WRITE_PERIOD;
                entry.events_until = None;
                entry.backoff.reset();
            }
            Outcome::AwaitsEvents(policy) => {
                entry.not_before = *entry.events_until.get_or_insert(now + EVENTS_TIMEOUT);
                entry.dirty = true;
                self.awaiting.insert(key.clone(), policy);
            }
            Outcome::Conflict => {
                entry.not_before = now + entry.backoff.next_wait();
                entry.dirty = true;
            }
            Outcome::NotFound => return self.remove(key),
            Outcome::Failed { .. } | Outcome::NotSent => {}
        }
        if entry.dirty {
            entry.place = Place::Due(entry.not_before);
            self.due.insert((entry.not_before, key.clone()));
        }
    }

    /// Returns when the next policy is due, or the next circuit may close.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let due = self.due.first().map(|(due, _)| *due);
        due.into_iter().chain(self.turns.next_due()).min()
    }

    /// Makes all dirty policies due now, for the shutdown.
    pub(super) fn flush(&mut self, now: Instant) {
        self.due.clear();
        self.turns.flush(now);
        for (key, entry) in &mut self.entries {
            entry.not_before = now;
            if let Place::Due(_) = entry.place {
                entry.place = Place::Due(now);
                self.due.insert((now, key.clone()));
            }
        }
    }

    /// Reports whether no policy is dirty and no sync is running.
    pub(super) fn is_idle(&self) -> bool {
        self.due.is_empty() && self.turns.len() == 0
    }
}

#[cfg(test)]
mod tests;
