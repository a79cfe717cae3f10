//! Events of NotReady and MainReadySidecarNotReady, which report one fault.

use std::collections::BTreeSet;

use super::events::{REPEAT, bad, brief, failing};
use crate::domain::{
    policy::{Check, Mode, Policy},
    testing::{at, minutes, policy, seconds, web},
};

/// NotReady fires at once and MainReadySidecarNotReady after 10 s.
fn both() -> Policy {
    policy()
        .hold_for(Check::NotReady, seconds(0))
        .hold_for(Check::MainReadySidecarNotReady, seconds(10))
}

#[test]
fn of_two_checks_that_report_one_fault_only_the_later_one_repeats() {
    let mut harness = failing(both());
    harness.at(10 + 2 * REPEAT);
    assert_eq!(
        brief(&harness.events()),
        [
            "SidecarContainerNotReady Create",
            "MainContainerReadyButSidecarNot Create",
            "MainContainerReadyButSidecarNot Repeat(2)",
            "MainContainerReadyButSidecarNot Repeat(3)",
        ]
    );
    // The main container becomes unready. When its check has resolved, the other one repeats.
    harness.pod_at(20 + 2 * REPEAT, &bad().unready("app"));
    harness.at(3 * REPEAT);
    assert_eq!(brief(&harness.events()), ["SidecarContainerNotReady Repeat(4)"]);
    // The main container is ready again, and the check fires later than the other one again.
    harness.pod_at(3 * REPEAT + 10, &bad());
    harness.at(4 * REPEAT + 30);
    let events = harness.events();
    let reasons: Vec<_> = events.iter().map(|event| event.reason).collect();
    assert_eq!(reasons, ["MainContainerReadyButSidecarNot"; 2]);
}

#[test]
fn two_checks_that_fire_together_have_one_repetition() {
    let together = both().hold_for(Check::MainReadySidecarNotReady, seconds(0));
    let mut harness = failing(together);
    assert_eq!(harness.events().len(), 2, "each has its first Event");
    harness.at(REPEAT);
    assert_eq!(
        brief(&harness.events()),
        ["MainContainerReadyButSidecarNot Repeat(2)"]
    );
}

#[test]
fn an_observed_check_does_not_silence_the_other_one() {
    let observed = both().check(Check::MainReadySidecarNotReady, |c| c.mode = Mode::Observe);
    let mut harness = failing(observed);
    harness.at(REPEAT + 10);
    assert_eq!(
        brief(&harness.events()),
        [
            "SidecarContainerNotReady Create",
            "SidecarContainerNotReady Repeat(2)"
        ]
    );
    harness.pod_at(REPEAT + 20, &web()).at(2 * REPEAT);
    assert_eq!(brief(&harness.events()), ["SidecarRecovered Create"]);
}

#[test]
fn one_event_reports_the_recovery_when_neither_check_fires_any_more() {
    let keep = |check, minutes_kept| both().check(check, move |c| c.keep_firing_for = minutes(minutes_kept));
    #[rustfmt::skip]
    let table = [
        (both(), 100 + 120, "NotReady", "both resolve together"),
        (keep(Check::NotReady, 5), 100 + 300, "NotReady", "NotReady resolves last"),
        (keep(Check::MainReadySidecarNotReady, 5), 100 + 300, "MainReadySidecarNotReady",
            "MainReadySidecarNotReady resolves last"),
    ];
    for (policy, second, check, why) in table {
        let mut harness = failing(policy);
        harness.pod_at(100, &web()).at(1000);
        let events = harness.events();
        let [not_ready, main_ready, recovered] = &events[..] else {
            panic!("{why}: {events:?}");
        };
        assert_eq!(
            (recovered.reason, recovered.at),
            ("SidecarRecovered", at(second)),
            "{why}"
        );
        assert!(
            recovered.note.contains(&format!("({check} under")),
            "{why}: {}",
            recovered.note
        );
        let announced: BTreeSet<_> = recovered.recovers.iter().collect();
        assert_eq!(announced, [&not_ready.name, &main_ready.name].into(), "{why}");
    }
}

#[test]
fn a_main_container_that_becomes_unready_is_not_a_recovery_while_the_sidecar_is_unready() {
    let mut harness = failing(both());
    harness.pod_at(100, &bad().unready("app")).at(1000).events();
    assert_eq!(harness.firing(), ["envoy NotReady"]);
    harness.pod(&web()).at(2000);
    let events = harness.events();
    assert_eq!(brief(&events), ["SidecarRecovered Create"]);
    assert_eq!(events[0].recovers.len(), 2, "it recovers both");
    // NotReady begins to fire in the step in which the other check resolves.
    let late = both()
        .hold_for(Check::NotReady, seconds(300))
        .check(Check::MainReadySidecarNotReady, |c| {
            c.keep_firing_for = seconds(200);
        });
    let mut harness = failing(late);
    harness.pod_at(100, &bad().unready("app")).at(400);
    assert_eq!(
        brief(&harness.events()),
        [
            "MainContainerReadyButSidecarNot Create",
            "SidecarContainerNotReady Create"
        ]
    );
}
