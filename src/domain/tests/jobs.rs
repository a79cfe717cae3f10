//! JobHeldOpen.

use crate::domain::{
    observation::RestartPolicy,
    policy::Check,
    testing::{Harness, Pod, policy, web_named},
};

use RestartPolicy::{Always, Never, OnFailure};

fn job(policy: RestartPolicy) -> Pod {
    let pod = web_named("job-1").regular("worker");
    pod.regular("log-sidecar").restart_policy(policy)
}

fn done(pod: Pod, code: i32) -> Pod {
    pod.exits("app", 0, 10).exits("worker", code, 20)
}

#[test]
fn a_classic_sidecar_that_outlives_every_main_holds_the_job_open() {
    #[rustfmt::skip]
    let table = [
        (done(job(Never), 0), true, "every main has finished"),
        (done(job(Never), 1), true, "every main has finished, one with exit 1, under Never"),
        (done(job(OnFailure), 0), true, "every main has finished, under OnFailure"),
        (done(job(OnFailure), 1), false, "one main will be restarted"),
        (job(Never).exits("app", 0, 10), false, "one main still runs"),
        (done(job(Never), 0).unreported("worker"), false, "one main has no status"),
        (done(job(Always), 0), false, "a Pod with restartPolicy Always does not complete"),
        (done(job(Always), 0).restarts_container("app", Never).restarts_container("worker", Never), false,
            "the Pod's restartPolicy decides, even if every main has its own"),
        (done(job(Never), 0).exits("log-sidecar", 0, 30), false, "the sidecar has finished"),
        (done(job(Never), 0).exits("log-sidecar", 1, 30), false, "the sidecar has failed finally"),
        (done(job(OnFailure), 0).exits("log-sidecar", 1, 30), true, "the sidecar will be restarted"),
        (done(job(Never), 0).exits("log-sidecar", 0, 30).restarts_container("log-sidecar", Always), true,
            "a regular container with restartPolicy Always is not a native sidecar"),
        (done(job(OnFailure), 0).exits("log-sidecar", 1, 30).backs_off("log-sidecar"), true, "the sidecar backs off"),
        (done(job(Never), 0).unreported("log-sidecar"), false, "the sidecar has no status"),
    ];
    for (pod, expected, why) in table {
        let mut harness = Harness::with(policy().only(Check::JobHeldOpen));
        harness.pod(&pod);
        let found: Vec<_> = harness.failing_containers();
        let classic: &[&str] = if expected { &["log-sidecar"] } else { &[] };
        assert_eq!(found, classic, "{why}; the native sidecar never counts");
    }
}

#[test]
fn a_sidecar_can_end_within_hold_for() {
    let mut harness = Harness::with(policy().only(Check::JobHeldOpen));
    harness.pod(&job(Never)).pod_at(20, &done(job(Never), 0)).at(320);
    assert_eq!(
        harness.log(),
        [
            "20 pending log-sidecar JobHeldOpen",
            "320 firing log-sidecar JobHeldOpen"
        ]
    );
    assert_eq!(harness.detail(), "every main container finished; still runs");
    harness.pod(&done(job(Never), 0).exits("log-sidecar", 0, 330));
    assert_eq!(harness.log(), ["320 resolved log-sidecar JobHeldOpen"]);
    let again = done(job(OnFailure), 0).exits("log-sidecar", 1, 330);
    harness.pod(&again).at(420);
    assert_eq!(
        harness.detail(),
        "every main container finished; will be restarted"
    );
}

/// Tekton stops its sidecars with another image. The kubelet restarts them under any restart policy.
#[test]
fn a_restart_of_the_sidecar_does_not_move_the_onset() {
    for clock_of_node in [0, -3600, 3600] {
        let t = |second: i64| second + clock_of_node;
        let held = job(Never).exits("app", 0, t(10)).exits("worker", 0, t(20));
        let stopped = held.clone().exits("log-sidecar", 2, t(32));
        let goes_on = stopped.clone().restarted("log-sidecar", t(34));
        let mut harness = Harness::with(policy().only(Check::JobHeldOpen));
        harness.pod(&job(Never)).pod_at(21, &held).pod_at(33, &stopped);
        harness.pod_at(35, &goes_on).at(321);
        let log = harness.log();
        assert_eq!(
            log,
            [
                "21 pending log-sidecar JobHeldOpen",
                "33 cleared log-sidecar JobHeldOpen",
                "35 pending log-sidecar JobHeldOpen",
                "321 firing log-sidecar JobHeldOpen"
            ],
            "the clock of the node is {clock_of_node} s ahead"
        );
    }
}

#[test]
fn a_sidecar_that_restarts_before_the_mains_finish_holds_the_job_since_they_did() {
    let restarted = job(OnFailure)
        .exits("log-sidecar", 1, 5)
        .restarted("log-sidecar", 6);
    let mut harness = Harness::with(policy().only(Check::JobHeldOpen));
    harness.pod(&restarted).pod_at(21, &done(restarted.clone(), 0));
    assert_eq!(harness.onset("log-sidecar", Check::JobHeldOpen), Some(21.0));
}
