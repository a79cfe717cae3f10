//! When the operator writes Events, and how it delivers them.

use crate::domain::{
    effects::{Delivery, Event},
    policy::{Check, Mode, Policy},
    testing::{Harness, Pod, at, key, minutes, only, policy, seconds, unready_since, web},
};

pub(super) const REPEAT: i64 = 50 * 60;

/// A firing violation of envoy since second 0.
fn not_ready() -> Policy {
    only(Check::NotReady, 0)
}

pub(super) fn bad() -> Pod {
    unready_since(0)
}

pub(super) fn failing(policy: Policy) -> Harness {
    let mut harness = Harness::with(policy);
    harness.pod(&bad());
    harness
}

/// Formats Events as lines such as `SidecarContainerNotReady Create`.
pub(super) fn brief(events: &[Event]) -> Vec<String> {
    let lines = events.iter().map(|e| format!("{} {:?}", e.reason, e.delivery));
    lines.collect()
}

#[test]
fn one_event_when_it_fires_and_one_when_it_resolves() {
    let mut harness = Harness::with(policy().only(Check::NotReady));
    harness.pod(&web()).pod_at(10, &bad()).at(309);
    assert_eq!(harness.events(), [], "a pending violation has no Event");
    harness.at(310);
    let fired = harness.events();
    assert_eq!(brief(&fired), ["SidecarContainerNotReady Create"]);
    assert!(fired[0].warning);
    assert_eq!(fired[0].at, at(310));
    harness
        .pod_at(320, &bad().with(|pod| pod.stray_statuses = 1))
        .pod(&bad().unready("app"));
    assert_eq!(harness.events(), [], "a Pod update writes no Event");
    harness.pod_at(330, &web()).at(450);
    let resolved = harness.events();
    assert_eq!(brief(&resolved), ["SidecarRecovered Create"]);
    assert!(!resolved[0].warning);
    assert_ne!(resolved[0].name, fired[0].name);
    assert_eq!(
        resolved[0].note,
        "Sidecar 'envoy' (native) is ready now after 7m20s (NotReady under SidecarPolicy pay/mesh)."
    );
}

#[test]
fn an_event_names_its_subject() {
    let mut harness = Harness::with(not_ready());
    harness.pod(
        &web()
            .regular("istio-proxy")
            .unready("envoy")
            .unready("istio-proxy"),
    );
    let events = harness.events();
    let paths: Vec<_> = events.iter().map(|event| &*event.regarding.field_path).collect();
    assert_eq!(
        paths,
        ["spec.initContainers{envoy}", "spec.containers{istio-proxy}"]
    );
    let Event {
        policy,
        policy_uid,
        namespace,
        regarding,
        ..
    } = &events[0];
    assert_eq!(
        (policy, &**policy_uid),
        (&key("mesh"), "uid-of-SidecarPolicy pay/mesh")
    );
    assert_eq!(
        (&*regarding.name, &**namespace, &*regarding.uid),
        ("web-1", "pay", "uid-of-web-1")
    );
}

#[test]
fn the_stricter_mode_decides_whether_there_are_events() {
    use Mode::{Alert, Observe, Off};
    let table = [
        (Alert, Alert, 1, 1),
        (Alert, Observe, 1, 0),
        (Observe, Alert, 1, 0),
        (Observe, Observe, 1, 0),
        (Alert, Off, 0, 0),
        (Observe, Off, 0, 0),
        (Off, Alert, 0, 0),
        (Off, Observe, 0, 0),
        (Off, Off, 0, 0),
    ];
    for (of_policy, of_check, violations, events) in table {
        let policy = not_ready()
            .check(Check::NotReady, |c| c.mode = of_check)
            .with(|p| p.mode = of_policy);
        let mut harness = failing(policy);
        let why = format!("policy {of_policy:?}, check {of_check:?}");
        assert_eq!(harness.index.violations().count(), violations, "{why}");
        let stricter = of_policy.max(of_check);
        assert!(
            harness.index.violations().all(|v| v.mode == stricter),
            "{why}: metrics show the stricter mode"
        );
        assert_eq!(harness.events().len(), events, "{why}");
    }
}

#[test]
fn a_mode_can_change_while_a_violation_fires() {
    let observing = || not_ready().with(|p| p.mode = Mode::Observe);
    let mut harness = failing(observing());
    harness.at(100).policy(not_ready());
    assert_eq!(
        brief(&harness.events()),
        ["SidecarContainerNotReady Create"],
        "the Event is written when the mode allows it"
    );
    harness.at(200).policy(observing()).at(REPEAT + 10);
    assert_eq!(harness.events(), [], "no repetition in mode Observe");
    harness.policy(not_ready());
    assert_eq!(
        brief(&harness.events()),
        ["SidecarContainerNotReady Repeat(2)"],
        "the overdue repetition follows the edit"
    );
    harness.policy(observing()).pod_at(4000, &web()).at(5000);
    assert_eq!(harness.events(), [], "no recovery Event in mode Observe");
    assert_eq!(harness.firing(), [""; 0]);

    let mut harness = failing(observing());
    harness.pod_at(10, &web()).at(20).policy(not_ready()).at(1000);
    assert_eq!(
        harness.events(),
        [],
        "a recovered sidecar has no Event after the edit"
    );
}

#[test]
fn recovery_events_can_be_disabled() {
    let mut harness = failing(not_ready().with(|p| p.recovery_events = false));
    harness.pod_at(10, &web()).at(1000);
    assert_eq!(brief(&harness.events()), ["SidecarContainerNotReady Create"]);
    assert_eq!(harness.log().len(), 2, "the violation resolves without an Event");
}

#[test]
fn a_firing_event_is_repeated_each_period() {
    let mut harness = failing(not_ready());
    let first = harness.events().remove(0);
    harness.at(REPEAT - 1);
    assert_eq!(harness.events(), []);
    harness.at(4 * REPEAT);
    let again = harness.events();
    let counts: Vec<_> = again.iter().map(|event| (event.at, event.delivery)).collect();
    let expected = (1..=4).map(|n| (at(i64::from(n) * REPEAT), Delivery::Repeat(n + 1)));
    assert_eq!(
        counts,
        expected.collect::<Vec<_>>(),
        "count = 1 + floor((now - firing) / repeatPeriod)"
    );
    for event in &again {
        let repeated = Event {
            at: first.at,
            delivery: first.delivery,
            ..event.clone()
        };
        assert_eq!(repeated, first, "a repetition has the same name and note");
    }
    let mut harness = failing(not_ready().with(|p| p.repeat_period = minutes(15)));
    harness.late(at(46 * 60));
    assert_eq!(
        harness.events().last().unwrap().delivery,
        Delivery::Repeat(4),
        "a late timer does not change the count"
    );
}

#[test]
fn the_period_counts_from_firing_not_from_the_onset() {
    let mut harness = Harness::with(policy().only(Check::NotReady));
    harness.pod(&web()).pod(&bad()).at(300 + REPEAT - 1);
    assert_eq!(harness.events().len(), 1);
    harness.at(300 + REPEAT);
    assert_eq!(brief(&harness.events()), ["SidecarContainerNotReady Repeat(2)"]);
}

#[test]
fn events_are_repeated_during_keep_firing_for() {
    let mut harness = failing(not_ready().check(Check::NotReady, |c| c.keep_firing_for = minutes(60)));
    harness.pod_at(10, &web()).at(REPEAT);
    assert_eq!(
        brief(&harness.events()),
        [
            "SidecarContainerNotReady Create",
            "SidecarContainerNotReady Repeat(2)"
        ]
    );
}

#[test]
fn a_new_episode_with_an_old_name_raises_the_count_of_that_event() {
    let blocked = || {
        web()
            .uninitialized()
            .starting("envoy", 0)
            .waiting("app", "PodInitializing")
    };
    let startup = only(Check::StartupBlocked, 0);
    let mut harness = Harness::with(startup);
    harness.pod(&blocked()).pod_at(2 * REPEAT, &web());
    harness
        .pod_at(2 * REPEAT + 10, &blocked())
        .pod_at(3 * REPEAT + 10, &web());
    let events = harness.events();
    assert_eq!(
        brief(&events),
        [
            "SidecarBlocksStartup Create",
            "SidecarBlocksStartup Repeat(2)",
            "SidecarBlocksStartup Repeat(3)",
            "SidecarRecovered Create",
            "SidecarBlocksStartup CreateOrRaise(4)",
            "SidecarBlocksStartup Repeat(5)",
            "SidecarRecovered CreateOrRaise(2)",
        ],
        "the count of an Event only increases"
    );
    let names: std::collections::BTreeSet<_> = events.iter().map(|event| &event.name).collect();
    assert_eq!(names.len(), 2, "both episodes have the same name");
}

#[test]
fn a_new_episode_with_a_new_name_has_a_new_event() {
    let mut harness = failing(not_ready());
    harness.pod_at(
        10,
        &web()
            .containers_unready_since(0)
            .conditions(|c| c.containers_ready.as_mut().unwrap().holds = true),
    );
    harness.pod_at(200, &bad().containers_unready_since(200));
    assert_eq!(
        brief(&harness.events()),
        [
            "SidecarContainerNotReady Create",
            "SidecarRecovered Create",
            "SidecarContainerNotReady Create"
        ]
    );
}

#[test]
fn old_event_names_are_dropped() {
    let mut harness = Harness::with(not_ready().check(Check::NotReady, |c| c.keep_firing_for = seconds(0)));
    for n in 0..200 {
        harness
            .pod_at(10 * n, &bad().containers_unready_since(10 * n))
            .pod_at(10 * n + 5, &web());
    }
    assert_eq!(harness.events().len(), 400);
    harness.pod_at(3000, &bad().containers_unready_since(1990));
    assert_eq!(
        brief(&harness.events()),
        ["SidecarContainerNotReady CreateOrRaise(2)"],
        "a recent name is remembered"
    );
    harness.pod_at(3010, &web()).events();
    harness.pod_at(3020, &bad().containers_unready_since(10));
    assert_eq!(
        brief(&harness.events()),
        ["SidecarContainerNotReady Create"],
        "an old name is dropped"
    );
}
