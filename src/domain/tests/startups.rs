//! The histograms of the starts of sidecars.

mod histories;

use std::{collections::BTreeMap, sync::Arc};

use crate::domain::{
    index::{Index, MAX_STARTUP_NAMES, MAX_STARTUP_NAMES_PER_NAMESPACE, STARTUP_BOUNDS},
    observation::{Observation, State},
    policy::Mode,
    testing::{Harness, Pod, at, cluster_key, one_of, policy, web},
};

/// A Pod with two init containers, of which the second is a native sidecar, a main container and a classic sidecar.
fn web_with_setup() -> Pod {
    Pod::named("web-1")
        .init("setup")
        .native("envoy")
        .regular("app")
        .regular("log-sidecar")
}

/// The Pod before its binding to a node, without a status.
fn unbound(pod: &Pod) -> Pod {
    pod.clone().with(|pod| {
        pod.scheduled = false;
        pod.conditions.sandbox_ready = None;
        pod.statuses.fill(None);
    })
}

/// The Pod after its binding, without a status.
fn bound(pod: &Pod) -> Pod {
    unbound(pod).with(|pod| pod.scheduled = true)
}

/// The Pod whose containers all wait, without a sandbox.
fn waiting(pod: &Pod) -> Pod {
    let names: Vec<_> = pod.0.shape.containers.iter().map(|c| c.name.clone()).collect();
    let waiting = |pod: Pod, name: &Arc<str>| {
        pod.waiting(name, "PodInitializing").status(name, |status| {
            status.last_exit = None;
        })
    };
    names.iter().fold(pod.clone().sandbox(false, 0), waiting)
}

/// The starts so far, such as `envoy started 1 in 5 s`.
fn starts(index: &Index) -> Vec<String> {
    let mut lines = Vec::new();
    for (container, histograms) in index.startups().iter() {
        for (until, histogram) in [("started", &histograms.started), ("ready", &histograms.ready)] {
            if histogram.count() > 0 {
                let (count, sum) = (histogram.count(), histogram.sum);
                lines.push(format!("{container} {until} {count} in {sum} s"));
            }
        }
    }
    lines
}

#[test]
fn a_sidecar_starts_when_the_container_before_it_is_done() {
    let pod = web_with_setup();
    let mut harness = Harness::with(policy());
    harness.pod(&unbound(&pod)).pod_at(3, &bound(&pod));
    let waits = waiting(&pod);
    harness
        .pod_at(4, &waits)
        .pod_at(5, &waits.clone().sandbox(true, 5));
    let set_up = waits
        .sandbox(true, 5)
        .status("setup", |s| s.state = State::Running(Some(at(6))));
    harness.pod_at(6, &set_up);
    let set_up = set_up.exits("setup", 0, 10).ready("setup");
    harness.pod_at(10, &set_up);
    assert!(starts(&harness.index).is_empty());
    let runs = set_up.starting("envoy", 11);
    harness.pod_at(11, &runs);
    assert!(
        starts(&harness.index).is_empty(),
        "its startup probe has not succeeded"
    );
    let started = runs.status("envoy", |s| s.started = true);
    harness.pod_at(14, &started);
    assert_eq!(
        starts(&harness.index),
        ["envoy started 1 in 4 s"],
        "since the end of `setup`"
    );
    let ready = started.ready("envoy");
    harness.pod_at(20, &ready);
    let last = ready
        .starting("log-sidecar", 21)
        .status("log-sidecar", |s| (s.started, s.ready) = (true, true))
        .starting("app", 21);
    harness.pod_at(21, &last);
    let all = [
        "envoy started 1 in 4 s",
        "envoy ready 1 in 10 s",
        "log-sidecar started 1 in 7 s",
        "log-sidecar ready 1 in 7 s",
    ];
    assert_eq!(
        starts(&harness.index),
        all,
        "a classic sidecar can start when the last init container is started"
    );
    harness.pod_at(30, &last.restarted("envoy", 30)).pod_at(40, &pod);
    assert_eq!(starts(&harness.index), all, "only the first start counts");
}

#[test]
fn the_first_sidecar_starts_when_the_sandbox_is_ready() {
    let ready = web();
    let mut harness = Harness::with(policy());
    harness.pod(&bound(&ready)).pod_at(5, &waiting(&ready));
    harness.pod_at(8, &waiting(&ready).sandbox(true, 8));
    harness.pod_at(10, &ready);
    assert_eq!(
        starts(&harness.index),
        ["envoy started 1 in 2 s", "envoy ready 1 in 2 s"]
    );
    // A kubelet that reports the sandbox together with the container.
    let mut harness = Harness::with(policy());
    harness.pod(&bound(&ready)).pod_at(5, &waiting(&ready));
    harness.pod_at(10, &ready.clone().starting("envoy", 10));
    harness.pod_at(11, &ready);
    assert_eq!(
        starts(&harness.index),
        ["envoy started 1 in 11 s", "envoy ready 1 in 11 s"],
        "since the binding"
    );
}

#[test]
fn a_sidecar_that_crashes_before_it_is_ready_counts_until_it_is_ready() {
    let ready = web();
    let mut harness = Harness::with(policy());
    harness
        .pod(&bound(&ready))
        .pod_at(1, &waiting(&ready).sandbox(true, 1));
    let crashed = ready.clone().unready("envoy").exits("envoy", 1, 2);
    harness.pod_at(2, &ready.clone().unready("envoy"));
    harness.pod_at(3, &crashed).pod_at(4, &crashed.backs_off("envoy"));
    harness.pod_at(14, &ready.restarted("envoy", 14));
    assert_eq!(
        starts(&harness.index),
        ["envoy started 1 in 1 s", "envoy ready 1 in 13 s"]
    );
}

#[test]
fn pods_that_are_seen_late_do_not_count() {
    let ready = web();
    let (bound, waiting) = (bound(&ready), waiting(&ready).sandbox(true, 0));
    let nothing: [String; 0] = [];
    let mut harness = Harness::starting();
    harness.policy(policy()).resync([&bound]).pod_at(5, &ready);
    assert_eq!(starts(&harness.index), nothing, "bound in the first list");
    let mut harness = Harness::with(policy());
    harness.pod(&waiting).pod_at(5, &ready);
    assert_eq!(
        starts(&harness.index),
        nothing,
        "its containers have statuses already"
    );
    let mut harness = Harness::with(policy());
    harness.pod(&bound).hold().pod_at(5, &ready).resume();
    assert_eq!(starts(&harness.index), nothing, "ready in a gap");
    let mut harness = Harness::with(policy());
    harness.pod(&bound).hold().pod_at(5, &waiting).resume();
    harness.pod_at(9, &ready);
    assert_eq!(starts(&harness.index), nothing, "could start in a gap");
    let mut harness = Harness::with(policy());
    harness
        .pod(&bound)
        .hold()
        .at(5)
        .resync([&bound])
        .pod_at(6, &ready);
    assert_eq!(
        starts(&harness.index),
        ["envoy started 1 in 6 s", "envoy ready 1 in 6 s"],
        "nothing changed in the gap"
    );
    let mut successor = harness.successor();
    successor.policy(policy()).resync([&ready]).at(20);
    assert_eq!(starts(&successor.index), nothing, "a list counts no Pod again");
}

#[test]
fn a_pod_that_ends_before_it_is_ready_does_not_count() {
    let mut harness = Harness::with(policy());
    for end in [
        |pod: &mut Observation| pod.terminating = true,
        |pod: &mut Observation| pod.conditions.disruption_target = true,
        |pod: &mut Observation| pod.conditions.all_containers_restarting = true,
    ] {
        let ready = web();
        harness
            .pod(&bound(&ready))
            .pod(&ready.clone().unready("envoy").with(end));
        harness.pod(&ready).delete(&ready);
    }
    assert!(starts(&harness.index).is_empty());
}

#[test]
fn only_sidecars_of_a_policy_count_and_only_once() {
    let ready = web();
    let policies = [
        (None, 0),
        (Some(policy().with(|p| p.mode = Mode::Off)), 0),
        (Some(policy().with(|p| p.sidecars.native = false)), 0),
        (Some(policy().with(|p| p.pods = one_of("app", "other"))), 0),
        (Some(policy()), 1),
    ];
    for (of_namespace, expected) in policies {
        let mut harness = Harness::starting();
        harness.resync([]);
        if let Some(policy) = of_namespace {
            harness.policy(policy.clone());
            harness.add(cluster_key("platform"), policy);
        }
        harness.pod(&bound(&ready)).pod_at(5, &ready);
        assert_eq!(starts(&harness.index).len(), 2 * expected, "started and ready");
        assert!(
            starts(&harness.index)
                .iter()
                .all(|line| line.starts_with("envoy "))
        );
    }
}

#[test]
fn the_number_of_containers_with_histograms_of_their_own_is_limited() {
    let mut harness = Harness::starting();
    harness.resync([]);
    harness.add(cluster_key("platform"), policy());
    let mut start = |namespace: &str, container: &str| {
        let ready = Pod::named("web-1")
            .in_namespace(namespace)
            .native(container)
            .regular("app");
        harness.pod(&bound(&ready)).pod(&ready).delete(&ready);
        let shown = harness.index.startups().iter();
        shown
            .map(|(name, histograms)| (name.to_owned(), histograms.ready.count()))
            .collect::<Vec<_>>()
    };
    for number in 0..100 {
        start("pay", &format!("pay-{number}"));
    }
    let shown = start("pay", "pay-0");
    let own = MAX_STARTUP_NAMES_PER_NAMESPACE;
    assert_eq!(shown.len(), own + 1);
    let counts: BTreeMap<_, _> = shown.into_iter().collect();
    assert_eq!(counts["other"], 100 - own as u64);
    assert_eq!(counts["pay-0"], 2, "a container keeps its histograms");
    for namespace in 0..20 {
        for number in 0..7 {
            start(&format!("team-{namespace}"), &format!("{namespace}-{number}"));
        }
    }
    let shown = start("shop", "other");
    assert_eq!(shown.len(), MAX_STARTUP_NAMES + 1, "and one for the others");
    let total: u64 = shown.iter().map(|(_, count)| count).sum();
    assert_eq!(total, 101 + 140 + 1, "each start is counted");
    assert!(STARTUP_BOUNDS.is_sorted());
}
