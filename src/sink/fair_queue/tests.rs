//! Turns, shares and circuits.

use super::*;

const FAILED: Attempt = Attempt::Failed { retry_after: None };

fn queue(items: &[(&str, u32)], now: Instant) -> FairQueue<u32> {
    let mut queue = FairQueue::new();
    for (namespace, item) in items {
        queue.push(&Arc::from(*namespace), *item, now);
    }
    queue
}

/// Begins all writes that may begin.
fn begin(queue: &mut FairQueue<u32>, now: Instant) -> Vec<u32> {
    std::iter::from_fn(|| queue.take(now, |_| true))
        .map(|(_, item)| item)
        .collect()
}

#[test]
fn the_namespaces_take_turns() {
    let now = Instant::now();
    let mut queue = queue(&[("a", 1), ("a", 2), ("b", 3), ("a", 4), ("c", 5)], now);
    assert_eq!(begin(&mut queue, now), [1, 3, 5, 2, 4]);
    assert_eq!(queue.len(), 5, "being written");
    for namespace in ["a", "a", "a", "b", "c"] {
        queue.end(&namespace.into(), Attempt::Accepted, now);
    }
    assert_eq!(begin(&mut queue, now), [0; 0]);
    assert_eq!(
        (queue.len(), queue.flows.len()),
        (0, 0),
        "nothing is left of a namespace"
    );
}

#[test]
fn a_namespace_has_a_share_of_the_writers() {
    let now = Instant::now();
    let mut queue = FairQueue::new();
    let namespaces: Vec<Arc<str>> = (0..10).map(|n: u32| n.to_string().into()).collect();
    for item in 0..20 {
        queue.push(&namespaces[0], item, now);
    }
    assert_eq!(begin(&mut queue, now).len(), WRITERS_PER_NAMESPACE);
    for namespace in &namespaces[1..] {
        for item in 100..120 {
            queue.push(namespace, item, now);
        }
    }
    assert_eq!(begin(&mut queue, now).len(), WRITERS - WRITERS_PER_NAMESPACE);
    queue.end(&namespaces[0], Attempt::Accepted, now);
    assert_eq!(begin(&mut queue, now).len(), 1);
}

#[test]
fn the_circuit_of_a_namespace_opens_and_closes() {
    let start = Instant::now();
    let noisy: Arc<str> = "noisy".into();
    let mut queue = queue(&[("noisy", 1), ("noisy", 2), ("noisy", 3), ("quiet", 4)], start);
    assert_eq!(begin(&mut queue, start), [1, 4, 2, 3]);
    for item in [1, 2, 3] {
        queue.end_with(&noisy, FAILED, item, start);
    }
    assert!(queue.is_failing("noisy") && !queue.is_failing("quiet"));
    assert_eq!(begin(&mut queue, start), [0; 0]);
    let due = queue.next_due().unwrap();
    assert!(
        due <= start + Duration::from_millis(800),
        "three failures at once count once"
    );
    queue.push(&noisy, 5, start);
    assert_eq!(begin(&mut queue, due), [5], "one test, of a new item");
    queue.end(&noisy, Attempt::Refused, due);
    assert_eq!(begin(&mut queue, due), [1], "an answer needs no wait");
    queue.end(&noisy, Attempt::Accepted, due);
    assert!(!queue.is_failing("noisy"));
    assert_eq!(begin(&mut queue, due), [2, 3]);
}

#[test]
fn a_write_that_began_before_a_failure_does_not_end_the_wait() {
    let now = Instant::now();
    let mut queue = queue(&[("a", 1), ("a", 2), ("a", 3)], now);
    let a: Arc<str> = "a".into();
    queue.take(now, |_| true).unwrap();
    queue.take(now, |_| true).unwrap();
    queue.end(&a, FAILED, now);
    assert_eq!(begin(&mut queue, now), [0; 0]);
    queue.end(&a, Attempt::Accepted, now);
    assert_eq!(begin(&mut queue, now), [0; 0]);
    let due = queue.next_due().unwrap();
    assert_eq!(begin(&mut queue, due), [3], "one test of the circuit");
    queue.end(&a, Attempt::Accepted, due);
    assert!(!queue.is_failing("a"));
}

#[test]
fn tests_of_open_circuits_leave_writers_for_others() {
    let now = Instant::now();
    let mut queue = FairQueue::new();
    let failing: Vec<Arc<str>> = (0..40).map(|n: u32| format!("failing-{n}").into()).collect();
    for chunk in failing.chunks(WRITERS) {
        for namespace in chunk {
            queue.push(namespace, 1, now);
        }
        assert_eq!(begin(&mut queue, now).len(), chunk.len());
        for namespace in chunk {
            queue.end_with(namespace, FAILED, 1, now);
        }
    }
    let later = now + Duration::from_secs(1);
    assert_eq!(begin(&mut queue, later).len(), TESTS);
    queue.push(&"quiet".into(), 3, later);
    assert_eq!(begin(&mut queue, later), [3]);
}

#[test]
fn a_write_that_was_not_sent_opens_no_circuit() {
    let now = Instant::now();
    let mut queue = queue(&[("a", 1), ("b", 2)], now);
    assert_eq!(begin(&mut queue, now), [1, 2]);
    let wait = Duration::from_secs(1);
    for (namespace, wait) in [("a", wait), ("b", Duration::ZERO)] {
        queue.end_with(&namespace.into(), Attempt::NotSent(wait), 3, now);
        assert!(!queue.is_failing(namespace));
    }
    assert_eq!(begin(&mut queue, now).len(), 1);
    assert_eq!(queue.next_due(), Some(now + wait));
}

#[test]
fn circuits_of_namespaces_without_items_are_removed() {
    let now = Instant::now();
    let mut queue = FairQueue::new();
    let mut at = now;
    for n in 0..10 * SWEEP_AT {
        let namespace: Arc<str> = n.to_string().into();
        queue.push(&namespace, 1, at);
        queue.take(at, |_| true).unwrap();
        queue.end(&namespace, FAILED, at);
        at += Duration::from_secs(1);
    }
    assert!(queue.flows.len() <= 2 * SWEEP_AT, "{}", queue.flows.len());
}

#[test]
fn items_are_removed_and_drained() {
    let now = Instant::now();
    let mut queue = queue(&[("a", 1), ("a", 2), ("b", 3)], now);
    assert_eq!(queue.remove("a", |item| *item == 1), [1]);
    assert_eq!(queue.items_of("a").count(), 1);
    let mut drained = queue.drain();
    drained.sort_unstable();
    assert_eq!(drained, [2, 3]);
    assert_eq!(queue.len(), 0);
}
