//! The onset of a fault that exists when the operator first observes the Pod.

use crate::domain::{
    observation::{Exit, RestartPolicy, State},
    policy::{Check, Policy},
    testing::{Harness, Pod, at, policy, unready_since, web},
};

/// Returns the onset of a fault that the operator first observes at second 1000.
fn first_onset(policy: Policy, pod: &Pod, container: &str, check: Check) -> Option<f64> {
    let mut harness = Harness::starting();
    harness.policy(policy.only(check));
    harness.at(1000).begin_resync().pod(pod);
    assert_eq!(
        harness.index.violations().count(),
        0,
        "no Pod is evaluated before the list is complete"
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
    harness.pod(&web()).pod_at(500, &unready_since(490));
    assert_eq!(
        harness.onset("envoy", Check::NotReady),
        Some(500.0),
        "the onset of an observed change is the time of observation"
    );
    let mut harness = Harness::with(policy());
    harness.pod_at(500, &unready_since(490));
    assert_eq!(
        harness.onset("envoy", Check::NotReady),
        Some(500.0),
        "the conditions of a new Pod do not date a container"
    );
}

#[test]
fn the_onset_of_an_unready_sidecar_comes_from_its_own_status() {
    let bad = || unready_since(700);
    let down = || bad().exits("envoy", 1, 800).backs_off("envoy");
    let new_sandbox = || down().sandbox(true, 900);
    #[rustfmt::skip]
    let table = [
        (bad(), 1000.0, "ContainersReady dates the Pod"),
        (started(bad(), "envoy", 800), 1000.0, "it has started, and may have been ready"),
        (bad().starting("envoy", 800), 800.0, "it has not started since"),
        (bad().starting("envoy", 800).unready("app"), 800.0, "the other containers do not matter"),
        (bad().starting("envoy", 2000), 1000.0, "a time in the future becomes now"),
        (down(), 800.0, "it is down"),
        (down().restarted("envoy", 850).starting("envoy", 850), 800.0, "it is down, and has not started since"),
        (down().restarted("envoy", 850).unready("envoy"), 1000.0, "it has started again"),
        (new_sandbox(), 1000.0, "its run ended with an earlier sandbox"),
        (new_sandbox().restarted("envoy", 950).starting("envoy", 950), 950.0, "its first run in this sandbox"),
        (bad().exits("envoy", 1, 800).restarts_container("envoy", RestartPolicy::Never), 800.0, "it has failed finally"),
        (bad().waiting("envoy", "ImagePullBackOff"), 1000.0, "it has never run"),
    ];
    for (pod, expected, why) in table {
        let onset = first_onset(policy(), &pod, "envoy", Check::NotReady);
        assert_eq!(onset, Some(expected), "{why}");
    }
}

#[test]
fn the_start_of_the_app_does_not_date_an_unready_sidecar() {
    let apps = |app, worker| {
        let pod = started(web().regular("worker"), "app", app);
        started(pod, "worker", worker)
    };
    let down = |pod: Pod| pod.exits("envoy", 1, 600).backs_off("envoy");
    #[rustfmt::skip]
    let table = [
        (apps(700, 700).unready("envoy"), 1000.0, "the onset is not known"),
        (down(apps(500, 500)), 600.0, "the sidecar is down since"),
        (down(apps(700, 800)), 700.0, "no main container was ready before the first has started"),
        (down(apps(800, 700)), 700.0, "the order of the main containers does not matter"),
        (down(apps(700, 800).unready("app")), 800.0, "an unready main container is not a bound"),
    ];
    for (pod, expected, why) in table {
        let onset = first_onset(policy(), &pod, "envoy", Check::MainReadySidecarNotReady);
        assert_eq!(onset, Some(expected), "{why}");
    }
}

#[test]
fn before_its_probes_run_an_unready_sidecar_is_no_fault() {
    let delayed = |readiness, startup| {
        web().spec("envoy", |c| {
            (c.probes.readiness_delay, c.probes.startup_delay) = (readiness, startup);
        })
    };
    #[rustfmt::skip]
    let table = [
        (delayed(0, 0).unready("envoy"), 0.0, "no delay"),
        (delayed(40, 0).unready("envoy"), 40.0, "of the readiness probe"),
        (delayed(0, 400).starting("envoy", 0), 400.0, "of the startup probe"),
        (delayed(40, 400).unready("envoy"), 40.0, "the startup probe has passed"),
    ];
    for (pod, expected, why) in table {
        let mut harness = Harness::with(policy().only(Check::NotReady));
        harness.pod(&pod).at(400);
        assert_eq!(harness.onset("envoy", Check::NotReady), Some(expected), "{why}");
    }
    let mut harness = Harness::with(policy().only(Check::NotReady));
    harness
        .pod(&delayed(40, 0))
        .pod_at(100, &delayed(40, 0).exits("envoy", 1, 100));
    harness.pod_at(110, &delayed(40, 0).restarted("envoy", 110).unready("envoy"));
    assert_eq!(
        harness.onset("envoy", Check::NotReady),
        Some(100.0),
        "a fault goes on in the next run"
    );
}

#[test]
fn frequent_restarts_began_with_the_last_exit() {
    let looping = (0..3).fold(web(), |pod, n| pod.restarted("envoy", 600 + 10 * n));
    #[rustfmt::skip]
    let table = [
        (looping.clone().exits("envoy", 1, 650), None, "it does not wait in back-off yet"),
        (looping.clone().exits("envoy", 1, 650).backs_off("envoy"), Some(650.0), "the exit in lastState"),
        (looping, None, "up again: earlier restarts have no times"),
    ];
    for (pod, expected, why) in table {
        assert_eq!(
            first_onset(policy(), &pod, "envoy", Check::FrequentRestarts),
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
            .backs_off("envoy")
            .status("envoy", |s| s.restart_count = count)
    };
    let finds = |pod: &Pod| first_onset(policy(), pod, "envoy", Check::FrequentRestarts).is_some();
    assert!(finds(&down(3, 10, 900)), "restartCount has reached count");
    assert!(!finds(&down(2, 10, 900)), "restartCount has not reached count");
    assert!(
        finds(&down(3, 599, 1000)),
        "the back-off continues after a run shorter than ten minutes"
    );
    assert!(
        !finds(&down(3, 600, 1000)),
        "a run of ten minutes resets the back-off"
    );
    let without =
        |change: fn(&mut Exit)| down(9, 10, 900).status("envoy", |s| change(s.last_exit.as_mut().unwrap()));
    assert!(
        finds(&without(|exit| exit.started_at = None)),
        "an exit without a start time counts"
    );
    assert!(
        !finds(&without(|exit| exit.finished_at = None)),
        "an exit without an end time does not count"
    );

    let mut harness = Harness::with(policy().only(Check::FrequentRestarts));
    harness.pod_at(1000, &down(3, 10, 400)).at(400 + 4 * 15 * 60 - 1);
    assert_eq!(
        harness.firing().len(),
        1,
        "the restarts count for four windows after the last exit"
    );
    harness.at(400 + 4 * 15 * 60).log();
    harness.at(400 + 4 * 15 * 60 + 10 * 60);
    assert_eq!(
        harness.log(),
        ["4600 resolved envoy FrequentRestarts"],
        "keepFiringFor follows the four windows"
    );

    let mut harness = Harness::with(policy().only(Check::FrequentRestarts));
    let (two, up) = (down(2, 10, 400), down(2, 10, 400).restarted("envoy", 500));
    harness.pod_at(450, &two).pod_at(500, &up);
    assert_eq!(harness.log(), [""; 0]);
    harness.pod_at(510, &up.exits("envoy", 1, 510).backs_off("envoy"));
    assert_eq!(
        harness.log(),
        ["510 firing envoy FrequentRestarts"],
        "earlier restarts and an observed exit count together"
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
    #[rustfmt::skip]
    let table = [
        (blocked(web()).sandbox(true, 300), Some(300.0), "the start of the sandbox"),
        (with_init(600).sandbox(true, 300), Some(600.0), "the end of the previous init container"),
        (with_init(200).sandbox(true, 300), Some(300.0), "the sandbox is later than the previous init container"),
        (with_native(600).sandbox(true, 300), Some(600.0), "the start of the previous native sidecar"),
    ];
    for (pod, expected, why) in table {
        assert_eq!(
            first_onset(policy(), &pod, "envoy", Check::StartupBlocked),
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
        first_onset(policy(), &pod, "istio-proxy", Check::JobHeldOpen),
        Some(800.0)
    );
}

#[test]
fn the_onset_of_a_recent_oom_kill_is_the_end_of_the_run() {
    let killed = |second| web().oom_killed("envoy", second).restarted("envoy", second + 1);
    let onset = |pod: &Pod| first_onset(policy(), pod, "envoy", Check::OOMKilled);
    assert_eq!(onset(&killed(900)), Some(900.0));
    assert_eq!(
        onset(&killed(401)),
        Some(401.0),
        "a kill within keepFiringFor counts"
    );
    assert_eq!(onset(&killed(400)), None, "an older kill does not count");
    let timeless = killed(900).status("envoy", |s| s.last_exit.as_mut().unwrap().finished_at = None);
    assert_eq!(onset(&timeless), None, "a kill without a time does not count");
}

#[test]
fn the_onset_of_flapping_is_now() {
    // Flaps must be observed, so only an edit can find flapping at once.
    let twice = policy()
        .only(Check::Flapping)
        .check(Check::Flapping, |c| c.count = 3);
    let mut harness = Harness::with(twice.clone());
    harness.pod(&web());
    for second in [10, 20] {
        harness
            .pod_at(second, &web().unready("envoy"))
            .pod_at(second + 1, &web());
    }
    harness
        .at(100)
        .policy(twice.check(Check::Flapping, |c| c.count = 2));
    assert_eq!(harness.onset("envoy", Check::Flapping), Some(100.0));
}
