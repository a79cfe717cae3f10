//! Rules about sidecars of Pods that are to end.

use super::assert_rule;

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
    let bad = [
        (
            "containers: [{name: app}, {name: istio-proxy}]",
            "Error containers[1].name",
        ),
        (
            "containers: [{name: app}, {name: cloud-sql-proxy, args: [--port=5432]}]",
            "Error containers[1].name",
        ),
        (
            "containers: [{name: app}, {name: logs, image: fluent/fluent-bit, command: [sh, -c, 'while true; do cat; done']}]",
            "Error containers[1].name",
        ),
        (
            "containers: [{name: app}, {name: upload-sidecar}]",
            "Warning containers[1].name",
        ),
    ];
    let good = [
        "containers: [{name: app}]",
        "containers: [{name: istio-proxy}]",
        "initContainers: [{name: istio-proxy, restartPolicy: Always}], containers: [{name: app}]",
        "containers: [{name: app, command: [sh, -c, 'run; curl -XPOST localhost:15020/quitquitquit']}, {name: istio-proxy}]",
        "containers: [{name: app, args: [/linkerd-await, --shutdown, run]}, {name: linkerd-proxy}]",
        "containers: [{name: app, command: [sh, -c, 'run; pkill cloud_sql_proxy']}, {name: cloud-sql-proxy}]",
        "containers: [{name: app, env: [{name: QUIT, value: 'http://127.0.0.1:15020/quitquitquit'}]}, {name: istio-proxy}]",
        "containers: [{name: app}, {name: vault-agent, args: [agent, -exit-after-auth]}]",
        "containers: [{name: app}, {name: git-sync, env: [{name: GITSYNC_ONE_TIME, value: 'true'}]}]",
        "containers: [{name: app}, {name: dashboards, image: kiwigrid/k8s-sidecar, env: [{name: METHOD, value: LIST}]}]",
        "containers: [{name: app}, {name: fluent-bit, command: [sh, -c, 'until [ -f /done ]; do sleep 1; done']}]",
        "restartPolicy: Never, containers: [{name: app}, {name: istio-proxy, restartPolicy: Always}]",
    ];
    for kind in ["Job", "CronJob"] {
        assert_rule("SC004", kind, &bad, &good);
    }
    assert_rule(
        "SC004",
        "Deployment",
        &[],
        &["containers: [{name: app}, {name: istio-proxy}]"],
    );
}
