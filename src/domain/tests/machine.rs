//! The state machine: inactive, pending, firing, inactive.

use crate::domain::{
    effects::Change,
    policy::{Check, Mode, Policy, Severity},
    testing::{Harness, Pod, at, key, lines, minutes, policy, seconds, web},
    tracker::keep_earliest,
};

fn timed(hold_for: i64, keep_firing_for: i64) -> Policy {
    policy().only(Check::NotReady).check(Check::NotReady, |c| {
        (c.hold_for, c.keep_firing_for) = (seconds(hold_for), seconds(keep_firing_for));
    })
}

/// When envoy is ready (`true`) or unready.
type Steps = Vec<(i64, bool)>;

/// Applies envoy ready (`true`) or unready at these seconds, and lets time pass to `end`.
fn run(policy: Policy, steps: &[(i64, bool)], end: i64) -> Vec<String> {
    let mut harness = Harness::with(policy);
    harness.pod(&web());
    for (second, ready) in steps {
        let pod = if *ready { web() } else { web().unready("envoy") };
        harness.at(*second).pod(&pod);
    }
    harness.at(end).log()
}

#[test]
fn a_fault_is_pending_until_it_has_lasted_and_fires_until_it_has_been_gone() {
    let (bad, good) = (|t| (t, false), |t| (t, true));
    let table: [(i64, i64, Steps, &[&str], &str); 9] = [
        (
            60,
            30,
            vec![bad(10)],
            &["10 pending", "70 firing"],
            "the fault lasts",
        ),
        (
            60,
            30,
            vec![bad(10), good(69)],
            &["10 pending", "69 cleared"],
            "the fault ends while pending",
        ),
        (
            60,
            30,
            vec![bad(10), good(70)],
            &["10 pending", "70 firing", "100 resolved"],
            "a deadline acts before an update at the same time",
        ),
        (0, 30, vec![bad(10)], &["10 firing"], "for: 0s fires at once"),
        (
            60,
            30,
            vec![bad(10), good(80)],
            &["10 pending", "70 firing", "110 resolved"],
            "the violation resolves after keepFiringFor",
        ),
        (
            60,
            0,
            vec![bad(10), good(80)],
            &["10 pending", "70 firing", "80 resolved"],
            "keepFiringFor: 0s resolves at once",
        ),
        (
            60,
            30,
            vec![bad(10), good(80), bad(100), good(120)],
            &["10 pending", "70 firing", "150 resolved"],
            "a fault that returns within keepFiringFor keeps firing",
        ),
        (
            60,
            30,
            vec![bad(10), good(80), bad(110)],
            &[
                "10 pending",
                "70 firing",
                "110 resolved",
                "110 pending",
                "170 firing",
            ],
            "a fault that returns after keepFiringFor is a new violation",
        ),
        (
            60,
            30,
            vec![bad(10), good(40), bad(50)],
            &["10 pending", "40 cleared", "50 pending", "110 firing"],
            "keepFiringFor does not apply to a pending violation",
        ),
    ];
    for (hold_for, keep, steps, expected, why) in table {
        let expected: Vec<_> = expected
            .iter()
            .map(|line| format!("{line} envoy NotReady"))
            .collect();
        assert_eq!(run(timed(hold_for, keep), &steps, 500), expected, "{why}");
    }
}

#[test]
fn a_transition_names_policy_pod_container_and_check() {
    let mut harness = Harness::with(timed(60, 30).check(Check::NotReady, |c| c.severity = Severity::Info));
    harness.pod(&web()).at(10).pod(&web().unready("envoy")).at(70);
    let transitions = harness.transitions();
    let last = &transitions[1];
    let violation = &last.violation;
    assert_eq!(
        (last.to, last.at, violation.onset),
        (Change::Firing, at(70), at(10))
    );
    assert_eq!(
        (&violation.policy, violation.check, violation.severity),
        (&key("mesh"), Check::NotReady, Severity::Info)
    );
    let container = violation.container();
    assert_eq!(
        (&*container.namespace, &*container.pod, &*container.uid),
        ("pay", "web-1", "uid-of-web-1")
    );
    assert_eq!(&*container.container, "envoy");
}

#[test]
fn containers_checks_pods_and_policies_have_their_own_machines() {
    let mut harness = Harness::with(policy());
    let other = policy().check(Check::NotReady, |c| c.hold_for = minutes(1));
    harness.policy_as(key("quick"), Ok(other.only(Check::NotReady)), Vec::new());
    let (first, second) = (
        web().native("vault-agent"),
        Pod::named("web-2").native("linkerd").regular("app"),
    );
    harness.pod(&first).pod(&second);
    harness.at(10).pod(&first.clone().unready("envoy"));
    harness
        .at(20)
        .pod(&first.clone().unready("envoy").unready("vault-agent"));
    harness.at(30).pod(&second.clone().unready("linkerd"));
    harness.at(40).pod(&second).at(400);
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
    let steps = |harness: &mut Harness| {
        harness.pod(&web()).at(10).pod(&web().unready("envoy"));
    };
    let mut timely = Harness::with(timed(60, 30));
    steps(&mut timely);
    timely.at(1000);
    let mut late = Harness::with(timed(60, 30));
    steps(&mut late);
    late.late(at(1000));
    assert_eq!(timely.transitions(), late.transitions());
    assert_eq!(timely.events(), late.events());
}

#[test]
fn a_late_update_comes_before_an_overdue_deadline() {
    let mut harness = Harness::with(timed(60, 30));
    harness
        .pod(&web())
        .at(10)
        .pod(&web().unready("envoy"))
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
        .at(10)
        .pod(&web().unready("envoy"))
        .without_tick(100)
        .pod(&Pod::named("web-2").native("envoy").regular("app"));
    assert_eq!(harness.log(), ["10 pending envoy NotReady"]);
    harness.at(100);
    assert_eq!(harness.log(), ["70 firing envoy NotReady"]);
}

#[test]
fn time_does_not_go_back_whatever_the_clock_does() {
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
    harness.at(10).pod(&web().unready("envoy"));
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
    harness.at(90).pod(&web());
    assert_eq!(harness.index.next_deadline(), None);
}

#[test]
fn an_update_without_a_relevant_change_has_no_effect() {
    let mut harness = Harness::with(policy());
    harness.pod(&web());
    assert_eq!(harness.changed(), [key("mesh")]);
    harness.at(10).pod(&web());
    assert_eq!(harness.changed(), []);
    harness.pod(&web().unready("envoy"));
    assert_eq!(harness.changed(), [key("mesh")]);
}

/// NotReady does not detect a crash loop of a sidecar without probes, because each start makes it ready.
/// FrequentRestarts fires.
#[test]
fn a_crash_loop_without_probes_never_lasts_but_restarts_too_often() {
    let mut harness = Harness::with(policy());
    let mut pod = web();
    harness.pod(&pod);
    for (exit, start) in [(10, 11), (12, 30), (31, 55), (56, 100)] {
        pod = pod.exits("envoy", 1, exit);
        harness.at(exit).pod(&pod);
        pod = pod.restarted("envoy", start);
        harness.at(start).pod(&pod);
    }
    harness.at(110);
    assert_eq!(harness.firing(), ["envoy FrequentRestarts"]);
}

#[test]
fn a_deadline_that_has_been_acted_on_hides_no_later_one() {
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
    let one = policy()
        .only(Check::NotReady)
        .check(Check::NotReady, |c| c.hold_for = seconds(0));
    let two = one.check(Check::MainReadySidecarNotReady, |c| {
        (c.mode, c.hold_for) = (Mode::Alert, seconds(60));
    });
    let mut harness = Harness::with(two);
    harness.pod(&web().unready("envoy"));
    assert_eq!((harness.firing().len(), harness.pending().len()), (1, 1));
    let message = &harness.report().conditions[1].message;
    assert!(
        message.ends_with("fail: NotReady 1 (Warning); worst: Deployment/web envoy"),
        "{message}"
    );
}
