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
