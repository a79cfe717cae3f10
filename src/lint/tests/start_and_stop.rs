//! Rules about the order of the start, and the stop.

use testkit::lint_fixtures::ENDLESS_INIT;

use super::{assert_fixtures, assert_rule, found};

#[test]
fn sc003_an_init_container_ends() {
    assert_fixtures(&ENDLESS_INIT);
    let script = "kind: Pod\nspec:\n  initContainers:\n  - name: a\n    command:\n    - sh\n    - -c\n    - |\n      setup\n      while true; do\n        sleep 10\n      done\n  containers:\n  - name: app\n";
    assert_eq!(found("SC003", script), ["Error spec.initContainers[0].command"]);
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
    ];
    let good = [
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
