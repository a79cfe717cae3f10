//! The order and the times of the syncs.

use super::{
    super::{event_object::tests::policy, status_object},
    *,
};
use crate::domain::policy::PolicyKind;
use crate::kubernetes::installation::StatusWriter;

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
        status: Some(status_object::status(
            &report,
            &Writers::default(),
            None,
            jiff::Timestamp::UNIX_EPOCH,
        )),
        writers: Vec::new(),
    }
}

/// The observed status of the policy, if it is due.
fn taken(queue: &mut StatusQueue, now: Instant) -> Option<ObservedStatus> {
    queue.take(now).map(|(_, observed, _)| observed)
}

/// A queue with one policy that was synced and had nothing to write.
fn clean(start: Instant) -> StatusQueue {
    let mut queue = StatusQueue::new(Installation::on_host("own"));
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
    let (_, taken, _) = queue.take(now + secs(10)).unwrap();
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
    assert_eq!(taken(&mut queue, start + secs(11)), Some(observed(5, 1)));
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
        taken(&mut queue, start + secs(60)),
        Some(observed(500, 0)),
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
        writers: Vec::new(),
    };
    queue.observe(&key(), created.clone(), start + secs(1));
    queue.finish(&key(), "u", Outcome::Written(observed(8, 1)), start + secs(1));
    assert_eq!(taken(&mut queue, start + secs(1)), Some(created), "due at once");
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

#[test]
fn a_heartbeat_concerns_only_policies_that_another_installation_writes() {
    let start = Instant::now();
    let mut queue = clean(start);
    let later = start + secs(60);
    queue.heartbeat(later);
    assert_eq!(queue.next_due(), None, "no other installation");
    let other = StatusWriter {
        manager: "sidewatch:other".into(),
        written: None,
    };
    let shared = ObservedStatus {
        writers: vec![other],
        ..observed(2, 0)
    };
    queue.observe(&key(), shared.clone(), later);
    let (_, _, writers) = queue.take(later).expect("a new entry is a change");
    assert_eq!(writers.active, ["other"]);
    assert!(writers.own_is_missing && !writers.is_heartbeat);
    queue.finish(&key(), "u", Outcome::Unchanged, later);

    let next = later + secs(20);
    queue.heartbeat(next);
    let (_, taken, writers) = queue.take(next).expect("due");
    assert_eq!(taken, shared);
    assert!(writers.is_heartbeat);
    queue.finish(&key(), "u", Outcome::Unchanged, next);
    queue.mark_changed(&key(), next);
    let (_, _, writers) = queue.take(next + secs(1)).expect("due");
    assert!(!writers.is_heartbeat, "one heartbeat is one sync");
}
