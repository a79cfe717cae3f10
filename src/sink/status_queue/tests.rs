//! The order and the times of the syncs.

use super::{
    super::{
        event_object::tests::policy,
        status_object::tests::{first_status, report},
    },
    *,
};
use crate::{domain::policy::PolicyKind, kubernetes::installation::StatusWriter};

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
        writers: Vec::new(),
    }
}

/// A queue with one policy. Times are in seconds after the start of the test.
struct Rig {
    queue: StatusQueue,
    start: Instant,
}

impl Rig {
    /// The policy was synced at the start, and there was nothing to write.
    fn synced() -> Self {
        let mut rig = Self {
            queue: StatusQueue::new(Installation::on_host("own")),
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
        let taken = self.queue.take(self.at(second));
        taken.map(|(_, observed, _)| observed)
    }

    fn finish(&mut self, outcome: Outcome, second: u64) {
        self.queue.finish(&key(), "u", outcome, self.at(second));
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
    let Rig { mut queue, start } = Rig::synced();
    let mut now = start + secs(60);
    queue.mark_changed(&key(), now);
    let mut fail = |retry_after| {
        queue.take(now).unwrap();
        queue.finish(&key(), "u", Outcome::Failed { retry_after }, now);
        let due = queue.next_due().unwrap();
        due - std::mem::replace(&mut now, due)
    };
    let waits: Vec<_> = (0..8).map(|_| fail(None)).collect();
    assert!(waits[0] <= Duration::from_millis(800), "{waits:?}");
    assert!(waits[7] >= secs(15) && waits[7] <= secs(30), "{waits:?}");
    assert_eq!(fail(Some(secs(45))), secs(45), "Retry-After is respected");
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
        writers: Vec::new(),
    };
    rig.observe(created.clone(), 1);
    rig.finish(Outcome::Written(observed(8, 1)), 1);
    assert_eq!(rig.take(1), Some(created), "due at once");
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

#[test]
fn a_heartbeat_concerns_only_policies_that_another_installation_writes() {
    let mut rig = Rig::synced();
    rig.queue.heartbeat(rig.at(60));
    assert_eq!(rig.due(), None, "no other installation");
    let other = StatusWriter {
        manager: "sidewatch:other".into(),
        written: None,
    };
    let shared = ObservedStatus {
        writers: vec![other],
        ..observed(2, 0)
    };
    rig.observe(shared.clone(), 60);
    let (_, _, writers) = rig.queue.take(rig.at(60)).expect("a new entry is a change");
    assert_eq!(writers.active, ["other"]);
    assert!(writers.own_is_missing && !writers.is_heartbeat);
    rig.finish(Outcome::Unchanged, 60);

    rig.queue.heartbeat(rig.at(80));
    let (_, taken, writers) = rig.queue.take(rig.at(80)).expect("due");
    assert_eq!(taken, shared);
    assert!(writers.is_heartbeat);
    rig.finish(Outcome::Unchanged, 80);
    rig.mark_changed(80);
    let (_, _, writers) = rig.queue.take(rig.at(81)).expect("due");
    assert!(!writers.is_heartbeat, "one heartbeat is one sync");
}
