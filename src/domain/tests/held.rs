//! Holds: while a Pod or its watch is held, its updates have no effect.

use crate::domain::{
    index::Index,
    policy::Check,
    testing::{Harness, Pod, Step, at, key_in, minutes, policy, web},
};

/// A cause of a hold, with the steps that begin and end it.
struct Hold {
    name: &'static str,
    begin: for<'a> fn(&'a mut Harness, &Pod) -> &'a mut Harness,
    end: for<'a> fn(&'a mut Harness, &Pod) -> &'a mut Harness,
}

/// All causes of a hold.
fn holds() -> [Hold; 3] {
    fn restarting(pod: &Pod) -> Pod {
        pod.clone().conditions(|c| c.all_containers_restarting = true)
    }
    [
        Hold {
            name: "the watch is broken",
            begin: |harness, _| harness.hold(),
            end: |harness, pod| harness.pod(pod).resume(),
        },
        Hold {
            name: "the watch runs a new list",
            begin: |harness, _| harness.begin_resync(),
            end: |harness, pod| harness.pod(pod).finish_resync(),
        },
        Hold {
            name: "all containers are restarting",
            begin: |harness, pod| harness.pod(&restarting(pod)),
            end: |harness, pod| harness.pod(pod),
        },
    ]
}

/// Envoy is unready since second 10, under NotReady alone. The time is `now`.
fn unready_until(now: i64) -> (Harness, Pod) {
    let bad = web().unready("envoy");
    let mut harness = Harness::with(policy().only(Check::NotReady));
    harness.pod_at(0, &web()).pod_at(10, &bad).at(now);
    (harness, bad)
}

#[test]
fn deadlines_that_passed_during_a_hold_take_effect_at_its_end() {
    for Hold { name, begin, end } in holds() {
        let (mut harness, bad) = unready_until(20);
        assert_eq!(harness.log(), ["10 pending envoy NotReady"]);
        begin(&mut harness, &bad);
        harness.at(400);
        assert_eq!(harness.log(), [""; 0], "{name}: nothing fires");
        end(&mut harness, &bad);
        assert_eq!(
            harness.log(),
            ["400 firing envoy NotReady"],
            "{name}: the fault is still there"
        );
        assert_eq!(
            harness.onset("envoy", Check::NotReady),
            Some(10.0),
            "{name}: the onset does not change"
        );
    }
}

#[test]
fn a_fault_that_ended_during_a_hold_is_cleared_at_its_end() {
    for Hold { name, begin, end } in holds() {
        let (mut harness, bad) = unready_until(20);
        begin(&mut harness, &bad);
        harness.at(400);
        harness.log();
        end(&mut harness, &web());
        assert_eq!(
            harness.log(),
            ["400 cleared envoy NotReady"],
            "{name}: the violation was pending and never fires"
        );
    }
}

#[test]
fn nothing_resolves_during_a_hold() {
    for Hold { name, begin, end } in holds() {
        let (mut harness, bad) = unready_until(320);
        harness.pod(&web()).at(330);
        assert_eq!(harness.firing(), ["envoy NotReady"]);
        begin(&mut harness, &web());
        harness.at(1000);
        assert_eq!(
            harness.firing(),
            ["envoy NotReady"],
            "{name}: keepFiringFor has passed"
        );
        harness.log();
        end(&mut harness, &web());
        assert_eq!(
            harness.log(),
            ["1000 resolved envoy NotReady"],
            "{name}: the deadline acts after the hold"
        );

        let (mut harness, _) = unready_until(320);
        harness.pod(&web()).at(330);
        harness.log();
        begin(&mut harness, &web());
        harness.at(1000);
        end(&mut harness, &bad);
        harness.at(2000);
        assert_eq!(
            harness.log(),
            [""; 0],
            "{name}: the fault returns before the recovery is observed"
        );
        assert_eq!(harness.onset("envoy", Check::NotReady), Some(10.0), "{name}");
    }
}

#[test]
fn no_event_is_repeated_during_a_hold() {
    for Hold { name, begin, end } in holds() {
        let (mut harness, bad) = unready_until(400);
        assert_eq!(harness.events().len(), 1);
        begin(&mut harness, &bad);
        harness.at(5000);
        assert_eq!(harness.events(), [], "{name}");
        end(&mut harness, &bad);
        assert_eq!(
            harness.events().len(),
            1,
            "{name}: the overdue repetition follows the hold"
        );
    }
}

#[test]
fn a_held_pod_can_be_deleted() {
    for Hold { name, begin, end: _ } in holds() {
        let (mut harness, bad) = unready_until(400);
        begin(&mut harness, &bad);
        harness.log();
        harness.pod_at(410, &bad.clone().with(|pod| pod.terminating = true));
        assert_eq!(
            harness.log(),
            ["410 ended envoy NotReady"],
            "{name}: a Pod that is not evaluated is not held"
        );
    }
}

#[test]
fn a_lost_node_holds_its_pods() {
    let pod = web().regular("worker");
    let mut harness = Harness::with(policy().check(Check::NotReady, |c| c.keep_firing_for = minutes(10)));
    harness.pod_at(0, &pod).pod_at(10, &pod.clone().unready("envoy"));
    harness
        .pod_at(400, &pod)
        .pod_at(410, &pod.clone().node_lost())
        .at(4000);
    assert_eq!(
        harness.firing(),
        ["envoy NotReady", "envoy MainReadySidecarNotReady"],
        "nothing resolves while the node is lost"
    );
    harness.log();
    harness.pod(&pod);
    assert_eq!(
        harness.log(),
        [
            "4000 resolved envoy NotReady",
            "4000 resolved envoy MainReadySidecarNotReady"
        ],
        "violations resolve when the node returns"
    );
}

#[test]
fn a_pod_is_held_if_its_node_is_lost_or_all_its_containers_restart() {
    let with_init = || Pod::named("web-1").init("setup").native("envoy").regular("app");
    let not_ready = |pod: Pod| pod.containers_unready_since(5);
    #[rustfmt::skip]
    let table = [
        (web().node_lost(), true, "Ready=False without a reason, and nothing else is unready"),
        (with_init().node_lost(), true, "a completed init container counts as ready"),
        (web(), false, "Ready=True"),
        (not_ready(web().node_lost()), false, "ContainersReady=False comes from the kubelet"),
        (web().node_lost().conditions(|c| c.containers_ready = None), false, "no ContainersReady condition"),
        (web().unready("envoy").node_lost(), false, "an unready sidecar was unready before"),
        (web().unready("app").node_lost(), false, "an unready main container was unready before"),
        (web().unreported("envoy").node_lost(), false, "a container without a status"),
        (web().conditions(|c| c.all_containers_restarting = true), true, "all containers restart"),
        (web().unready("envoy").conditions(|c| c.all_containers_restarting = true), true,
            "all containers restart, and one is unready"),
        (web().resizing(2), false, "a resize does not hold the Pod"),
    ];
    for (pod, expected, why) in table {
        assert_eq!(pod.0.is_held(), expected, "{why}");
    }
}

#[test]
fn restarts_of_a_held_pod_are_not_counted() {
    let signs: [(&str, Step); 2] = [
        ("node lost", Pod::node_lost),
        ("restarting", |pod| {
            pod.conditions(|c| c.all_containers_restarting = true)
        }),
    ];
    for (name, sign) in signs {
        let mut pod = web();
        let mut harness = Harness::with(policy());
        harness.pod(&pod);
        for second in [10, 20, 30] {
            pod = pod.restarted("envoy", second);
            harness.pod_at(second, &sign(pod.clone()));
        }
        pod = pod.oom_killed("envoy", 35).restarted("envoy", 36);
        harness.pod_at(40, &pod).at(50);
        assert_eq!(
            harness.log(),
            [""; 0],
            "{name}: restarts do not count when the hold ends"
        );
        assert_eq!(
            harness.index.restarts().count(),
            0,
            "{name}: restarts are not in the series"
        );
        harness.restarts(pod, "envoy", [60, 70, 80]);
        assert_eq!(
            harness.log(),
            ["80 firing envoy FrequentRestarts"],
            "{name}: only restarts after the hold count"
        );
    }
}

#[test]
fn a_deadline_in_a_hold_takes_effect_at_its_end_with_or_without_a_tick() {
    let bad = web().unready("envoy");
    for timer_comes in [true, false] {
        let mut harness = Harness::with(policy().only(Check::NotReady));
        harness.pod_at(0, &web()).pod_at(10, &bad).at(20).hold();
        if timer_comes {
            harness.at(310);
        }
        harness.without_tick(400).resume();
        assert_eq!(
            harness.log(),
            ["10 pending envoy NotReady", "400 firing envoy NotReady"],
            "{timer_comes}"
        );
    }
}

#[test]
fn a_watch_holds_only_the_pods_of_its_namespace() {
    let scopes = [Some("pay".into()), Some("shop".into())];
    let mut harness = Harness::without_namespaces();
    harness.index = Index::new(scopes.clone(), false);
    for scope in &scopes {
        harness.index.begin_resync(scope, at(0));
        harness.change(|index, now| index.finish_resync(scope, now));
    }
    for namespace in ["pay", "shop"] {
        harness.add(key_in(namespace, "mesh"), policy().only(Check::NotReady));
    }
    let shop = Pod::named("shop-1")
        .in_namespace("shop")
        .native("linkerd")
        .regular("app");
    harness.pod(&web()).pod(&shop);
    harness
        .pod_at(10, &web().unready("envoy"))
        .pod(&shop.unready("linkerd"));
    harness.at(20).log();
    harness.index.hold(&scopes[0], at(20));
    assert_eq!(harness.at(400).log(), ["310 firing linkerd NotReady"]);
    harness.at(410).change(|index, now| index.resume(&scopes[0], now));
    assert_eq!(harness.log(), ["410 firing envoy NotReady"]);
}
