//! The limit on the restarts and flaps in the histories of a namespace.

use allocation_counter::measure;

use crate::domain::{
    effects::Effects,
    index::MAX_ENTRIES_PER_NAMESPACE,
    observation::{ContainerStatus, State},
    testing::{Harness, Pod, at, policy, web_named},
};

/// The number of containers of a Pod that fails.
const CONTAINERS: usize = 50;

fn crowded(name: &str) -> Pod {
    (0..CONTAINERS).fold(Pod::named(name), |pod, n| pod.regular(&format!("c{n}")))
}

/// Changes every container.
fn each(pod: &Pod, change: impl Fn(&mut ContainerStatus)) -> Pod {
    let change = &change;
    Pod(pod.0.clone()).with(|pod| pod.statuses.iter_mut().flatten().for_each(change))
}

/// Every container of the Pod restarts each second from `begin` on, in turn with a flap.
fn fail(harness: &mut Harness, pod: Pod, seconds: std::ops::Range<i64>) -> Pod {
    seconds.fold(pod, |pod, second| {
        harness
            .without_tick(second)
            .pod(&each(&pod, |status| status.ready = false));
        let pod = each(&pod, |status| {
            status.ready = true;
            status.restart_count += 1;
            status.state = State::Running(Some(at(second)));
        });
        harness.pod(&pod);
        pod
    })
}

#[test]
fn the_oldest_restarts_and_flaps_of_a_namespace_are_forgotten_beyond_its_limit() {
    let mut harness = Harness::with(policy());
    harness.recounts = false;
    let entries = |harness: &Harness, namespace, name| {
        let uid = Pod::named(name).0.uid;
        harness.index.history_entries(namespace, &uid)
    };
    let other = web_named("other").in_namespace("shop");
    harness.pod(&other);
    harness.restarts(other, "app", [1, 2, 3]);
    let first = web_named("first");
    harness.pod(&first);
    let first = harness.restarts(first, "app", [4, 5]);
    // Each second adds 100 entries.
    for (begin, name) in [(10, "a"), (130, "b")] {
        harness.pod(&crowded(name));
        let pod = crowded(name);
        fail(&mut harness, pod, begin..begin + 120);
        harness.change(|index, _| {
            index.assert_counts();
            Effects::default()
        });
    }
    let of_pay = [
        entries(&harness, "pay", "first"),
        entries(&harness, "pay", "a"),
        entries(&harness, "pay", "b"),
    ];
    assert_eq!(
        of_pay,
        [0, 8_000, 12_000],
        "the oldest go first, whatever Pod has them"
    );
    assert_eq!(
        entries(&harness, "shop", "other"),
        3,
        "another namespace has its own limit"
    );
    let dropped = harness.index.dropped_history_entries();
    assert_eq!(dropped, 4_002, "each is counted");
    harness.delete(&crowded("a")).delete(&crowded("b"));
    harness.index.assert_counts();
    harness.restarts(first, "app", [300, 301]);
    assert_eq!(entries(&harness, "pay", "first"), 2, "the places are free again");
}

#[test]
fn histories_of_a_namespace_take_little_memory() {
    let mut harness = Harness::with(policy());
    harness.recounts = false;
    let mut pods: Vec<Pod> = (0..4).map(|n| crowded(&format!("p{n}"))).collect();
    for pod in &pods {
        harness.pod(pod);
    }
    // Every Pod has had all entries of the limit in turn.
    let used = measure(|| {
        for (n, pod) in (0..).zip(&mut pods) {
            let begin = 10 + 300 * n;
            let last = fail(&mut harness, Pod(pod.0.clone()), begin..begin + 240);
            *pod = last;
        }
    });
    assert!(harness.index.dropped_history_entries() > 3 * MAX_ENTRIES_PER_NAMESPACE as u64);
    assert!(used.bytes_current < 2 << 20, "{} bytes", used.bytes_current);
}
