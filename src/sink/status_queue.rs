//! Decides which policy status is synced and when. No I/O; time is an argument.
//!
//! A policy is *dirty* when its status may differ from the observed one. A dirty policy is due at once, unless its
//! status was written or compared a short time ago. The queue contains only keys: the status is computed when it is
//! due.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    domain::policy::PolicyKey,
    kubernetes::{backoff::Backoff, decode::policy::status::ObservedStatus},
};

/// Minimum time between two writes to one policy.
const WRITE_PERIOD: Duration = Duration::from_secs(10);
/// Minimum time after a sync without a write. A report costs time, and most Pod updates do not change a status.
const SYNC_PERIOD: Duration = Duration::from_millis(500);

#[derive(Debug)]
struct Entry {
    observed: ObservedStatus,
    dirty: bool,
    /// A sync is running.
    busy: bool,
    /// Earliest time of the next sync.
    not_before: Instant,
    backoff: Backoff,
}

/// Result of a sync.
#[derive(Clone, Debug)]
pub(super) enum Outcome {
    /// The observed status is current, or there is no report yet.
    Unchanged,
    /// The status was written.
    Written(ObservedStatus),
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
#[derive(Debug, Default)]
pub(super) struct StatusQueue {
    entries: HashMap<PolicyKey, Entry>,
    due: BTreeSet<(Instant, PolicyKey)>,
}

impl StatusQueue {
    /// Records the status that a watch observed.
    ///
    /// The version can be lower than that of the last write: the watch has not delivered the write yet, or etcd was
    /// restored. Both are compared at the next sync, which comes so late after a write that the watch has delivered it.
    pub(super) fn observe(&mut self, key: &PolicyKey, observed: ObservedStatus, now: Instant) {
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
    pub(super) fn mark_changed(&mut self, key: &PolicyKey, now: Instant) {
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
        let keys: Vec<PolicyKey> = self.entries.keys().cloned().collect();
        for key in &keys {
            self.mark_changed(key, now);
        }
    }

    /// Removes a deleted policy.
    pub(super) fn remove(&mut self, key: &PolicyKey) {
        self.entries.remove(key);
        self.due.retain(|(_, due)| due != key);
    }

    /// Removes the policies for which `is_listed` is true and that are not in `existing`.
    pub(super) fn retain(&mut self, is_listed: impl Fn(&PolicyKey) -> bool, existing: &BTreeSet<PolicyKey>) {
        let stays = |key: &PolicyKey| !is_listed(key) || existing.contains(key);
        self.entries.retain(|key, _| stays(key));
        self.due.retain(|(_, key)| stays(key));
    }

    /// Returns the next policy that is due, with its observed status. Does not return it again before [`Self::finish`].
    pub(super) fn take(&mut self, now: Instant) -> Option<(PolicyKey, ObservedStatus)> {
        let first = self.due.first().filter(|(due, _)| *due <= now).cloned()?;
        self.due.remove(&first);
        let (_, key) = first;
        let entry = self.entries.get_mut(&key)?;
        entry.dirty = false;
        entry.busy = true;
        Some((key, entry.observed.clone()))
    }

    /// Records the result of a sync. `uid` is that of the object that was compared.
    pub(super) fn finish(&mut self, key: &PolicyKey, uid: &str, outcome: Outcome, now: Instant) {
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
mod tests {
    use super::{
        super::{event_object::tests::policy, status_object},
        *,
    };
    use crate::domain::policy::PolicyKind;

    const fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    fn key() -> PolicyKey {
        policy(PolicyKind::SidecarPolicy)
    }

    fn observed(version: u64, firing: u32) -> ObservedStatus {
        let report = status_object::tests::report(firing);
        ObservedStatus {
            uid: "u".into(),
            version,
            status: Some(status_object::status(&report, None, jiff::Timestamp::UNIX_EPOCH)),
        }
    }

    /// A queue with one policy that was synced and had nothing to write.
    fn clean(start: Instant) -> StatusQueue {
        let mut queue = StatusQueue::default();
        queue.observe(&key(), observed(1, 0), start);
        assert!(queue.take(start).is_some(), "a new policy is due");
        queue.finish(&key(), "u", Outcome::Unchanged, start);
        assert_eq!(queue.next_due(), None);
        queue
    }

    #[test]
    fn a_policy_is_written_at_once_and_then_every_ten_seconds() {
        let start = Instant::now();
        let mut queue = clean(start);
        let now = start + secs(60);
        queue.mark_changed(&key(), now);
        assert!(queue.take(now).is_some(), "at once");
        queue.mark_changed(&key(), now);
        assert!(queue.take(now).is_none(), "one write at a time");
        queue.finish(&key(), "u", Outcome::Written(observed(2, 1)), now);
        for n in 1..10 {
            queue.mark_changed(&key(), now + secs(n));
            assert!(queue.take(now + secs(n)).is_none(), "{n} s after a write");
        }
        assert_eq!(queue.next_due(), Some(now + secs(10)));
        let (_, taken) = queue.take(now + secs(10)).unwrap();
        assert_eq!(taken, observed(2, 1), "the written status counts as observed");
        queue.finish(&key(), "u", Outcome::Unchanged, now + secs(10));
        assert_eq!(queue.next_due(), None, "all changes are one sync");
    }

    #[test]
    fn the_next_sync_after_one_that_wrote_nothing_is_soon() {
        let start = Instant::now();
        let mut queue = clean(start);
        queue.mark_changed(&key(), start);
        assert_eq!(queue.next_due(), Some(start + SYNC_PERIOD));
    }

    #[test]
    fn the_watch_event_of_an_own_write_is_not_a_change() {
        let start = Instant::now();
        let mut queue = clean(start);
        queue.mark_changed(&key(), start + secs(1));
        queue.take(start + secs(1)).unwrap();
        queue.finish(&key(), "u", Outcome::Written(observed(5, 1)), start + secs(1));
        queue.observe(&key(), observed(5, 1), start + secs(1));
        assert_eq!(queue.next_due(), None, "the write itself");
        queue.observe(&key(), observed(6, 0), start + secs(2));
        assert_eq!(
            queue.next_due(),
            Some(start + secs(11)),
            "another client changed the status"
        );
    }

    #[test]
    fn a_version_older_than_the_write_is_not_compared_before_the_watch_delivers_the_write() {
        let start = Instant::now();
        let mut queue = clean(start);
        queue.mark_changed(&key(), start + secs(1));
        queue.take(start + secs(1)).unwrap();
        queue.observe(&key(), observed(3, 0), start + secs(1));
        queue.finish(&key(), "u", Outcome::Written(observed(5, 1)), start + secs(1));
        queue.observe(&key(), observed(4, 0), start + secs(2));
        assert!(queue.take(start + secs(10)).is_none(), "within ten seconds");
        queue.observe(&key(), observed(5, 1), start + secs(2));
        assert_eq!(queue.take(start + secs(11)), Some((key(), observed(5, 1))));
    }

    #[test]
    fn lower_versions_after_a_restore_of_etcd_are_compared() {
        let start = Instant::now();
        let mut queue = clean(start);
        queue.mark_changed(&key(), start + secs(1));
        queue.take(start + secs(1)).unwrap();
        queue.finish(&key(), "u", Outcome::Written(observed(900, 1)), start + secs(1));
        queue.observe(&key(), observed(900, 1), start + secs(1));
        queue.observe(&key(), observed(500, 0), start + secs(60));
        assert_eq!(
            queue.take(start + secs(60)),
            Some((key(), observed(500, 0))),
            "the restored status"
        );
        queue.finish(&key(), "u", Outcome::Written(observed(501, 1)), start + secs(60));
        queue.observe(&key(), observed(501, 1), start + secs(60));
        assert_eq!(queue.next_due(), None, "the write after the restore");
    }

    #[test]
    fn a_failed_write_is_retried_with_back_off() {
        let start = Instant::now();
        let mut queue = clean(start);
        let mut now = start + secs(60);
        queue.mark_changed(&key(), now);
        let mut waits = Vec::new();
        for _ in 0..8 {
            queue.take(now).unwrap();
            queue.finish(&key(), "u", Outcome::Failed { retry_after: None }, now);
            let due = queue.next_due().unwrap();
            waits.push(due - now);
            now = due;
        }
        assert!(waits[0] <= Duration::from_millis(800), "{waits:?}");
        assert!(waits[7] >= secs(15) && waits[7] <= secs(30), "{waits:?}");
        queue.take(now).unwrap();
        queue.finish(
            &key(),
            "u",
            Outcome::Failed {
                retry_after: Some(secs(45)),
            },
            now,
        );
        assert_eq!(queue.next_due(), Some(now + secs(45)), "Retry-After is respected");
    }

    #[test]
    fn a_deleted_policy_is_removed() {
        let start = Instant::now();
        let mut queue = clean(start);
        queue.mark_changed(&key(), start);
        queue.remove(&key());
        assert!(queue.take(start + secs(60)).is_none(), "deleted");
        queue.mark_changed(&key(), start);
        assert!(queue.take(start + secs(60)).is_none(), "unknown policy");

        queue.observe(&key(), observed(1, 0), start);
        queue.take(start).unwrap();
        queue.finish(&key(), "u", Outcome::NotFound, start);
        assert!(queue.entries.is_empty(), "the API server does not know it");

        queue.observe(&key(), observed(1, 0), start);
        queue.retain(|_| false, &BTreeSet::new());
        assert_eq!(
            queue.entries.len(),
            1,
            "a list of another kind or namespace does not remove it"
        );
        queue.retain(|_| true, &BTreeSet::from([key()]));
        assert_eq!(queue.entries.len(), 1, "listed");
        queue.retain(|_| true, &BTreeSet::new());
        assert!(
            queue.entries.is_empty() && queue.next_due().is_none(),
            "not listed"
        );
    }

    #[test]
    fn a_policy_created_again_is_a_new_policy() {
        let start = Instant::now();
        let mut queue = clean(start);
        queue.mark_changed(&key(), start + secs(1));
        queue.take(start + secs(1)).unwrap();
        let created = ObservedStatus {
            uid: "u2".into(),
            version: 9,
            status: None,
        };
        queue.observe(&key(), created.clone(), start + secs(1));
        queue.finish(&key(), "u", Outcome::Written(observed(8, 1)), start + secs(1));
        assert_eq!(queue.take(start + secs(1)), Some((key(), created)), "due at once");
    }

    #[test]
    fn flush_makes_dirty_policies_due_at_once() {
        let start = Instant::now();
        let mut queue = clean(start);
        queue.mark_changed(&key(), start + secs(1));
        queue.take(start + secs(1)).unwrap();
        queue.finish(&key(), "u", Outcome::Written(observed(5, 1)), start + secs(1));
        queue.mark_changed(&key(), start + secs(2));
        queue.flush(start + secs(2));
        assert!(queue.take(start + secs(2)).is_some());
        assert!(!queue.is_idle());
        queue.finish(&key(), "u", Outcome::Unchanged, start + secs(2));
        assert!(queue.is_idle());
    }
}
