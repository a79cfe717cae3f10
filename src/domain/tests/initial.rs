//! The onset of a fault that exists when the operator first observes the Pod.

use crate::domain::{
    observation::{Exit, RestartPolicy, State},
    policy::{Check, Policy},
    testing::{Harness, Pod, at, policy, web},
};

/// The onset of a fault that is first observed at second 1000.
fn first_look(policy: Policy, pod: &Pod, container: &str, check: Check) -> Option<f64> {
    let mut harness = Harness::starting();
    harness.policy(policy.only(check));
    harness.at(1000).begin_resync().pod(pod);
    assert_eq!(
        harness.index.violations().count(),
        0,
        "nothing is judged before the list is complete"
    );
    harness.finish_resync();
    harness.onset(container, check)
}

fn started(pod: Pod, name: &str, second: i64) -> Pod {
    pod.status(name, |s| s.state = State::Running(Some(at(second))))
}

#[test]
fn an_observed_change_has_the_time_of_its_observation() {
    let mut harness = Harness::with(policy());
    harness
        .pod(&web())
        .at(500)
        .pod(&web().unready("envoy").containers_unready_since(490));
    assert_eq!(
        harness.onset("envoy", Check::NotReady),
        Some(500.0),
        "the kubelet's clock is not ours"
    );
    let mut harness = Harness::with(policy());
    harness
        .at(500)
        .pod(&web().unready("envoy").containers_unready_since(490));
    assert_eq!(
        harness.onset("envoy", Check::NotReady),
        Some(490.0),
        "a Pod that a watch brings for the first time may be as old as it says"
    );
}

#[test]
fn not_ready_is_bound_by_containers_ready_and_by_the_first_start() {
    let bad = || web().unready("envoy").containers_unready_since(700);
    let restarted = |pod: Pod| pod.status("envoy", |s| s.restart_count = 1);
    let table = [
        (bad(), 700.0, "ContainersReady, later than the start"),
        (
            started(bad(), "envoy", 800),
            800.0,
            "the start, later than ContainersReady",
        ),
        (
            restarted(started(bad(), "envoy", 800)),
            700.0,
            "a later start says nothing of the run before",
        ),
        (
            started(bad(), "envoy", 800).unready("app"),
            800.0,
            "another container may have turned ContainersReady",
        ),
        (
            restarted(bad()).unready("app"),
            1000.0,
            "then nothing bounds it but now",
        ),
        (bad().containers_unready_since(2000), 1000.0, "clamped to now"),
        (
            restarted(bad()).init("late").unready("late"),
            700.0,
            "plain init containers have no say in ContainersReady",
        ),
        (
            restarted(bad())
                .regular("done")
                .exits("done", 1, 100)
                .restarts_container("done", RestartPolicy::Never),
            1000.0,
            "another that failed for good is unready too",
        ),
        (
            restarted(bad())
                .regular("done")
                .exits("done", 0, 100)
                .restarts_container("done", RestartPolicy::Never),
            700.0,
            "one that finished with exit 0 is not",
        ),
        (
            restarted(web().unready("envoy")),
            1000.0,
            "ContainersReady=True bounds nothing",
        ),
    ];
    for (pod, expected, why) in table {
        let onset = first_look(policy(), &pod, "envoy", Check::NotReady);
        assert_eq!(onset, Some(expected), "{why}");
    }
}

#[test]
fn main_ready_sidecar_not_ready_is_bound_by_the_earliest_ready_main_too() {
    let bad = || {
        web()
            .regular("worker")
            .unready("envoy")
            .containers_unready_since(700)
    };
    let mains = |app, worker| started(started(bad(), "app", app), "worker", worker);
    let table = [
        (mains(0, 0), 700.0, "the sidecar's own bound is later"),
        (mains(800, 900), 800.0, "the earliest main"),
        (mains(900, 800), 800.0, "in any order"),
    ];
    for (pod, expected, why) in table {
        let onset = first_look(policy(), &pod, "envoy", Check::MainReadySidecarNotReady);
        assert_eq!(onset, Some(expected), "{why}");
    }
    let unready_main = started(mains(0, 900), "app", 800)
        .unready("app")
        .status("envoy", |s| s.restart_count = 1);
    let onset = first_look(policy(), &unready_main, "envoy", Check::MainReadySidecarNotReady);
    assert_eq!(onset, Some(900.0), "a main that is not ready has no say");
}

#[test]
fn frequent_restarts_began_with_the_last_exit() {
    let looping = (0..3).fold(web(), |pod, n| pod.restarted("envoy", 600 + 10 * n));
    let table = [
        (looping.clone().exits("envoy", 1, 650), Some(650.0), "state"),
        (
            looping.clone().exits("envoy", 1, 650).backs_off("envoy"),
            Some(650.0),
            "lastState",
        ),
        (looping, None, "up again: the earlier restarts have no times"),
    ];
    for (pod, expected, why) in table {
        assert_eq!(
            first_look(policy(), &pod, "envoy", Check::FrequentRestarts),
            expected,
            "{why}"
        );
    }
}

#[test]
fn earlier_restarts_count_in_full_for_a_container_that_is_down() {
    let down = |count: u32, ran: i64, ended: i64| {
        started(web(), "envoy", ended - ran)
            .exits("envoy", 1, ended)
            .status("envoy", |s| s.restart_count = count)
    };
    let finds = |pod: &Pod| first_look(policy(), pod, "envoy", Check::FrequentRestarts).is_some();
    assert!(finds(&down(3, 10, 900)), "restartCount has reached count");
    assert!(!finds(&down(2, 10, 900)), "or has not");
    assert!(finds(&down(3, 899, 1000)), "a run shorter than the window");
    assert!(
        !finds(&down(3, 900, 1000)),
        "a run as long as the window was no crash loop"
    );
    let without = |change: fn(&mut Exit)| {
        down(9, 10, 900).status("envoy", |s| match &mut s.state {
            State::Terminated(exit) => change(exit),
            _ => unreachable!(),
        })
    };
    assert!(
        finds(&without(|exit| exit.started_at = None)),
        "a program that cannot be started ends without a start"
    );
    assert!(
        !finds(&without(|exit| exit.finished_at = None)),
        "without its end it does not count"
    );

    let mut harness = Harness::with(policy().only(Check::FrequentRestarts));
    harness.at(1000).pod(&down(3, 10, 400)).at(400 + 4 * 15 * 60 - 1);
    assert_eq!(harness.firing().len(), 1, "for four windows from the last exit");
    harness.at(400 + 4 * 15 * 60).log();
    harness.at(400 + 4 * 15 * 60 + 10 * 60);
    assert_eq!(
        harness.log(),
        ["4600 resolved envoy FrequentRestarts"],
        "then it leaves, and keepFiringFor runs"
    );

    let mut harness = Harness::with(policy().only(Check::FrequentRestarts));
    let (two, up) = (down(2, 10, 400), down(2, 10, 400).restarted("envoy", 500));
    harness.at(450).pod(&two).at(500).pod(&up);
    assert_eq!(harness.log(), [""; 0]);
    harness.at(510).pod(&up.exits("envoy", 1, 510));
    assert_eq!(
        harness.log(),
        ["510 firing envoy FrequentRestarts"],
        "earlier ones and one that we saw, together"
    );
}

#[test]
fn startup_blocked_is_bound_by_the_sandbox_and_by_the_container_before() {
    let blocked = |pod: Pod| {
        pod.uninitialized()
            .starting("envoy", 0)
            .waiting("app", "PodInitializing")
    };
    let with_init = |ended: i64| {
        let pod = started(Pod::named("web-1").init("setup"), "setup", 0).exits("setup", 0, ended);
        blocked(pod.native("envoy").regular("app"))
    };
    let with_native = |since: i64| {
        blocked(
            started(Pod::named("web-1").native("first"), "first", since)
                .native("envoy")
                .regular("app"),
        )
    };
    let table = [
        (blocked(web()).sandbox(true, 300), Some(300.0), "the sandbox"),
        (
            with_init(600).sandbox(true, 300),
            Some(600.0),
            "the end of the init container before it",
        ),
        (
            with_init(200).sandbox(true, 300),
            Some(300.0),
            "the later of the two",
        ),
        (
            with_native(600).sandbox(true, 300),
            Some(600.0),
            "the start of the native sidecar before it",
        ),
    ];
    for (pod, expected, why) in table {
        assert_eq!(
            first_look(policy(), &pod, "envoy", Check::StartupBlocked),
            expected,
            "{why}"
        );
    }
}

#[test]
fn job_held_open_began_when_the_last_main_finished() {
    let job = Pod::named("job-1")
        .regular("app")
        .regular("worker")
        .regular("istio-proxy")
        .restart_policy(RestartPolicy::Never);
    let pod = job.exits("app", 0, 800).exits("worker", 1, 600);
    assert_eq!(
        first_look(policy(), &pod, "istio-proxy", Check::JobHeldOpen),
        Some(800.0)
    );
}

#[test]
fn a_memory_kill_began_when_it_finished_if_that_is_not_too_long_ago() {
    let killed = |second| web().oom_killed("envoy", second).restarted("envoy", second + 1);
    let onset = |pod: &Pod| first_look(policy(), pod, "envoy", Check::OOMKilled);
    assert_eq!(onset(&killed(900)), Some(900.0));
    assert_eq!(onset(&killed(401)), Some(401.0), "within keepFiringFor");
    assert_eq!(onset(&killed(400)), None, "one that is older is not new");
    let timeless = killed(900).status("envoy", |s| s.last_exit.as_mut().unwrap().finished_at = None);
    assert_eq!(onset(&timeless), None, "nor one that nobody can date");
}

#[test]
fn flapping_begins_now() {
    // Only an edit can find flapping at once, because flaps must be observed.
    let twice = policy()
        .only(Check::Flapping)
        .check(Check::Flapping, |c| c.count = 3);
    let mut harness = Harness::with(twice.clone());
    harness.pod(&web());
    for second in [10, 20] {
        harness
            .at(second)
            .pod(&web().unready("envoy"))
            .at(second + 1)
            .pod(&web());
    }
    harness
        .at(100)
        .policy(twice.check(Check::Flapping, |c| c.count = 2));
    assert_eq!(harness.onset("envoy", Check::Flapping), Some(100.0));
}
