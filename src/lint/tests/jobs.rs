//! Rules about sidecars of Pods that are to end.

use testkit::lint_fixtures::CLASSIC_IN_JOB;

use super::{assert_fixtures, assert_good, assert_rule, found, object};

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
    let ended = [
        "containers: [{name: app}, {name: istio-proxy}, {name: envoy-sidecar-helper}]",
        "containers: [{name: app}, {name: istio-proxy}, {name: helper, image: 'maksimkostromin/envoy-sidecar-helper:1'}]",
        "containers: [{name: app}, {name: istio-proxy, env: [{name: KRUISE_TERMINATE_SIDECAR_WHEN_JOB_EXIT, value: 'true'}]}]",
        "containers: [{name: app}, {name: gke-gcsfuse-sidecar}]",
        "containers: [{name: app, lifecycle: {preStop: {exec: {command: [a]}}}, command: [kill, '1']}, {name: istio-proxy}]",
    ];
    assert_good("SC004", "Job", &ended);
    assert_good(
        "SC004",
        "Deployment",
        &["containers: [{name: app}, {name: istio-proxy}]"],
    );
}

#[test]
fn a_script_in_a_config_map_of_the_same_text_ends_a_sidecar() {
    let map = |name: &str, script: &str| {
        format!("---\n{{kind: ConfigMap, metadata: {{name: {name}}}, data: {{run.sh: 'run; {script}'}}}}\n")
    };
    let volumes = "volumes: [{configMap: {defaultMode: 420, name: scripts}, name: a}]";
    let job = object(
        "Job",
        &format!("{volumes}, containers: [{{name: app, command: [/scripts/run.sh]}}, {{name: istio-proxy}}]"),
    );
    let quit = "curl -XPOST localhost:15020/quitquitquit";
    let table = [
        (map("scripts", quit), 0, "it is mounted"),
        (map("others", quit), 1, "another one"),
        (map("scripts", "date"), 1, "it ends nothing"),
    ];
    for (map, expected, why) in table {
        let count = found("SC004", &format!("{job}\n{map}")).len();
        assert_eq!(count, expected, "{why}");
    }
}
