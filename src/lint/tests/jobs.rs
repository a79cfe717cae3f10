//! Rules about sidecars of Pods that are to end.

use testkit::lint_fixtures::CLASSIC_IN_JOB;

use super::{assert_fixtures, assert_good, assert_rule};

#[test]
fn sc002_restart_policy_always_does_not_make_a_container_native() {
    let bad = [
        (
            "restartPolicy: Never, containers: [{name: app}, {name: istio-proxy, restartPolicy: Always}]",
            "Error containers[1].restartPolicy",
        ),
        (
            "restartPolicy: OnFailure, containers: [{name: app}, {name: log-sidecar, restartPolicy: Always}]",
            "Error containers[1].restartPolicy",
        ),
    ];
    let good = [
        "containers: [{name: app}, {name: istio-proxy, restartPolicy: Always}]",
        "restartPolicy: Never, containers: [{name: app}, {name: istio-proxy}]",
        "restartPolicy: Never, containers: [{name: app, restartPolicy: Always}, {name: istio-proxy}]",
        "restartPolicy: Never, initContainers: [{name: istio-proxy, restartPolicy: Always}], containers: [{name: app}]",
    ];
    for kind in ["Pod", "Job", "CronJob"] {
        assert_rule("SC002", kind, &bad, &good);
    }
}

#[test]
fn sc004_a_classic_sidecar_holds_a_job_open() {
    assert_fixtures(&CLASSIC_IN_JOB);
    assert_good(
        "SC004",
        "Deployment",
        &["containers: [{name: app}, {name: istio-proxy}]"],
    );
}
