//! Adoption: the violations that an operator restores from the stored status of a policy.

use std::sync::Arc;

use crate::domain::{
    effects::Delivery,
    observation::Observation,
    policy::{Check, Mode, Policy},
    testing::{Harness, Pod, at, cluster_key, invalid, key, one_of, only, policy, stored, web},
    violation::{StoredViolation, SubjectKey},
};

fn not_ready() -> Policy {
    policy().only(Check::NotReady)
}

fn bad() -> Pod {
    web().unready("envoy").status("envoy", |s| s.restart_count = 1)
}

/// Starts an operator at second 1000 with one policy, its stored violations, and one Pod.
fn restart(policy: Policy, stored: Vec<StoredViolation>, pod: &Pod) -> Harness {
    Harness::restarted(1000, policy, (stored, None), [pod])
}

fn firing(check: Check) -> Vec<StoredViolation> {
    vec![stored(check, "envoy", true, 500)]
}

#[test]
fn a_firing_violation_is_adopted_without_an_event() {
    let mut harness = restart(not_ready(), firing(Check::NotReady), &bad());
    assert_eq!(harness.firing(), ["envoy NotReady"]);
    assert_eq!(
        harness.onset("envoy", Check::NotReady),
        Some(500.0),
        "the onset comes from the stored violation"
    );
    assert_eq!(
        (harness.events().len(), harness.log().len()),
        (0, 0),
        "adoption writes no Event and causes no transition"
    );
    assert_eq!(harness.fired(), 0, "this process did not fire the violation");
    harness.pod_at(1100, &web()).at(1220);
    assert_eq!(harness.log(), ["1220 resolved envoy NotReady"]);
    assert_eq!(
        harness.events().len(),
        1,
        "this process writes the recovery Event"
    );
}

#[test]
fn a_pending_violation_keeps_its_onset() {
    let pending = vec![stored(Check::NotReady, "envoy", false, 800)];
    let mut harness = restart(not_ready(), pending, &bad());
    assert_eq!(harness.pending(), ["envoy NotReady"]);
    harness.at(4000);
    assert_eq!(
        harness.log(),
        ["1100 firing envoy NotReady"],
        "the violation fires five minutes after its onset at 800"
    );
    assert_eq!(harness.events().len(), 1);
    let pending = vec![stored(Check::NotReady, "envoy", false, 600)];
    let mut harness = restart(not_ready(), pending, &bad());
    assert_eq!(
        harness.log(),
        ["1000 firing envoy NotReady"],
        "a deadline during the downtime acts at once"
    );
}

#[test]
fn repetitions_keep_their_period() {
    let mut harness = restart(not_ready(), firing(Check::NotReady), &bad());
    harness.at(500 + 300 + 50 * 60 - 1);
    assert_eq!(harness.events(), []);
    harness.at(500 + 300 + 50 * 60);
    let events = harness.events();
    assert_eq!(events.len(), 1);
    assert_eq!(
        events[0].delivery,
        Delivery::Repeat(2),
        "this is the second Event of the episode"
    );
}

#[test]
fn a_new_episode_raises_the_count_of_an_adopted_event() {
    let startup = || {
        web()
            .uninitialized()
            .starting("envoy", 0)
            .waiting("app", "PodInitializing")
    };
    let started = web();
    let policy = only(Check::StartupBlocked, 60);
    let mut harness = restart(policy, firing(Check::StartupBlocked), &startup());
    harness.pod_at(1010, &started);
    assert_eq!(harness.events().len(), 1, "the recovery");
    harness.pod_at(1020, &startup()).at(1080);
    let delivery: Vec<_> = harness.events().iter().map(|event| event.delivery).collect();
    assert_eq!(
        delivery,
        [Delivery::CreateOrRaise(2)],
        "the previous operator created an Event with this name"
    );
}

#[test]
fn a_stored_violation_without_a_fault_ends_after_its_keep_firing_for() {
    let mut harness = restart(not_ready(), firing(Check::NotReady), &web());
    assert_eq!(harness.firing(), ["envoy NotReady"]);
    harness.at(4000);
    assert_eq!(
        harness.log(),
        ["1120 resolved envoy NotReady"],
        "keepFiringFor starts when the operator observes the recovery"
    );
    let pending = vec![stored(Check::NotReady, "envoy", false, 900)];
    let mut harness = restart(not_ready(), pending, &web());
    assert_eq!(harness.log(), ["1000 cleared envoy NotReady"]);
}

/// The namespace, Pod and container of a stored violation.
fn subject(violation: &mut StoredViolation) -> [&mut Arc<str>; 3] {
    let SubjectKey::Container {
        namespace,
        pod,
        uid: _,
        container,
    } = &mut violation.key.subject
    else {
        panic!("a violation of a container");
    };
    [namespace, pod, container]
}

/// One stored violation of envoy, changed.
fn with(change: fn(&mut StoredViolation)) -> Vec<StoredViolation> {
    let mut violations = firing(Check::NotReady);
    change(&mut violations[0]);
    violations
}

fn is_adopted(policy: Policy, stored: Vec<StoredViolation>, pod: &Pod) -> bool {
    let mut harness = restart(policy, stored, pod);
    assert_eq!(
        (harness.log().len(), harness.events().len()),
        (0, 0),
        "adoption causes no transition and no Event"
    );
    harness.firing() == ["envoy NotReady"]
}

#[test]
fn violations_of_missing_containers_are_not_adopted() {
    let created = |second| web().with(|pod| pod.created = Some(at(second)).into());
    #[rustfmt::skip]
    let table = [
        (with(|_| {}), web(), true, "the Pod and the policy are unchanged"),
        (with(|_| {}), created(500), true, "a Pod as old as the violation"),
        (with(|_| {}), web().with(|pod| pod.created = None.into()), true, "a Pod without a creation time"),
        (with(|_| {}), created(501), false, "a younger Pod of the same name is another Pod"),
        (with(|v| *subject(v)[1] = "web-2".into()), web(), false, "another Pod"),
        (with(|v| *subject(v)[0] = "shop".into()), web(), false, "another namespace"),
        (with(|v| *subject(v)[2] = "gone".into()), web(), false, "a container that the Pod lacks"),
        (with(|_| {}), web().with(|p| p.terminating = true), false, "a Pod that is not evaluated"),
    ];
    for (listed, pod, expected, why) in table {
        assert_eq!(is_adopted(not_ready(), listed, &pod), expected, "{why}");
    }
}

/// The UID decides, whatever the clocks show. A status without UIDs is one of version 0.1.
#[test]
fn a_violation_is_adopted_only_by_the_pod_with_its_uid() {
    #[rustfmt::skip]
    let table = [
        (Some("u-1"), "u-1", 0, true, "the same Pod"),
        (Some("u-1"), "u-1", 503, true, "the same Pod, created by a clock that was ahead"),
        (Some("u-1"), "u-2", 497, false, "its successor, created by a clock that was behind"),
        (None, "u-1", 0, true, "a status without UIDs"),
        (None, "u-1", 503, false, "a status without UIDs, and a younger Pod"),
    ];
    for (stored_uid, uid, created, expected, why) in table {
        let listed = firing(Check::NotReady).into_iter().map(|mut violation| {
            if let SubjectKey::Container { uid, .. } = &mut violation.key.subject {
                *uid = stored_uid.map(Arc::from);
            }
            violation
        });
        let change = |pod: &mut Observation| (pod.uid, pod.created) = (uid.into(), Some(at(created)).into());
        let pod = web().starting("envoy", 0).with(change);
        let mut harness = restart(not_ready(), listed.collect(), &pod);
        let onset = harness.onset("envoy", Check::NotReady);
        assert_eq!(onset == Some(500.0), expected, "{why}: {onset:?}");
        assert_eq!(harness.events().is_empty(), expected, "{why}");
    }
}

#[test]
fn violations_outside_the_policy_are_not_adopted() {
    let off = not_ready().check(Check::NotReady, |c| c.mode = Mode::Off);
    #[rustfmt::skip]
    let table = [
        (off, with(|_| {}), "a check that has been disabled"),
        (not_ready(), with(|v| v.key.check = Check::JobHeldOpen), "another check that is disabled"),
        (not_ready(), with(|v| *subject(v)[2] = "app".into()), "a container that the check does not cover"),
        (not_ready().with(|p| p.sidecars.native = false), with(|_| {}), "a container that is no longer a sidecar"),
        (not_ready().with(|p| p.mode = Mode::Off), with(|_| {}), "a policy with mode Off"),
        (not_ready().with(|p| p.pods = one_of("a", "b")), with(|_| {}), "a Pod that no longer matches"),
    ];
    for (policy, listed, why) in table {
        assert!(!is_adopted(policy, listed, &web()), "{why}");
    }
}

#[test]
fn stored_violations_without_a_pod_are_dropped_after_the_first_list() {
    let selecting = not_ready().with(|p| p.namespaces = one_of("team", "pay"));
    for (key, policy) in [(key("mesh"), not_ready()), (cluster_key("platform"), selecting)] {
        for pods_first in [true, false] {
            let mut harness = Harness::starting();
            let other = web().with(|pod| pod.name = "web-3".into());
            harness.at(1000);
            if pods_first {
                harness.resync([&other]);
            }
            harness.policy_as(key.clone(), Ok(policy.clone()), firing(Check::NotReady));
            if !pods_first {
                harness.resync([&other]);
            }
            harness.pod_at(1100, &web());
            assert_eq!(
                harness.firing(),
                [""; 0],
                "{key}: a Pod that is created later, {pods_first}"
            );
        }
    }
}

#[test]
fn the_order_in_which_watches_complete_makes_no_difference() {
    let selecting = policy()
        .only(Check::NotReady)
        .with(|p| p.namespaces = one_of("team", "pay"));
    for order in [
        ["pods", "policy", "namespaces"],
        ["namespaces", "policy", "pods"],
        ["policy", "pods", "namespaces"],
    ] {
        let mut harness = Harness::without_namespaces();
        harness.at(1000);
        for step in order {
            match step {
                "pods" => harness.resync([&bad()]),
                "policy" => {
                    let listed = firing(Check::NotReady);
                    harness.policy_as(cluster_key("platform"), Ok(selecting.clone()), listed)
                }
                _ => harness.list_namespaces(&["pay"]),
            };
        }
        assert_eq!(harness.onset("envoy", Check::NotReady), Some(500.0), "{order:?}");
        assert_eq!(
            (harness.firing().len(), harness.events().len()),
            (1, 0),
            "{order:?}"
        );
    }
}

#[test]
fn a_held_pod_keeps_its_stored_violations() {
    let restarting = bad().conditions(|c| c.all_containers_restarting = true);
    let mut harness = restart(not_ready(), firing(Check::NotReady), &restarting);
    assert_eq!(harness.firing(), ["envoy NotReady"], "a hold changes nothing");
    assert_eq!(harness.index.next_deadline(), None);
    harness.pod_at(9000, &bad());
    assert_eq!(harness.log(), [""; 0], "the violation still fires after the hold");
    assert_eq!(harness.onset("envoy", Check::NotReady), Some(500.0));
}

#[test]
fn a_policy_that_was_never_valid_adopts_nothing() {
    let mut harness = Harness::starting();
    harness.at(1000).policy_as(
        key("mesh"),
        invalid("spec.podSelector: no"),
        firing(Check::NotReady),
    );
    harness.resync([&web()]);
    assert_eq!(harness.firing(), [""; 0]);
    harness.at(1100).policy(policy());
    assert_eq!(
        harness.firing(),
        [""; 0],
        "the stored status expires before the first valid version"
    );
}

#[test]
fn a_status_is_read_only_once() {
    let mut harness = restart(not_ready(), Vec::new(), &web());
    harness.policy_as(key("mesh"), Ok(not_ready()), firing(Check::NotReady));
    assert_eq!(harness.firing(), [""; 0], "own status writes are ignored");
}

#[test]
fn an_adopted_oom_kill_fires_for_the_rest_of_keep_firing_for() {
    let kill = |since| vec![stored(Check::OOMKilled, "envoy", true, since)];
    let oom = || policy().only(Check::OOMKilled);
    let mut harness = restart(oom(), kill(500), &web());
    harness.at(4000);
    assert_eq!(
        harness.log(),
        ["1100 resolved envoy OOMKilled"],
        "the Pod no longer shows the kill"
    );
    let again = web().oom_killed("envoy", 800).restarted("envoy", 801);
    let mut harness = restart(oom(), kill(500), &again);
    assert_eq!(harness.onset("envoy", Check::OOMKilled), Some(500.0));
    harness.at(4000);
    assert_eq!(
        harness.log(),
        ["1400 resolved envoy OOMKilled"],
        "a later kill restarts keepFiringFor"
    );
    let timeless = again.status("envoy", |s| s.last_exit.as_mut().unwrap().finished_at = None);
    let mut harness = restart(oom(), kill(500), &timeless);
    harness.at(4000);
    assert_eq!(
        harness.log(),
        ["1100 resolved envoy OOMKilled"],
        "an exit without a time does not restart keepFiringFor"
    );
}

#[test]
fn violations_missing_in_the_status_are_rebuilt_from_the_pod() {
    let two = bad().native("vault-agent").starting("vault-agent", 0);
    let mut harness = restart(not_ready(), firing(Check::NotReady), &two);
    assert_eq!(harness.log(), ["1000 firing vault-agent NotReady"]);
    assert_eq!(
        harness.onset("vault-agent", Check::NotReady),
        Some(0.0),
        "the onset is the start of the container"
    );
    assert_eq!(harness.events().len(), 1, "the new violation has an Event");
}
