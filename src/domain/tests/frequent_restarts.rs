//! FrequentRestarts.

use crate::domain::{
    checks::frequent_restarts::Scope,
    observation::RestartPolicy,
    policy::{Check, Policy},
    testing::{Harness, Pod, minutes, policy, web, web_named},
};

use RestartPolicy::{Always, Never, OnFailure};

fn restarts_only() -> Policy {
    policy().only(Check::FrequentRestarts)
}

/// Restarts a container at each of these seconds.
fn restart(harness: &mut Harness, pod: &Pod, container: &str, seconds: &[i64]) -> Pod {
    harness.pod(pod);
    harness.restarts(pod.clone(), container, seconds.iter().copied())
}

/// Checks a table: whether the check fires if the Pod is first observed at this second.
fn check<const N: usize>(second: i64, table: [(Pod, bool, &str); N]) {
    for (pod, expected, why) in table {
        let mut harness = Harness::with(restarts_only());
        harness.pod_at(second, &pod);
        assert_eq!(harness.firing().len(), usize::from(expected), "{why}");
    }
}

#[test]
fn as_many_restarts_as_count_within_the_window_fire_at_once() {
    let minute = 60;
    #[rustfmt::skip]
    let table: [(&[i64], bool, &str); 4] = [
        (&[10, 20], false, "one restart less than count"),
        (&[10, 20, 30], true, "exactly count restarts"),
        (&[10, 20, 10 + 15 * minute - 1], true, "the first restart is within the window for one more second"),
        (&[10, 20, 10 + 15 * minute], false, "the first restart has just left the window"),
    ];
    for (seconds, fires, why) in table {
        let mut harness = Harness::with(restarts_only());
        restart(&mut harness, &web(), "envoy", seconds);
        assert_eq!(harness.firing().len(), usize::from(fires), "{why}");
    }
}

#[test]
fn a_container_that_is_up_recovers_when_restarts_leave_the_window() {
    let mut harness = Harness::with(restarts_only());
    restart(&mut harness, &web(), "envoy", &[10, 20, 30, 40]);
    harness.at(9000);
    // The second of four restarts leaves the window at 20 + 15 min. Then keepFiringFor begins.
    assert_eq!(
        harness.log(),
        [
            "30 firing envoy FrequentRestarts",
            "1520 resolved envoy FrequentRestarts"
        ]
    );
}

#[test]
fn the_restarts_of_a_container_that_is_down_count_for_four_windows() {
    let backs_off = |pod: &Pod, second| pod.clone().exits("envoy", 1, second).backs_off("envoy");
    let window = 15 * 60;
    let mut harness = Harness::with(restarts_only());
    let pod = restart(&mut harness, &web(), "envoy", &[10, 10 + window, 10 + 2 * window]);
    assert_eq!(
        harness.firing(),
        [""; 0],
        "up: three restarts in half an hour do not reach the limit"
    );
    let down = backs_off(&pod, 11 + 2 * window);
    harness.pod_at(11 + 2 * window, &down);
    assert_eq!(
        harness.firing(),
        ["envoy FrequentRestarts"],
        "down: three restarts in half an hour are a crash loop"
    );
    harness.at(10 + 4 * window).log();
    harness.at(20 + 4 * window + 10 * 60);
    assert_eq!(
        harness.log().len(),
        1,
        "the first restart leaves four windows, then keepFiringFor passes"
    );
}

#[test]
fn down_is_waiting_or_ended_and_not_finished() {
    let job = |policy| {
        Pod::named("j")
            .regular("envoy")
            .regular("app")
            .restart_policy(policy)
    };
    let pod = |policy| job(policy).status("envoy", |s| s.restart_count = 3);
    #[rustfmt::skip]
    let table = [
        (pod(Always).exits("envoy", 1, 10), false, "terminated, to be restarted: earlier restarts have no times"),
        (pod(Always).exits("envoy", 1, 10).backs_off("envoy"), true, "in back-off"),
        (pod(Always).exits("envoy", 1, 10).waiting("envoy", ""), false, "waiting without a last exit"),
        (pod(Always).exits("envoy", 1, 10).backs_off("envoy").waiting("envoy", "RunContainerError"), false,
            "waiting with another reason"),
        (pod(OnFailure).exits("envoy", 0, 10), false, "finished"),
        (pod(Never).exits("envoy", 1, 10), false, "finished with an error"),
        (pod(Always).restarted("envoy", 10), false, "up"),
    ];
    check(100, table);
}

#[test]
fn a_native_sidecar_that_the_kubelet_stops_is_not_down() {
    let job = |policy| {
        let pod = web_named("job-1");
        pod.regular("worker").restart_policy(policy)
    };
    let restarted = |policy| {
        let seconds = [10, 20 * 60, 41 * 60].into_iter();
        seconds.fold(job(policy), |pod, second| pod.restarted("envoy", second))
    };
    let done = |pod: Pod| pod.exits("app", 0, 3000).exits("worker", 0, 3000);
    #[rustfmt::skip]
    let table = [
        (done(restarted(Never)).exits("envoy", 137, 3008).backs_off("envoy"), false, "all regular containers have finished"),
        (done(restarted(OnFailure)).exits("envoy", 0, 3008).backs_off("envoy"), false,
            "all regular containers have finished, under OnFailure"),
        (restarted(Never).exits("app", 0, 3000).exits("envoy", 1, 3008).backs_off("envoy"), true, "one regular container still runs"),
        (done(restarted(Never).regular("log-sidecar")).exits("envoy", 1, 3008).backs_off("envoy"), true,
            "a classic sidecar holds the Job open, so the kubelet restarts the native sidecar"),
        (done(restarted(OnFailure)).exits("worker", 1, 3000).exits("envoy", 1, 3008).backs_off("envoy"), true,
            "a main container will be restarted"),
    ];
    check(3010, table);
}

#[test]
fn a_container_that_waits_for_init_containers_is_not_down() {
    let pod = || {
        let pod = Pod::named("web-1").init("setup").native("envoy");
        let pod = pod.regular("istio-proxy").regular("app").sandbox(true, 100);
        pod.restarted("istio-proxy", 10)
            .status("istio-proxy", |s| s.restart_count = 3)
            .exits("istio-proxy", 137, 95)
    };
    let waiting = || pod().waiting("istio-proxy", "PodInitializing");
    let crashed = || pod().exits("istio-proxy", 1, 120).backs_off("istio-proxy");
    #[rustfmt::skip]
    let table = [
        (pod().backs_off("istio-proxy"), true, "it is down by itself"),
        (pod().backs_off("istio-proxy").starting("setup", 101), false, "a plain init container runs again"),
        (waiting().starting("setup", 101).uninitialized(), false,
            "it waits to be created while a plain init container runs again"),
        (pod().waiting("setup", "PodInitializing"), false, "a plain init container waits to run again"),
        (pod().starting("envoy", 101), false,
            "it ended in an earlier sandbox, and the native sidecar has not started in this one"),
        (waiting().starting("envoy", 101).uninitialized(), false,
            "it waits to be created while the native sidecar starts again"),
        (crashed().starting("envoy", 101), true, "both crash in the same sandbox"),
    ];
    check(130, table);
}

#[test]
fn a_native_sidecar_that_exits_0_never_shows_crash_loop_back_off() {
    let exits = |pod: &Pod, second| pod.clone().exits("envoy", 0, second);
    let mut harness = Harness::with(restarts_only());
    let pod = restart(&mut harness, &web(), "envoy", &[100, 700, 1300]);
    harness.pod_at(1310, &exits(&pod, 1310));
    assert_eq!(harness.log(), ["1310 firing envoy FrequentRestarts"]);
}

#[test]
fn the_policy_sets_count_and_window() {
    let quick = restarts_only().check(Check::FrequentRestarts, |c| (c.count, c.window) = (1, minutes(1)));
    let mut harness = Harness::with(quick);
    restart(&mut harness, &web(), "envoy", &[10]);
    harness.at(1000);
    assert_eq!(
        harness.log(),
        [
            "10 firing envoy FrequentRestarts",
            "670 resolved envoy FrequentRestarts"
        ],
        "one minute of window, ten minutes of keepFiringFor"
    );
}

#[test]
fn scope_decides_which_containers_are_checked() {
    let pod = || web().init("setup").native("vault-agent").regular("skipped");
    let of = |scope| {
        restarts_only().with(|p| {
            p.checks.frequent_restarts.limits.scope = scope;
            p.mains = ["app".into()].into();
            p.sidecars.exclude_names = ["vault-agent".into()].into();
        })
    };
    let table = [
        (Scope::Sidecars, vec!["envoy"]),
        (Scope::AllContainers, vec!["app", "envoy", "setup"]),
    ];
    for (scope, expected) in table {
        let mut found = Vec::new();
        for name in ["app", "envoy", "setup", "skipped", "vault-agent"] {
            let mut harness = Harness::with(of(scope));
            restart(&mut harness, &pod(), name, &[10, 20, 30]);
            let firing: Vec<_> = harness.failing_containers();
            assert!(firing.iter().all(|container| container == name));
            found.extend(firing);
        }
        assert_eq!(found, expected, "{scope:?}");
    }
}

#[test]
fn an_init_container_that_has_completed_is_not_down() {
    let pod = Pod::named("web-1").init("setup").regular("app");
    let mut harness = Harness::with(
        restarts_only().with(|p| p.checks.frequent_restarts.limits.scope = Scope::AllContainers),
    );
    let pod = restart(&mut harness, &pod, "setup", &[10, 20, 30]);
    assert_eq!(harness.firing(), ["setup FrequentRestarts"]);
    harness
        .pod_at(40, &pod.exits("setup", 0, 40).ready("setup"))
        .at(30 * 60);
    assert_eq!(
        harness.firing(),
        [""; 0],
        "restartPolicy Always acts as OnFailure for an init container"
    );
}

#[test]
fn the_detail_has_the_count_and_the_last_exit() {
    let mut harness = Harness::with(restarts_only());
    let pod = restart(&mut harness, &web(), "envoy", &[10, 20, 30]);
    assert_eq!(harness.detail(), "3 restarts in total, last exit code 1 (Error)");
    harness.pod_at(40, &pod.exits("envoy", 7, 40));
    assert_eq!(
        harness.detail(),
        "3 restarts in total, last exit code 7 (Error), down"
    );
}

#[test]
fn restarts_after_long_runs_have_a_limit_of_their_own() {
    let minutes = |number: i64| number * 60;
    let mut harness = Harness::with(restarts_only());
    let regular: Vec<i64> = (1..=6).map(|n| minutes(45 * n)).collect();
    restart(&mut harness, &web(), "envoy", &regular);
    assert_eq!(
        harness.log(),
        ["16200 firing envoy FrequentRestarts"],
        "the sixth within six hours"
    );
    harness.at(minutes(45 * 6 + 90)).at(minutes(45 * 6 + 100));
    assert_eq!(
        harness.log(),
        ["22200 resolved envoy FrequentRestarts"],
        "no restart for twice the time between two, then keepFiringFor"
    );
    let mut harness = Harness::with(restarts_only());
    let rare: Vec<i64> = (1..=9).map(|n| minutes(80 * n)).collect();
    restart(&mut harness, &web(), "envoy", &rare);
    assert_eq!(harness.log(), [""; 0], "five within six hours");
    let mut harness = Harness::with(restarts_only());
    restart(
        &mut harness,
        &web(),
        "envoy",
        &[100, 500, 1001, 1500, 2002, 2500, 3003, 3500],
    );
    assert_eq!(harness.log(), [""; 0], "the runs are shorter than ten minutes");
}
