//! Decides which status, of a policy or an exemption, is synced and when. No I/O; time is an argument.
//!
//! A policy is *dirty* when its status may differ from the observed one. A dirty policy is due at once, unless its
//! status was written or compared a short time ago. The queue contains only keys: the status is computed when it is
//! due.

use std::{
    collections::{BTreeSet, HashMap},
    hash::Hash,
    time::Duration,
};

use tokio::time::Instant;

use super::{
    other_installations::{OtherInstallations, Writers},
    status_content::StatusContent,
};
use crate::{
    api::PolicyStatus,
    domain::policy::PolicyKey,
    kubernetes::{backoff::Backoff, decode::policy::status::ObservedStatus, installation::Installation},
};

/// Minimum time between two writes to one policy.
const WRITE_PERIOD: Duration = Duration::from_secs(10);
/// Minimum time after a sync without a write. A report costs time, and most Pod updates do not change a status.
const SYNC_PERIOD: Duration = Duration::from_millis(500);

#[derive(Debug)]
struct Entry<S> {
    observed: ObservedStatus<S>,
    others: OtherInstallations,
    /// [`StatusQueue::heartbeat`] was called since the last sync.
    is_heartbeat: bool,
    dirty: bool,
    /// A sync is running.
    busy: bool,
    /// Earliest time of the next sync.
    not_before: Instant,
    backoff: Backoff,
}

/// Result of a sync.
#[derive(Clone, Debug)]
pub(super) enum Outcome<S = PolicyStatus> {
    /// The observed status is current, or there is no report yet.
    Unchanged,
    /// The status was written.
    Written(ObservedStatus<S>),
    /// The object has changed since it was observed. The write is retried with the object that the watch delivers.
    Conflict,
    /// The write failed and is retried.
    Failed {
        /// `Retry-After` of the response.
        retry_after: Option<Duration>,
    },
    /// The policy does not exist.
    NotFound,
}

/// The known policies, and the time at which each is due.
#[derive(Debug)]
pub(super) struct StatusQueue<K = PolicyKey, S = PolicyStatus> {
    own: Installation,
    entries: HashMap<K, Entry<S>>,
    due: BTreeSet<(Instant, K)>,
}

impl<K: Clone + Eq + Hash + Ord, S: StatusContent> StatusQueue<K, S> {
    /// Creates the queue of a replica of this installation.
    pub(super) fn new(own: Installation) -> Self {
        Self {
            own,
            entries: HashMap::new(),
            due: BTreeSet::new(),
        }
    }

    /// Records the status that a watch observed.
    ///
    /// The version can be lower than that of the last write: the watch has not delivered the write yet, or etcd was
    /// restored. Both are compared at the next sync, which comes so late after a write that the watch has delivered it.
    pub(super) fn observe(&mut self, key: &K, observed: ObservedStatus<S>, now: Instant) {
        match self.entries.get_mut(key) {
            Some(entry) if entry.observed.uid == observed.uid => {
                let is_changed =
                    entry.observed.status != observed.status || entry.observed.writers != observed.writers;
                entry.others.observe(&self.own, &observed, false, now);
                entry.observed = observed;
                if is_changed {
                    self.mark_changed(key, now);
                }
            }
            _ => {
                self.remove(key);
                let mut others = OtherInstallations::default();
                others.observe(&self.own, &observed, true, now);
                let entry = Entry {
                    observed,
                    others,
                    is_heartbeat: false,
                    dirty: false,
                    busy: false,
                    not_before: now,
                    backoff: Backoff::default(),
                };
                self.entries.insert(key.clone(), entry);
                self.mark_changed(key, now);
            }
        }
    }

    /// Marks a policy whose status may have changed.
    pub(super) fn mark_changed(&mut self, key: &K, now: Instant) {
        if let Some(entry) = self.entries.get_mut(key)
            && !entry.dirty
        {
            entry.dirty = true;
            if !entry.busy {
                self.due.insert((entry.not_before.max(now), key.clone()));
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

    /// Marks the policies whose status another installation has written.
    pub(super) fn heartbeat(&mut self, now: Instant) {
        let shared = self
            .entries
            .iter_mut()
            .filter(|(_, entry)| !entry.others.is_empty());
        let keys: Vec<K> = shared
            .map(|(key, entry)| {
                entry.is_heartbeat = true;
                key.clone()
            })
            .collect();
        for key in &keys {
            self.mark_changed(key, now);
        }
    }

    /// Removes a deleted policy.
    pub(super) fn remove(&mut self, key: &K) {
        self.entries.remove(key);
        self.due.retain(|(_, due)| due != key);
    }

    /// Removes the policies for which `is_listed` is true and that are not in `existing`.
    pub(super) fn retain(&mut self, is_listed: impl Fn(&K) -> bool, existing: &BTreeSet<K>) {
        let stays = |key: &K| !is_listed(key) || existing.contains(key);
        self.entries.retain(|key, _| stays(key));
        self.due.retain(|(_, key)| stays(key));
    }

    /// Returns the next policy that is due, with its observed status and what other installations require. Does not return
    /// it again before [`Self::finish`].
    pub(super) fn take(&mut self, now: Instant) -> Option<(K, ObservedStatus<S>, Writers)> {
        let first = self.due.first().filter(|(due, _)| *due <= now).cloned()?;
        self.due.remove(&first);
        let (_, key) = first;
        let entry = self.entries.get_mut(&key)?;
        entry.dirty = false;
        entry.busy = true;
        let writers = Writers {
            is_heartbeat: std::mem::take(&mut entry.is_heartbeat),
            ..entry.others.writers(&self.own, &entry.observed, now)
        };
        Some((key, entry.observed.clone(), writers))
    }

    /// Records the result of a sync. `uid` is that of the object that was compared.
    pub(super) fn finish(&mut self, key: &K, uid: &str, outcome: Outcome<S>, now: Instant) {
        let Some(entry) = self
            .entries
            .get_mut(key)
            .filter(|entry| *entry.observed.uid == *uid)
        else {
            return;
        };
        entry.busy = false;
        match outcome {
            Outcome::Unchanged => {
                entry.not_before = now + SYNC_PERIOD;
                entry.backoff.reset();
            }
            Outcome::Written(written) => {
                if written.version >= entry.observed.version {
                    entry.others.observe(&self.own, &written, false, now);
                    entry.observed = written;
                }
                entry.not_before = now + WRITE_PERIOD;
                entry.backoff.reset();
            }
            Outcome::Conflict => {
                entry.not_before = now + entry.backoff.next_wait();
                entry.dirty = true;
            }
            Outcome::Failed { retry_after } => {
                entry.not_before = now + entry.backoff.next_wait_or(retry_after);
                entry.dirty = true;
            }
            Outcome::NotFound => return self.remove(key),
        }
        if entry.dirty {
            self.due.insert((entry.not_before, key.clone()));
        }
    }

    /// Returns when the next policy is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.due.first().map(|(due, _)| *due)
    }

    /// Makes all dirty policies due now, for the shutdown.
    pub(super) fn flush(&mut self, now: Instant) {
        let waiting = std::mem::take(&mut self.due);
        self.due.extend(waiting.into_iter().map(|(_, key)| (now, key)));
        for entry in self.entries.values_mut() {
            entry.not_before = now;
        }
    }

    /// Reports whether no policy is dirty and no sync is running.
    pub(super) fn is_idle(&self) -> bool {
        self.due.is_empty() && self.entries.values().all(|entry| !entry.busy)
    }
}

#[cfg(test)]
mod tests;
