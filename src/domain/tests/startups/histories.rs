//! The histograms after random histories equal a recount of all updates.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use proptest::{collection, prelude::*};

use super::{unbound, waiting};
use crate::domain::{
    observation::{ContainerKind, Observation, State},
    testing::{Harness, Pod, at, policy},
};

/// A step of a random history of two Pods.
#[derive(Clone, Debug)]
enum Step {
    /// The clock advances by tenths of a second.
    Wait(i64),
    /// A Pod changes.
    Pod(usize, Change),
    /// The watch breaks, continues, or lists again.
    Hold,
    Resume,
    Relist,
}

/// A change of a Pod. The number selects a container.
#[derive(Clone, Copy, Debug)]
enum Change {
    Bound,
    Reported,
    Sandbox,
    Starting(usize),
    Started(usize),
    Ready(usize),
    Unready(usize),
    Exit(usize, i32),
    Restart(usize),
    AllRestarting(bool),
    Terminating,
}

fn step() -> impl Strategy<Value = Step> {
    use Change::*;
    let container = 0..5usize;
    let change = prop_oneof![
        4 => Just(Bound),
        4 => Just(Reported),
        2 => Just(Sandbox),
        3 => container.clone().prop_map(Starting),
        6 => container.clone().prop_map(Started),
        6 => container.clone().prop_map(Ready),
        1 => container.clone().prop_map(Unready),
        4 => (container.clone(), 0..2i32).prop_map(|(c, code)| Exit(c, code)),
        1 => container.prop_map(Restart),
        1 => any::<bool>().prop_map(AllRestarting),
        1 => Just(Terminating),
    ];
    prop_oneof![
        10 => (1..50i64).prop_map(Step::Wait),
        30 => (0..2usize, change).prop_map(|(pod, change)| Step::Pod(pod, change)),
        1 => Just(Step::Hold),
        1 => Just(Step::Resume),
        1 => Just(Step::Relist),
    ]
}

fn changed(pod: &Pod, ready: &Pod, change: Change, second: i64) -> Pod {
    let name = |container: usize| ready.0.shape.containers[container].name.clone();
    let is_reported = pod.0.statuses.iter().all(Option::is_some);
    let pod = pod.clone();
    match change {
        Change::Bound => pod.with(|pod| pod.scheduled = true),
        Change::Terminating => pod.with(|pod| pod.terminating = true),
        _ if !pod.0.scheduled => pod,
        Change::Reported if !is_reported => waiting(ready),
        _ if !is_reported => pod,
        Change::Reported => pod,
        Change::Sandbox => pod.sandbox(true, second),
        Change::Starting(c) => pod.starting(&name(c), second),
        Change::Started(c) => pod
            .starting(&name(c), second)
            .status(&name(c), |s| s.started = true),
        Change::Ready(c) => pod
            .starting(&name(c), second)
            .status(&name(c), |s| (s.started, s.ready) = (true, true)),
        Change::Unready(c) => pod.unready(&name(c)),
        Change::Exit(c, code) => pod.starting(&name(c), second).exits(&name(c), code, second),
        Change::Restart(c) => pod.restarted(&name(c), second),
        Change::AllRestarting(yes) => pod.conditions(|c| c.all_containers_restarting = yes),
    }
}

/// An update as the index received it: the time, whether the watch was held, and the Pod.
type Received = (Timestamp, bool, Observation);

/// The starts of the sidecars of a Pod, from all its updates.
fn recount(updates: &[Received], counts: &mut BTreeMap<String, (u64, SignedDuration)>) {
    let Some(binding) = updates.iter().position(|(_, _, pod)| pod.scheduled) else {
        return;
    };
    let updates = &updates[binding..];
    let bound = updates[0].0;
    let is_unknown = |(_, held, pod): &Received| *held || pod.is_held() || pod.terminating;
    let known = updates.iter().position(is_unknown).unwrap_or(updates.len());
    let known = &updates[..known];
    let containers = &updates[0].2.shape.containers;
    for (container_idx, container) in containers.iter().enumerate() {
        let before = match container_idx {
            0 => None,     // `envoy` is the first container.
            2 => Some(1),  // `agent` starts after `setup`.
            4 => Some(2),  // `log-sidecar` starts after `agent`.
            _ => continue, // `setup` and `app` are no sidecars.
        };
        let status = |pod: &Observation, idx: usize| pod.statuses[idx].clone();
        let can_start = |(_, _, pod): &&Received| {
            let is_free = match before {
                None => pod.conditions.sandbox_ready.is_some_and(|c| c.holds),
                Some(before) => {
                    let kind = pod.shape.containers[before].kind;
                    status(pod, before).is_some_and(|s| match kind {
                        ContainerKind::Init => matches!(&s.state, State::Terminated(e) if e.code == 0),
                        _ => s.started,
                    })
                }
            };
            status(pod, container_idx).is_some_and(|s| is_free || s.has_run())
        };
        let Some((could, _, first)) = known.iter().find(can_start) else {
            continue;
        };
        let ran = status(first, container_idx).is_some_and(|s| s.has_run());
        let since = if before.is_none() && ran { bound } else { *could };
        for until in ["started", "ready"] {
            let reached = known.iter().find(|(at, _, pod)| {
                let s = status(pod, container_idx);
                *at >= *could && s.is_some_and(|s| s.ready || until == "started" && s.started)
            });
            if let Some((at, _, _)) = reached {
                let entry = counts.entry(format!("{} {until}", container.name)).or_default();
                entry.0 += 1;
                entry.1 += at.duration_since(since);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_histograms_equal_a_recount_of_all_updates(steps in collection::vec(step(), 1..120)) {
        let ready = |name: &str| {
            let pod = Pod::named(name).native("envoy").init("setup").native("agent");
            pod.regular("app").regular("log-sidecar")
        };
        let ready = [ready("web-1"), ready("web-2")];
        let mut pods = [unbound(&ready[0]), unbound(&ready[1])];
        let mut harness = Harness::with(policy());
        let mut updates: [Vec<Received>; 2] = Default::default();
        let mut held = false;
        for (number, pod) in pods.iter().enumerate() {
            harness.pod(pod);
            updates[number].push((harness.now, held, pod.0.clone()));
        }
        for step in &steps {
            match step {
                Step::Wait(tenths) => {
                    let moment = harness.now + SignedDuration::from_millis(100 * tenths);
                    harness.until(moment);
                }
                Step::Pod(number, change) => {
                    let second = harness.now.duration_since(at(0)).as_secs();
                    let next = changed(&pods[*number], &ready[*number], *change, second);
                    if next.0 != pods[*number].0 {
                        updates[*number].push((harness.now, held, next.0.clone()));
                    }
                    harness.pod(&next);
                    pods[*number] = next;
                }
                Step::Hold => {
                    harness.hold();
                    held = true;
                }
                Step::Resume => {
                    harness.resume();
                    held = false;
                }
                Step::Relist => {
                    harness.resync(&pods);
                    held = false;
                }
            }
        }
        let mut expected = BTreeMap::new();
        for updates in &updates {
            recount(updates, &mut expected);
        }
        let mut found = BTreeMap::new();
        for (container, histograms) in harness.index.startups().iter() {
            for (until, histogram) in [("started", &histograms.started), ("ready", &histograms.ready)] {
                if histogram.count() > 0 {
                    let sum = SignedDuration::from_secs_f64((histogram.sum * 10.0).round() / 10.0);
                    found.insert(format!("{container} {until}"), (histogram.count(), sum));
                }
            }
        }
        let rounded = |d: SignedDuration| SignedDuration::from_secs_f64((d.as_secs_f64() * 10.0).round() / 10.0);
        for (_, sum) in expected.values_mut() {
            *sum = rounded(*sum);
        }
        prop_assert_eq!(found, expected);
    }
}
