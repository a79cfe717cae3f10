//! The order and the times of the syncs.

use super::{
    super::{
        event_object::tests::policy,
        status_object::tests::{first_status, report},
    },
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
    ObservedStatus {
        uid: "u".into(),
        version,
        status: Some(first_status(&report(firing))),
    }
}

/// A queue with one policy. Times are in seconds after the start of the test.
struct Rig {
    queue: StatusQueue,
    /// The sync that was taken last.
    sync: Option<Sync<PolicyKey, PolicyStatus>>,
    start: Instant,
}

impl Rig {
    /// The policy was synced at the start, and there was nothing to write.
    fn synced() -> Self {
        let mut rig = Self {
            queue: StatusQueue::new(),
            sync: None,
            start: Instant::now(),
        };
        rig.observe(observed(1, 0), 0);
        assert!(rig.take(0).is_some(), "a new policy is due");
        rig.finish(Outcome::Unchanged, 0);
        assert_eq!(rig.due(), None);
        rig
    }

    fn at(&self, second: u64) -> Instant {
        self.start + secs(second)
    }

    fn observe(&mut self, observed: ObservedStatus, second: u64) {
        self.queue.observe(&key(), observed, self.at(second));
    }

    fn mark_changed(&mut self, second: u64) {
        self.queue.mark_changed(&key(), self.at(second));
    }

    /// The observed status of the policy, if it is due.
    fn take(&mut self, second: u64) -> Option<ObservedStatus> {
        let taken = self.queue.take(self.at(second))?;
        let observed = taken.observed.clone();
        self.sync = Some(taken);
        Some(observed)
    }

    /// Ends the sync that was taken last.
    fn finish(&mut self, outcome: Outcome, second: u64) {
        let sync = self.sync.take().unwrap();
        self.queue.finish(&sync, outcome, self.at(second));
    }

    /// Marks the policy as changed, and writes this status.
    fn write(&mut self, written: ObservedStatus, second: u64) {
        self.mark_changed(second);
        self.take(second).unwrap();
        self.finish(Outcome::Written(written), second);
    }

    fn due(&self) -> Option<Duration> {
        self.queue.next_due().map(|due| due - self.start)
    }
}

#[test]
fn a_policy_is_written_at_once_and_then_every_ten_seconds() {
    let mut rig = Rig::synced();
    rig.mark_changed(60);
    assert!(rig.take(60).is_some(), "at once");
    rig.mark_changed(60);
    assert!(rig.take(60).is_none(), "one write at a time");
    rig.finish(Outcome::Written(observed(2, 1)), 60);
    for second in 61..70 {
        rig.mark_changed(second);
        assert!(
            rig.take(second).is_none(),
            "{second} s: ten seconds after a write"
        );
    }
    assert_eq!(rig.due(), Some(secs(70)));
    let taken = rig.take(70).unwrap();
    assert_eq!(taken, observed(2, 1), "the written status counts as observed");
    rig.finish(Outcome::Unchanged, 70);
    assert_eq!(rig.due(), None, "all changes are one sync");
}

#[test]
fn a_sync_without_a_write_is_followed_by_a_short_wait() {
    let mut rig = Rig::synced();
    rig.mark_changed(0);
    assert_eq!(rig.due(), Some(SYNC_PERIOD));
}

#[test]
fn the_watch_event_of_an_own_write_is_not_a_change() {
    let mut rig = Rig::synced();
    rig.write(observed(5, 1), 1);
    rig.observe(observed(5, 1), 1);
    assert_eq!(rig.due(), None, "the write itself");
    rig.observe(observed(6, 0), 2);
    assert_eq!(rig.due(), Some(secs(11)), "another client changed the status");
}

#[test]
fn a_version_older_than_the_write_is_not_compared_before_the_watch_delivers_the_write() {
    let mut rig = Rig::synced();
    rig.mark_changed(1);
    rig.take(1).unwrap();
    rig.observe(observed(3, 0), 1);
    rig.finish(Outcome::Written(observed(5, 1)), 1);
    rig.observe(observed(4, 0), 2);
    assert!(rig.take(10).is_none(), "within ten seconds");
    rig.observe(observed(5, 1), 2);
    assert_eq!(rig.take(11), Some(observed(5, 1)));
}

#[test]
fn lower_versions_after_a_restore_of_etcd_are_compared() {
    let mut rig = Rig::synced();
    rig.write(observed(900, 1), 1);
    rig.observe(observed(900, 1), 1);
    rig.observe(observed(500, 0), 60);
    assert_eq!(rig.take(60), Some(observed(500, 0)), "the restored status");
    rig.finish(Outcome::Written(observed(501, 1)), 60);
    rig.observe(observed(501, 1), 60);
    assert_eq!(rig.due(), None, "the write after the restore");
}

#[test]
fn a_failed_write_is_retried_with_back_off() {
    let Rig { mut queue, start, .. } = Rig::synced();
    let mut now = start + secs(60);
    queue.mark_changed(&key(), now);
    let mut fail = |retry_after| {
        let sync = queue.take(now).unwrap();
        queue.finish(&sync, Outcome::Failed { retry_after }, now);
        assert!(queue.take(now).is_none());
        let due = queue.next_due().unwrap();
        due - std::mem::replace(&mut now, due)
    };
    let waits: Vec<_> = (0..8).map(|_| fail(None)).collect();
    assert!(waits[0] <= Duration::from_millis(800), "{waits:?}");
    assert!(waits[7] >= secs(15) && waits[7] <= secs(30), "{waits:?}");
    assert_eq!(fail(Some(secs(45))), secs(45), "Retry-After is respected");
}

#[test]
fn failed_writes_of_a_namespace_do_not_delay_other_policies() {
    let now = Instant::now();
    let mut queue: StatusQueue = StatusQueue::new();
    let named = |kind, namespace: &str, name: &str| PolicyKey {
        kind,
        namespace: namespace.into(),
        name: name.into(),
    };
    for n in 0..50 {
        let noisy = named(PolicyKind::SidecarPolicy, "noisy", &n.to_string());
        queue.observe(&noisy, observed(1, 0), now);
    }
    let running: Vec<_> = std::iter::from_fn(|| queue.take(now)).collect();
    assert_eq!(running.len(), 4, "its share of the writers");
    let others = [
        named(PolicyKind::SidecarPolicy, "quiet", "a"),
        named(PolicyKind::ClusterSidecarPolicy, "", "b"),
        named(PolicyKind::ClusterSidecarPolicy, "", "c"),
    ];
    for other in &others {
        queue.observe(other, observed(1, 0), now);
    }
    let taken: Vec<_> = std::iter::from_fn(|| queue.take(now))
        .map(|sync| sync.key)
        .collect();
    assert_eq!(taken, others, "while the writes of the namespace are slow");
    for sync in &running {
        queue.finish(sync, Outcome::Failed { retry_after: None }, now);
    }
    assert!(queue.take(now).is_none(), "all policies of the namespace wait");
    let later = queue.next_due().unwrap();
    let sync = queue.take(later).unwrap();
    assert!(queue.take(later).is_none(), "one write tests the namespace");
    queue.finish(&sync, Outcome::Written(observed(2, 0)), later);
    assert!(queue.take(later).is_some(), "the others follow");
}

#[test]
fn a_status_that_waits_for_events_uses_no_writer() {
    let mut rig = Rig::synced();
    let awaits = || Outcome::AwaitsEvents(key());
    rig.mark_changed(60);
    rig.take(60).unwrap();
    rig.finish(awaits(), 60);
    assert_eq!(rig.due(), Some(secs(65)), "for at most five seconds");
    rig.mark_changed(61);
    assert!(rig.take(61).is_none());
    rig.queue.events_written(|_| true, rig.at(61));
    assert!(rig.take(61).is_none(), "the Events are pending");
    rig.queue.events_written(|_| false, rig.at(62));
    assert!(rig.take(62).is_some(), "they were written");
    rig.finish(awaits(), 62);
    assert_eq!(
        rig.due(),
        Some(secs(65)),
        "another Event does not prolong the wait"
    );
    let sync = rig.queue.take(rig.at(65)).unwrap();
    assert!(!sync.may_wait);
    rig.queue
        .finish(&sync, Outcome::Written(observed(2, 1)), rig.at(65));
    rig.mark_changed(65);
    let sync = rig.queue.take(rig.at(75)).unwrap();
    assert!(sync.may_wait, "the next status waits again");
}

#[test]
fn a_deleted_policy_is_removed() {
    let mut rig = Rig::synced();
    rig.mark_changed(0);
    rig.queue.remove(&key());
    assert!(rig.take(60).is_none(), "deleted");
    rig.mark_changed(0);
    assert!(rig.take(60).is_none(), "unknown policy");

    rig.observe(observed(1, 0), 0);
    rig.take(0).unwrap();
    rig.finish(Outcome::NotFound, 0);
    assert!(rig.queue.entries.is_empty(), "the API server does not know it");

    rig.observe(observed(1, 0), 0);
    let mut left = |is_listed: bool, existing: BTreeSet<PolicyKey>| {
        rig.queue.retain(|_| is_listed, &existing);
        rig.queue.entries.len()
    };
    assert_eq!(
        left(false, BTreeSet::new()),
        1,
        "a list of another kind or namespace"
    );
    assert_eq!(left(true, BTreeSet::from([key()])), 1, "listed");
    assert_eq!(left(true, BTreeSet::new()), 0, "not listed");
    assert_eq!(rig.due(), None);
}

#[test]
fn a_policy_created_again_is_a_new_policy() {
    let mut rig = Rig::synced();
    rig.mark_changed(1);
    rig.take(1).unwrap();
    let created = ObservedStatus {
        uid: "u2".into(),
        version: 9,
        status: None,
    };
    rig.observe(created.clone(), 1);
    rig.finish(Outcome::Written(observed(8, 1)), 1);
    assert_eq!(rig.take(1), Some(created.clone()), "due at once");

    // The first object is deleted while it waits for its turn.
    rig.finish(Outcome::Failed { retry_after: None }, 1);
    rig.queue.remove(&key());
    rig.observe(created.clone(), 2);
    assert_eq!(rig.take(40), Some(created), "once");
    assert!(rig.take(40).is_none());
}

#[test]
fn flush_makes_dirty_policies_due_at_once() {
    let mut rig = Rig::synced();
    rig.write(observed(5, 1), 1);
    rig.mark_changed(2);
    rig.queue.flush(rig.at(2));
    assert!(rig.take(2).is_some());
    assert!(!rig.queue.is_idle());
    rig.finish(Outcome::Unchanged, 2);
    assert!(rig.queue.is_idle());
}
