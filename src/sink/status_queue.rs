//! Which policy's status is looked at when. No I/O; time is an argument.
//!
//! A policy is *dirty* when its status may read differently from what the object shows. A dirty policy is due at once,
//! unless it was written or looked at not long ago. Only the name is queued: what is written is computed when it is
//! due, so the latest wins.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;

use crate::{api::PolicyStatus, domain::policy::PolicyKey, kubernetes::backoff::Backoff};

/// The time between two writes to one policy.
const WRITE_PERIOD: Duration = Duration::from_secs(10);
/// The time after a look that found nothing to write. Looking is not free, and most updates of Pods change nothing that
/// a status shows.
const LOOK_PERIOD: Duration = Duration::from_millis(500);

/// What a policy object showed when we last saw it.
#[derive(Clone, Debug, PartialEq)]
pub struct ObservedStatus {
    /// `metadata.uid`
    pub uid: Arc<str>,
    /// `metadata.resourceVersion` as a number, which it is in every supported version; 0 for one that is not.
    pub version: u64,
    /// `status`
    pub status: Option<PolicyStatus>,
}

#[derive(Debug)]
struct Entry {
    shown: ObservedStatus,
    dirty: bool,
    busy: bool,
    /// Not to be looked at before.
    not_before: Instant,
    backoff: Backoff,
}

/// How a look at a policy ended.
#[derive(Clone, Debug)]
pub(super) enum Outcome {
    /// The object shows all there is to say, or there is nothing to say yet.
    Nothing,
    /// Written; the object shows this now.
    Written(ObservedStatus),
    /// Not written; to be tried again.
    Failed {
        /// How long the API server asked us to wait.
        asked: Option<Duration>,
    },
    /// The object is gone.
    Gone,
}

/// The policies whose status is kept up to date.
#[derive(Debug, Default)]
pub(super) struct StatusQueue {
    entries: HashMap<PolicyKey, Entry>,
    due: BTreeSet<(Instant, PolicyKey)>,
}

impl StatusQueue {
    /// A watch showed the policy.
    pub(super) fn seen(&mut self, key: &PolicyKey, shown: ObservedStatus, now: Instant) {
        match self.entries.get_mut(key) {
            Some(entry) if entry.shown.uid == shown.uid => {
                if shown.version < entry.shown.version {
                    // From before our last write.
                    return;
                }
                let is_news = entry.shown.status != shown.status;
                entry.shown = shown;
                if is_news {
                    self.changed(key, now);
                }
            }
            _ => {
                self.remove(key);
                let entry = Entry {
                    shown,
                    dirty: false,
                    busy: false,
                    not_before: now,
                    backoff: Backoff::default(),
                };
                self.entries.insert(key.clone(), entry);
                self.changed(key, now);
            }
        }
    }

    /// The policy's status may read differently now.
    pub(super) fn changed(&mut self, key: &PolicyKey, now: Instant) {
        if let Some(entry) = self.entries.get_mut(key)
            && !entry.dirty
        {
            entry.dirty = true;
            if !entry.busy {
                self.due.insert((entry.not_before.max(now), key.clone()));
            }
        }
    }

    /// The policy is gone.
    pub(super) fn remove(&mut self, key: &PolicyKey) {
        self.entries.remove(key);
        self.due.retain(|(_, due)| due != key);
    }

    /// Of the policies that `is_meant`, all but those that `exist` are gone.
    pub(super) fn retain(&mut self, is_meant: impl Fn(&PolicyKey) -> bool, exist: &BTreeSet<PolicyKey>) {
        let stays = |key: &PolicyKey| !is_meant(key) || exist.contains(key);
        self.entries.retain(|key, _| stays(key));
        self.due.retain(|(_, key)| stays(key));
    }

    /// The next policy to look at now, and what its object shows. It is not given out again before [`Self::finished`].
    pub(super) fn take(&mut self, now: Instant) -> Option<(PolicyKey, ObservedStatus)> {
        let first = self.due.first().filter(|(due, _)| *due <= now).cloned()?;
        self.due.remove(&first);
        let (_, key) = first;
        let entry = self.entries.get_mut(&key)?;
        entry.dirty = false;
        entry.busy = true;
        Some((key, entry.shown.clone()))
    }

    /// A look ended; `uid` is that of the object that was looked at.
    pub(super) fn finished(&mut self, key: &PolicyKey, uid: &str, outcome: Outcome, now: Instant) {
        let Some(entry) = self.entries.get_mut(key).filter(|entry| *entry.shown.uid == *uid) else {
            return;
        };
        entry.busy = false;
        match outcome {
            Outcome::Nothing => {
                entry.not_before = now + LOOK_PERIOD;
                entry.backoff.reset();
            }
            Outcome::Written(shown) => {
                if shown.version >= entry.shown.version {
                    entry.shown = shown;
                }
                entry.not_before = now + WRITE_PERIOD;
                entry.backoff.reset();
            }
            Outcome::Failed { asked } => {
                entry.not_before = now + entry.backoff.next_wait_asked(asked);
                entry.dirty = true;
            }
            Outcome::Gone => return self.remove(key),
        }
        if entry.dirty {
            self.due.insert((entry.not_before, key.clone()));
        }
    }

    /// When [`Self::take`] has something next, if nothing else happens.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.due.first().map(|(due, _)| *due)
    }

    /// Makes everything dirty due now: there will be no later.
    pub(super) fn flush(&mut self, now: Instant) {
        let waiting = std::mem::take(&mut self.due);
        self.due.extend(waiting.into_iter().map(|(_, key)| (now, key)));
        for entry in self.entries.values_mut() {
            entry.not_before = now;
        }
    }

    /// Nothing waits and nothing is under way.
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

    fn shown(version: u64, firing: u32) -> ObservedStatus {
        let report = status_object::tests::report(firing);
        ObservedStatus {
            uid: "u".into(),
            version,
            status: Some(status_object::status(&report, None, jiff::Timestamp::UNIX_EPOCH)),
        }
    }

    /// A queue with one policy that was looked at and had nothing to write.
    fn clean(start: Instant) -> StatusQueue {
        let mut queue = StatusQueue::default();
        queue.seen(&key(), shown(1, 0), start);
        assert!(queue.take(start).is_some(), "a new policy is looked at");
        queue.finished(&key(), "u", Outcome::Nothing, start);
        assert_eq!(queue.next_due(), None);
        queue
    }

    #[test]
    fn the_first_write_is_at_once_and_then_one_in_ten_seconds() {
        let start = Instant::now();
        let mut queue = clean(start);
        let now = start + secs(60);
        queue.changed(&key(), now);
        assert!(queue.take(now).is_some(), "at once");
        queue.changed(&key(), now);
        assert!(queue.take(now).is_none(), "one write at a time");
        queue.finished(&key(), "u", Outcome::Written(shown(2, 1)), now);
        for n in 1..10 {
            queue.changed(&key(), now + secs(n));
            assert!(queue.take(now + secs(n)).is_none(), "{n} s after a write");
        }
        assert_eq!(queue.next_due(), Some(now + secs(10)));
        let (_, seen) = queue.take(now + secs(10)).unwrap();
        assert_eq!(seen, shown(2, 1), "compared with what was written");
        queue.finished(&key(), "u", Outcome::Nothing, now + secs(10));
        assert_eq!(queue.next_due(), None, "all changes are one look");
    }

    #[test]
    fn a_look_that_finds_nothing_costs_no_ten_seconds() {
        let start = Instant::now();
        let mut queue = clean(start);
        queue.changed(&key(), start);
        assert_eq!(queue.next_due(), Some(start + LOOK_PERIOD));
    }

    #[test]
    fn our_own_write_comes_back_and_is_no_news() {
        let start = Instant::now();
        let mut queue = clean(start);
        queue.changed(&key(), start + secs(1));
        queue.take(start + secs(1)).unwrap();
        queue.finished(&key(), "u", Outcome::Written(shown(5, 1)), start + secs(1));
        queue.seen(&key(), shown(3, 0), start + secs(1));
        assert_eq!(queue.next_due(), None, "a version from before the write");
        queue.seen(&key(), shown(5, 1), start + secs(1));
        assert_eq!(queue.next_due(), None, "the write itself");
        queue.seen(&key(), shown(6, 0), start + secs(2));
        assert_eq!(
            queue.next_due(),
            Some(start + secs(11)),
            "somebody else changed the status"
        );
    }

    #[test]
    fn failures_are_tried_again_ever_later() {
        let start = Instant::now();
        let mut queue = clean(start);
        let mut now = start + secs(60);
        queue.changed(&key(), now);
        let mut waits = Vec::new();
        for _ in 0..8 {
            queue.take(now).unwrap();
            queue.finished(&key(), "u", Outcome::Failed { asked: None }, now);
            let due = queue.next_due().unwrap();
            waits.push(due - now);
            now = due;
        }
        assert!(waits[0] <= Duration::from_millis(800), "{waits:?}");
        assert!(waits[7] >= secs(15) && waits[7] <= secs(30), "{waits:?}");
        queue.take(now).unwrap();
        queue.finished(
            &key(),
            "u",
            Outcome::Failed {
                asked: Some(secs(45)),
            },
            now,
        );
        assert_eq!(queue.next_due(), Some(now + secs(45)), "as the API server asked");
    }

    #[test]
    fn a_policy_that_is_gone_is_forgotten() {
        let start = Instant::now();
        let mut queue = clean(start);
        queue.changed(&key(), start);
        queue.remove(&key());
        assert!(queue.take(start + secs(60)).is_none(), "deleted");
        queue.changed(&key(), start);
        assert!(queue.take(start + secs(60)).is_none(), "unknown");

        queue.seen(&key(), shown(1, 0), start);
        queue.take(start).unwrap();
        queue.finished(&key(), "u", Outcome::Gone, start);
        assert!(queue.entries.is_empty(), "the API server does not have it");

        queue.seen(&key(), shown(1, 0), start);
        queue.retain(|_| false, &BTreeSet::new());
        assert_eq!(queue.entries.len(), 1, "another list says nothing about it");
        queue.retain(|_| true, &BTreeSet::from([key()]));
        assert_eq!(queue.entries.len(), 1, "listed");
        queue.retain(|_| true, &BTreeSet::new());
        assert!(
            queue.entries.is_empty() && queue.next_due().is_none(),
            "not listed"
        );
    }

    #[test]
    fn a_policy_made_anew_is_another_one() {
        let start = Instant::now();
        let mut queue = clean(start);
        queue.changed(&key(), start + secs(1));
        queue.take(start + secs(1)).unwrap();
        let anew = ObservedStatus {
            uid: "u2".into(),
            version: 9,
            status: None,
        };
        queue.seen(&key(), anew.clone(), start + secs(1));
        queue.finished(&key(), "u", Outcome::Written(shown(8, 1)), start + secs(1));
        assert_eq!(
            queue.take(start + secs(1)),
            Some((key(), anew)),
            "at once, as it is now"
        );
    }

    #[test]
    fn at_the_end_nothing_waits() {
        let start = Instant::now();
        let mut queue = clean(start);
        queue.changed(&key(), start + secs(1));
        queue.take(start + secs(1)).unwrap();
        queue.finished(&key(), "u", Outcome::Written(shown(5, 1)), start + secs(1));
        queue.changed(&key(), start + secs(2));
        queue.flush(start + secs(2));
        assert!(queue.take(start + secs(2)).is_some());
        assert!(!queue.is_idle());
        queue.finished(&key(), "u", Outcome::Nothing, start + secs(2));
        assert!(queue.is_idle());
    }
}
