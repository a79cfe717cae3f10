//! Limits, retries and summaries of the event queue.

use super::{super::event_object::tests::example, *};
use crate::domain::policy::Severity;

const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// The queue of a leader, and the time of its start.
fn leader() -> (EventQueue, Instant) {
    (EventQueue::new(Role::Leader), Instant::now())
}

/// Writes all messages that may be written.
fn names(queue: &mut EventQueue, now: Instant) -> Vec<String> {
    let written = std::iter::from_fn(|| {
        let queued = queue.take(now)?;
        queue.done(&queued, now);
        Some(queued.message)
    });
    written
        .map(|message| match message {
            Message::Event(event) => event.name,
            Message::DroppedSummary { dropped, .. } => format!("{dropped} dropped"),
        })
        .collect()
}

#[test]
fn events_leave_the_queue_in_order() {
    let (mut queue, now) = leader();
    for name in ["a", "b", "c"] {
        queue.push(example(name, "pod"), now).unwrap();
    }
    assert_eq!(names(&mut queue, now), ["a", "b", "c"]);
    assert_eq!(queue.next_due(), None);
}

#[test]
fn a_pod_is_limited_to_25_events_and_one_more_every_five_minutes() {
    let (mut queue, start) = leader();
    let pushed = (0..100).filter(|n| queue.push(example(&n.to_string(), "pod"), start).is_ok());
    assert_eq!(pushed.count(), 25);
    assert_eq!(
        queue.push(example("x", "pod"), start + secs(299)),
        Err(DropReason::PodLimit)
    );
    assert_eq!(
        queue.push(example("x", "pod"), start + secs(300)),
        Ok(()),
        "one token was added"
    );
    assert_eq!(
        queue.push(example("x", "pod"), start + secs(300)),
        Err(DropReason::PodLimit)
    );
    assert_eq!(
        queue.push(example("x", "other"), start),
        Ok(()),
        "another Pod has its own limit"
    );
}

#[test]
fn all_pods_are_limited_to_200_events_and_ten_more_per_second() {
    let (mut queue, start) = leader();
    let mut push = |n: u32, now| queue.push(example("x", &n.to_string()), now);
    assert_eq!((0..300).filter(|n| push(*n, start).is_ok()).count(), 200);
    assert_eq!(push(1000, start), Err(DropReason::GlobalLimit));
    assert_eq!(
        (2000..2100).filter(|n| push(*n, start + secs(1)).is_ok()).count(),
        10
    );
}

#[test]
fn a_recovery_is_dropped_if_the_event_of_its_fault_was_dropped() {
    let (mut queue, start) = leader();
    let recovery = |of: &str| Event {
        recovers: vec![of.to_owned()],
        ..example(&format!("{of}-recovered"), "pod")
    };
    for n in 0..26 {
        let _ = queue.push(example(&n.to_string(), "pod"), start);
    }
    let later = start + secs(3000);
    assert_eq!(queue.push(recovery("24"), later), Ok(()), "24 was queued");
    let dropped = queue.push(recovery("25"), later);
    assert_eq!(dropped, Err(DropReason::PodLimit), "25 was dropped");
    queue.push(example("25", "pod"), later).unwrap();
    assert_eq!(
        queue.push(recovery("25"), later),
        Ok(()),
        "25 was repeated and queued"
    );
}

#[test]
fn critical_events_have_a_reserve() {
    let (mut queue, start) = leader();
    let mut push = |severity, pod: &str| {
        let event = Event {
            severity,
            ..example("x", pod)
        };
        queue.push(event, start).is_ok()
    };
    let accepted = (0..100).filter(|_| push(Severity::Info, "pod")).count();
    assert_eq!(accepted, 25);
    let accepted = (0..100).filter(|_| push(Severity::Critical, "pod")).count();
    assert_eq!(accepted, 25, "as many again for critical Events");
    let accepted = (0..1000)
        .filter(|n| push(Severity::Warning, &n.to_string()))
        .count();
    assert_eq!(accepted, 150, "all Events together stay within the limit");
    let accepted = (0..1000)
        .filter(|n| push(Severity::Critical, &n.to_string()))
        .count();
    assert_eq!(accepted, 200, "as many again for critical Events");
}

/// An Event of another Pod in a namespace.
fn event_of(namespace: &str, severity: Severity, pod: u32) -> Event {
    Event {
        namespace: namespace.into(),
        severity,
        ..example("x", &format!("{namespace}-{pod}"))
    }
}

#[test]
fn a_namespace_cannot_use_up_the_events_of_another() {
    let start = Instant::now();
    for severity in [Severity::Warning, Severity::Critical] {
        let mut queue = EventQueue::new(Role::Leader);
        let mut admitted = |namespace: &str, severity, now| {
            let events = (0..1000).map(|pod| event_of(namespace, severity, pod));
            events
                .filter(|event| queue.push(event.clone(), now).is_ok())
                .count()
        };
        assert!(admitted("noisy", severity, start) >= 200);
        assert_eq!(admitted("noisy", Severity::Warning, start), 0);
        assert_eq!(admitted("quiet", Severity::Warning, start), 10, "its share");
        assert_eq!(
            admitted("other", Severity::Warning, start),
            10,
            "the share of another namespace"
        );
        // The noisy namespace uses the tokens that are added for all.
        let later = start + secs(30);
        admitted("noisy", severity, later);
        assert_eq!(admitted("quiet", Severity::Warning, later), 1);
        assert_eq!(admitted("noisy", severity, later), 0);
    }
}

#[test]
fn the_shares_of_all_namespaces_are_limited() {
    let (mut queue, start) = leader();
    let mut admitted = |namespaces: std::ops::Range<u32>, now| {
        let namespaces = namespaces.map(|number| number.to_string());
        let events =
            namespaces.flat_map(|name| (0..20).map(move |pod| event_of(&name, Severity::Warning, pod)));
        events
            .filter(|event| queue.push(event.clone(), now).is_ok())
            .count()
    };
    assert_eq!(admitted(0..100, start), 300, "200, and 100 in shares");
    assert_eq!(admitted(100..200, start + secs(1)), 15, "ten, and five in shares");
}

#[test]
fn the_queue_is_bounded_and_leaves_room_for_every_namespace() {
    let (mut queue, start) = leader();
    let mut refused = None;
    let mut now = start;
    for n in 0..6000_u32 {
        now = start + Duration::from_millis(100) * n;
        if let Err(reason) = queue.push(event_of("noisy", Severity::Warning, n), now) {
            refused.get_or_insert((n, reason));
        }
    }
    assert_eq!(
        refused,
        Some((2048, DropReason::QueueFull)),
        "half for one namespace"
    );
    for n in 0..100_u32 {
        assert_eq!(
            queue.push(event_of(&n.to_string(), Severity::Warning, n), now),
            Ok(())
        );
    }
    for n in 0..6000_u32 {
        let now = now + Duration::from_millis(100) * n;
        let _ = queue.push(event_of("loud", Severity::Warning, n), now);
    }
    assert!(queue.len() < CAPACITY);
    let later = now + secs(3000);
    assert_eq!(queue.push(event_of("quiet", Severity::Warning, 1), later), Ok(()));
}

#[test]
fn a_namespace_whose_events_fail_leaves_half_of_the_limit_to_the_others() {
    let (mut queue, start) = leader();
    queue
        .push(event_of("noisy", Severity::Critical, 5000), start)
        .unwrap();
    let queued = queue.take(start).unwrap();
    queue.retry(queued, None, start);
    let mut admitted = |namespace: &str, severity| {
        let events = (0..1000).map(|pod| event_of(namespace, severity, pod));
        let admitted = events.filter(|event| queue.push(event.clone(), start).is_ok());
        admitted.count()
    };
    assert_eq!(admitted("noisy", Severity::Critical), 99);
    assert_eq!(admitted("quiet", Severity::Warning), 100);
}

#[test]
fn dropped_events_are_summarised_at_most_every_five_minutes() {
    let (mut queue, start) = leader();
    for n in 0..125 {
        let _ = queue.push(example(&n.to_string(), "pod"), start);
    }
    assert_eq!(names(&mut queue, start).len(), 25);
    assert_eq!(queue.next_due(), Some(start + secs(10)));
    assert_eq!(names(&mut queue, start + secs(10)), ["100 dropped"]);
    let again = start + secs(60);
    assert_eq!(queue.push(example("x", "pod"), again), Err(DropReason::PodLimit));
    assert_eq!(
        names(&mut queue, again),
        [""; 0],
        "too soon after the last summary"
    );
    assert_eq!(queue.next_due(), Some(start + secs(310)));
    assert_eq!(names(&mut queue, start + secs(310)), ["1 dropped"]);
    assert_eq!(
        names(&mut queue, start + secs(620)),
        [""; 0],
        "no dropped Event since"
    );
    assert!(queue.dropped.is_empty(), "the entry is removed");
}

/// Ends a write that the API server refuses for now.
fn fail(queue: &mut EventQueue, queued: QueuedEvent, retry_after: Option<Duration>, now: Instant) -> u64 {
    queue.retry(queued, retry_after, now).gave_up
}

#[test]
fn a_failed_event_delays_only_its_namespace() {
    let (mut queue, start) = leader();
    for (namespace, name) in [("noisy", "a"), ("noisy", "b"), ("quiet", "c")] {
        let event = Event {
            name: name.to_owned(),
            ..event_of(namespace, Severity::Warning, 0)
        };
        queue.push(event, start).unwrap();
    }
    let queued = queue.take(start).unwrap();
    fail(&mut queue, queued, Some(secs(7)), start);
    let other = queue.take(start).unwrap();
    assert_eq!(*other.message.namespace(), *"quiet");
    queue.done(&other, start);
    assert!(
        queue.take(start).is_none(),
        "a new Event of the namespace waits too"
    );
    assert_eq!(
        queue.next_due(),
        Some(start + secs(7)),
        "Retry-After is respected"
    );
    let queued = queue.take(start + secs(7)).unwrap();
    assert!(queue.take(start + secs(7)).is_none(), "one write at a time");
    fail(&mut queue, queued, None, start + secs(7));
    assert!(queue.take(start + secs(7)).is_none());
    let due = queue.next_due().unwrap().duration_since(start + secs(7));
    assert!(
        due >= Duration::from_millis(800) && due <= Duration::from_millis(1600),
        "doubled: {due:?}"
    );
    let queued = queue.take(start + secs(60)).unwrap();
    let left = queue.retry(queued, None, start + GIVE_UP);
    assert_eq!(
        (left.gave_up, left.policies.len()),
        (2, 2),
        "all that are too old"
    );
    assert_eq!(queue.len(), 0);
}

#[test]
fn new_events_are_written_before_retries() {
    let (mut queue, start) = leader();
    queue.push(example("a", "pod"), start).unwrap();
    let queued = queue.take(start).unwrap();
    fail(&mut queue, queued, None, start);
    queue.push(example("b", "pod"), start).unwrap();
    let later = start + secs(60);
    let first = queue.take(later).unwrap();
    assert_eq!(first.message.event().unwrap().name, "b");
    queue.done(&first, later);
    assert_eq!(names(&mut queue, later), ["a"]);
}

#[test]
fn a_failed_event_is_not_written_after_a_later_one_with_its_name() {
    let (mut queue, start) = leader();
    for name in ["a", "a"] {
        queue.push(example(name, "pod"), start).unwrap();
    }
    let queued = queue.take(start).unwrap();
    let left = queue.retry(queued, None, start);
    assert_eq!((left.gave_up, left.policies), (0, vec![mesh()]));
    assert_eq!(names(&mut queue, start + secs(60)), ["a"], "the later one");
}

#[test]
fn two_events_with_one_name_are_written_in_order() {
    let (mut queue, now) = leader();
    for name in ["a", "a", "b"] {
        queue.push(example(name, "pod"), now).unwrap();
    }
    let first = queue.take(now).unwrap();
    assert_eq!(names(&mut queue, now), ["b"], "a is being written");
    queue.done(&first, now);
    assert_eq!(names(&mut queue, now), ["a"]);
}

/// The policy of the examples.
fn mesh() -> PolicyKey {
    example("x", "pod").policy
}

#[test]
fn a_standby_writes_its_events_when_it_becomes_the_leader() {
    let now = Instant::now();
    let mut queue = EventQueue::new(Role::Standby);
    for name in ["a", "b"] {
        queue.push(example(name, "pod"), now).unwrap();
    }
    assert!(queue.take(now).is_none());
    assert_eq!(queue.next_due(), None);
    assert_eq!(queue.waiting(), [], "a standby has no Events to write");
    assert_eq!(queue.promote(now), [mesh(), mesh()]);
    assert_eq!(queue.promote(now), [], "it is the leader already");
    assert_eq!(queue.waiting().len(), 2);
    assert_eq!(names(&mut queue, now), ["a", "b"]);
}

#[test]
fn a_standby_applies_the_limits_but_reports_no_dropped_events() {
    let start = Instant::now();
    let mut queue = EventQueue::new(Role::Standby);
    let pushed = (0..100).filter(|n| queue.push(example(&n.to_string(), "pod"), start).is_ok());
    assert_eq!(pushed.count(), 25);
    queue.promote(start);
    assert_eq!(names(&mut queue, start).len(), 25);
    assert_eq!(queue.next_due(), None, "no summary");
}

#[test]
fn a_former_leader_keeps_the_events_that_were_not_written() {
    let (mut queue, now) = leader();
    for (name, second) in [("written", 0), ("retried", 1), ("in flight", 2), ("ready", 3)] {
        queue.push(example(name, "pod"), now + secs(second)).unwrap();
    }
    let now = now + secs(4);
    let written = queue.take(now).unwrap();
    queue.done(&written, now);
    let retried = queue.take(now).unwrap();
    let in_flight = queue.take(now).unwrap();
    fail(&mut queue, retried, None, now);
    assert_eq!(queue.waiting().len(), 3);
    assert_eq!(queue.demote(now), [mesh(), mesh()], "one is still being written");
    assert_eq!(queue.len(), 1);
    assert_eq!(queue.postpone(in_flight, now), Some(mesh()));
    assert_eq!(queue.len(), 0);
    queue.promote(now);
    assert_eq!(
        names(&mut queue, now),
        ["retried", "in flight", "ready"],
        "not the written one"
    );
}

#[test]
fn a_leader_without_a_permit_tries_again() {
    let (mut queue, now) = leader();
    queue.push(example("a", "pod"), now).unwrap();
    let queued = queue.take(now).unwrap();
    assert_eq!(queue.postpone(queued, now), None);
    assert!(queue.take(now).is_none());
    assert_eq!(names(&mut queue, now + POSTPONED), ["a"]);
}
