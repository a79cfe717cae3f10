//! The state machine: inactive, pending, firing, inactive.

use crate::domain::{
    policy::{Check, Mode, Policy},
    testing::{Harness, Pod, at, key, lines, minutes, only, policy, seconds, web, web_named},
    tracker::keep_earliest,
};

fn timed(hold_for: i64, keep_firing_for: i64) -> Policy {
    policy().only(Check::NotReady).check(Check::NotReady, |c| {
        (c.hold_for, c.keep_firing_for) = (seconds(hold_for), seconds(keep_firing_for));
    })
}

#[test]
fn a_fault_is_pending_for_hold_for_and_fires_until_it_has_been_gone_for_keep_firing_for() {
    // `for`, `keepFiringFor`, the seconds at which envoy becomes unready, ready, unready, and so on, and the transitions.
    #[rustfmt::skip]
    let table: [(i64, i64, &[i64], &str, &str); 9] = [
        (60, 30, &[10], "10 pending, 70 firing", "the fault lasts"),
        (60, 30, &[10, 69], "10 pending, 69 cleared", "the fault ends while pending"),
        (60, 30, &[10, 70], "10 pending, 70 firing, 100 resolved",
            "a deadline acts before an update at the same time"),
        (0, 30, &[10], "10 firing", "for: 0s fires at once"),
        (60, 30, &[10, 80], "10 pending, 70 firing, 110 resolved", "the violation resolves after keepFiringFor"),
        (60, 0, &[10, 80], "10 pending, 70 firing, 80 resolved", "keepFiringFor: 0s resolves at once"),
        (60, 30, &[10, 80, 100, 120], "10 pending, 70 firing, 150 resolved",
            "a fault that returns within keepFiringFor keeps firing"),
        (60, 30, &[10, 80, 110], "10 pending, 70 firing, 110 resolved, 110 pending, 170 firing",
            "a fault that returns after keepFiringFor is a new violation"),
        (60, 30, &[10, 40, 50], "10 pending, 40 cleared, 50 pending, 110 firing",
            "keepFiringFor does not apply to a pending violation"),
    ];
    for (hold_for, keep, changes, expected, why) in table {
        let mut harness = Harness::with(timed(hold_for, keep));
        harness.pod(&web());
        for (second, pod) in changes.iter().zip([web().unready("envoy"), web()].iter().cycle()) {
            harness.pod_at(*second, pod);
        }
        let log = harness.at(500).log().join(", ").replace(" envoy NotReady", "");
        assert_eq!(log, expected, "{why}");
    }
}

#[test]
fn each_container_check_pod_and_policy_has_a_state_of_its_own() {
    let mut harness = Harness::with(policy());
    let other = policy().hold_for(Check::NotReady, minutes(1));
    harness.add(key("quick"), other.only(Check::NotReady));
    let first = web().native("vault-agent");
    let second = Pod::named("web-2").native("linkerd").regular("app");
    harness.pod(&first).pod(&second);
    harness.pod_at(10, &first.clone().unready("envoy"));
    harness.pod_at(20, &first.clone().unready("envoy").unready("vault-agent"));
    harness.pod_at(30, &second.clone().unready("linkerd"));
    harness.pod_at(40, &second).at(400);
    assert_eq!(
        harness.log(),
        [
            "10 pending envoy NotReady",
            "10 pending envoy MainReadySidecarNotReady",
            "10 pending envoy NotReady",
            "20 pending vault-agent NotReady",
            "20 pending vault-agent MainReadySidecarNotReady",
            "20 pending vault-agent NotReady",
            "30 pending linkerd NotReady",
            "30 pending linkerd MainReadySidecarNotReady",
            "30 pending linkerd NotReady",
            "40 cleared linkerd NotReady",
            "40 cleared linkerd MainReadySidecarNotReady",
            "40 cleared linkerd NotReady",
            "70 firing envoy NotReady",
            "80 firing vault-agent NotReady",
            "130 firing envoy MainReadySidecarNotReady",
            "140 firing vault-agent MainReadySidecarNotReady",
            "310 firing envoy NotReady",
            "320 firing vault-agent NotReady",
        ]
    );
}

#[test]
fn a_late_timer_acts_at_the_times_that_were_due() {
    let mut timely = Harness::with(timed(60, 30));
    let mut late = Harness::with(timed(60, 30));
    for harness in [&mut timely, &mut late] {
        harness.pod(&web()).pod_at(10, &web().unready("envoy"));
    }
    timely.at(1000);
    late.late(at(1000));
    assert_eq!(timely.transitions(), late.transitions());
    assert_eq!(timely.events(), late.events());
}

#[test]
fn a_late_update_comes_before_an_overdue_deadline() {
    let mut harness = Harness::with(timed(60, 30));
    harness
        .pod(&web())
        .pod_at(10, &web().unready("envoy"))
        .without_tick(100)
        .pod(&web());
    assert_eq!(
        harness.log(),
        ["10 pending envoy NotReady", "100 cleared envoy NotReady"],
        "the fault ended before the deadline acted"
    );
    harness.pod(&web().unready("envoy")).at(160);
    assert_eq!(
        harness.log(),
        ["100 pending envoy NotReady", "160 firing envoy NotReady"]
    );
    harness
        .pod(&web())
        .without_tick(200)
        .pod(&web().unready("envoy"))
        .at(300);
    assert_eq!(
        harness.log(),
        [""; 0],
        "the fault returned before keepFiringFor acted"
    );
    harness.without_tick(310).delete(&web());
    assert_eq!(harness.log(), ["310 ended envoy NotReady"]);
}

#[test]
fn an_update_of_another_pod_leaves_an_overdue_deadline_to_the_timer() {
    let mut harness = Harness::with(timed(60, 30));
    harness
        .pod(&web())
        .pod_at(10, &web().unready("envoy"))
        .without_tick(100)
        .pod(&web_named("web-2"));
    assert_eq!(harness.log(), ["10 pending envoy NotReady"]);
    harness.at(100);
    assert_eq!(harness.log(), ["70 firing envoy NotReady"]);
}

#[test]
fn the_time_does_not_go_back_with_the_clock() {
    let mut harness = Harness::with(timed(60, 30));
    harness
        .pod(&web())
        .at(100)
        .without_tick(50)
        .pod(&web().unready("envoy"));
    assert_eq!(harness.onset("envoy", Check::NotReady), Some(100.0));
    let effects = harness.index.tick(at(20));
    assert_eq!(lines(&effects.transitions), [""; 0]);
    harness.at(160);
    assert_eq!(harness.firing(), ["envoy NotReady"]);
}

#[test]
fn a_healthy_pod_has_no_deadline() {
    let mut harness = Harness::with(policy());
    harness.pod(&web());
    assert_eq!(harness.index.next_deadline(), None);
    harness.pod_at(10, &web().unready("envoy"));
    for (deadline, why) in [
        (40, "MainReadySidecarNotReady becomes visible"),
        (85, "NotReady becomes visible"),
    ] {
        assert_eq!(harness.index.next_deadline(), Some(at(deadline)), "{why}");
        harness.at(deadline);
    }
    assert_eq!(
        harness.index.next_deadline(),
        Some(at(130)),
        "MainReadySidecarNotReady fires"
    );
    harness.pod_at(90, &web());
    assert_eq!(harness.index.next_deadline(), None);
}

#[test]
fn an_update_without_a_relevant_change_has_no_effect() {
    let mut harness = Harness::with(policy());
    harness.pod(&web());
    assert_eq!(harness.changed(), [key("mesh")]);
    harness.pod_at(10, &web());
    assert_eq!(harness.changed(), []);
    harness.pod(&web().unready("envoy"));
    assert_eq!(harness.changed(), [key("mesh")]);
}

/// NotReady does not detect a crash loop of a sidecar without probes, because each start makes it ready.
/// FrequentRestarts fires.
#[test]
fn a_crash_loop_without_probes_fails_frequent_restarts_only() {
    let mut harness = Harness::with(policy());
    let mut pod = web();
    harness.pod(&pod);
    for (exit, start) in [(10, 11), (12, 30), (31, 55), (56, 100)] {
        pod = pod.exits("envoy", 1, exit);
        harness.pod_at(exit, &pod);
        pod = pod.restarted("envoy", start);
        harness.pod_at(start, &pod);
    }
    harness.at(110);
    assert_eq!(harness.firing(), ["envoy FrequentRestarts"]);
}

#[test]
fn a_passed_deadline_does_not_hide_a_later_one() {
    let mut next = None;
    keep_earliest(&mut next, at(10), at(10));
    assert_eq!(next, None, "the current time is not a deadline");
    keep_earliest(&mut next, at(30), at(10));
    keep_earliest(&mut next, at(20), at(10));
    keep_earliest(&mut next, at(40), at(10));
    assert_eq!(next, Some(at(20)));
}

#[test]
fn every_check_is_found_by_its_name() {
    for check in Check::ALL {
        assert_eq!(Check::parse(check.as_str()), Some(check));
    }
    assert_eq!(
        Check::parse("notReady"),
        None,
        "the spelling of the spec is not a check name"
    );
}

#[test]
fn pending_violations_are_not_counted_as_firing() {
    let late = only(Check::NotReady, 0).check(Check::MainReadySidecarNotReady, |c| {
        (c.mode, c.hold_for) = (Mode::Alert, seconds(60));
    });
    let mut harness = Harness::with(late);
    harness.pod(&web().unready("envoy"));
    assert_eq!((harness.firing().len(), harness.pending().len()), (1, 1));
    let message = &harness.report().conditions[1].message;
    assert!(
        message.ends_with("fail: NotReady 1 (Warning); worst: Deployment/web envoy"),
        "{message}"
    );
}
