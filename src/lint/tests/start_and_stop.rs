//! Rules about the order of the start, and the stop.

use testkit::lint_fixtures::ENDLESS_INIT;

use super::{assert_fixtures, assert_rule, found};

#[test]
fn sc003_an_init_container_ends() {
    assert_fixtures(&ENDLESS_INIT);
    let script = "kind: Pod\nspec:\n  initContainers:\n  - name: a\n    image: own/image:1\n    command:\n    - sh\n    - -c\n    - |\n      setup\n      while true; do\n        sleep 10\n      done\n  containers:\n  - name: app\n";
    assert_eq!(found("SC003", script), ["Error spec.initContainers[0].command"]);
}

#[test]
fn sc003_a_sidecar_does_not_stand_as_a_plain_init_container() {
    let init = |fields: &str| format!("initContainers: [{{name: {fields}}}], containers: [{{name: app}}]");
    let bad = [
        "istio-proxy",
        "cloud-sql-proxy, args: [--port=5432]",
        "gke-gcsfuse-sidecar",
        "fluent-bit",
        "istio-proxy, restartPolicy: OnFailure",
    ];
    let bad = bad.map(|fields| (init(fields), "Error initContainers[0].name"));
    let good = [
        "istio-init, image: 'istio/proxyv2:1.27'",
        "linkerd-network-validator, image: 'cr.l5d.io/linkerd/proxy:edge'",
        "init-config-reloader, image: 'quay.io/prometheus-operator/prometheus-config-reloader:v0.80'",
        "git-sync-init, image: 'registry.k8s.io/git-sync/git-sync:v4'",
        "vault-agent, args: [agent, -exit-after-auth]",
        "copy-sidecar",
        "sidecar",
        "istio-proxy, restartPolicy: Always",
        "cloud-sql-proxy, command: [sh, -c, 'cp /proxy /shared']",
        "fluent-bit, command: [/bin/cp, -r, /plugins, /shared]",
        "istio-proxy, image: auto",
    ];
    assert_rule("SC003", "Deployment", &bad, &good.map(init));
}

#[test]
fn sc015_a_hook_ends_within_the_grace_period() {
    let hook = |hook: &str| {
        format!(
            "terminationGracePeriodSeconds: 40, containers: [{{name: app, lifecycle: {{preStop: {hook}}}}}]"
        )
    };
    let bad = [
        (
            "{sleep: {seconds: 41}}",
            "Error containers[0].lifecycle.preStop.sleep.seconds",
        ),
        (
            "{exec: {command: [sleep, '41']}}",
            "Error containers[0].lifecycle.preStop.exec.command",
        ),
        (
            "{exec: {command: [sh, -c, 'sleep 30; sleep 30']}}",
            "Error containers[0].lifecycle.preStop.exec.command",
        ),
        (
            "{exec: {command: [sleep, infinity]}}",
            "Error containers[0].lifecycle.preStop.exec.command",
        ),
    ];
    let good = [
        "{sleep: {seconds: 40}}",
        "{exec: {command: [sleep, '5']}}",
        "{exec: {command: [sh, -c, 'nginx -s quit && sleep 60']}}",
        "{httpGet: {port: 1}}",
    ];
    let bad = bad.map(|(written, expected)| (hook(written), expected));
    assert_rule("SC015", "Deployment", &bad, &good.map(hook));
    let default = "containers: [{name: app, lifecycle: {preStop: {sleep: {seconds: 31}}}}]";
    let two = "containers: [{name: a, lifecycle: {preStop: {sleep: {seconds: 20}}}}, {name: b, lifecycle: {preStop: {sleep: {seconds: 20}}}}]";
    let expected = "Error containers[0].lifecycle.preStop.sleep.seconds";
    assert_rule("SC015", "Pod", &[(default, expected)], &[two]);
}

#[test]
fn sc017_an_init_container_cannot_wait_for_a_later_container() {
    let wait = "command: [sh, -c, 'until curl -s localhost:15021/x; do sleep 1; done']";
    let database = "command: [sh, -c, 'until nc -z localhost 5432; do sleep 1; done']";
    let port = "ports: [{containerPort: 15021}]";
    let bad = [
        (
            format!(
                "initContainers: [{{name: a, {wait}}}], containers: [{{name: app}}, {{name: istio-proxy, {port}}}]"
            ),
            "Error initContainers[0].command",
        ),
        (
            format!(
                "initContainers: [{{name: a, {wait}}}, {{name: p, restartPolicy: Always, {port}}}], containers: [{{name: app}}]"
            ),
            "Error initContainers[0].command",
        ),
        (
            format!(
                "initContainers: [{{name: a, {wait}}}], containers: [{{name: app}}, {{name: istio-proxy}}]"
            ),
            "Error initContainers[0].command",
        ),
        (
            format!(
                "initContainers: [{{name: a, {database}}}], containers: [{{name: app}}, {{name: cloud-sql-proxy}}]"
            ),
            "Error initContainers[0].command",
        ),
        (
            format!("initContainers: [{{name: a, {database}}}], containers: [{{name: app}}]"),
            "Error initContainers[0].command",
        ),
    ];
    let good = [
        format!(
            "initContainers: [{{name: p, restartPolicy: Always}}, {{name: a, {database}}}], containers: [{{name: app}}]"
        ),
        format!(
            "initContainers: [{{name: a, {wait}}}], containers: [{{name: app}}, {{name: cloud-sql-proxy}}, {{name: istio-proxy, image: auto}}]"
        ),
        format!("hostNetwork: true, initContainers: [{{name: a, {database}}}], containers: [{{name: app}}]"),
        "initContainers: [{name: a, command: [sh, -c, 'postgres & until nc -z localhost 5432; do sleep 1; done']}], containers: [{name: app}]".to_owned(),
        format!(
            "initContainers: [{{name: p, restartPolicy: Always, {port}}}, {{name: a, {wait}}}], containers: [{{name: app}}]"
        ),
        format!(
            "initContainers: [{{name: p, restartPolicy: Always, {port}}}, {{name: a, {wait}}}], containers: [{{name: app, {port}}}]"
        ),
        format!("initContainers: [{{name: a, {wait}}}], containers: [{{name: app}}]"),
        format!("containers: [{{name: a, {wait}}}, {{name: istio-proxy, {port}}}]"),
        format!(
            "initContainers: [{{name: a, {wait}, restartPolicy: Always}}], containers: [{{name: istio-proxy, {port}}}]"
        ),
    ];
    assert_rule("SC017", "Deployment", &bad, &good);
}
