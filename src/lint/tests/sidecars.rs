//! Rules about the settings of sidecars.

use std::collections::BTreeSet;

use testkit::lint_fixtures::PORT_CONFLICT;

use super::{Linter, assert_bad, assert_fixtures, assert_good, assert_rule, lint, now, object};
use crate::lint::Surroundings;

#[test]
fn sc001_a_native_sidecar_needs_a_startup_gate() {
    let bad = [
        (
            "initContainers: [{name: istio-proxy, restartPolicy: Always}], containers: [{name: app}]",
            "Warning initContainers[0].name",
        ),
        (
            "initContainers: [{name: logs, restartPolicy: Always, readinessProbe: {tcpSocket: {port: 1}}}], containers: [{name: app}]",
            "Info initContainers[0].name",
        ),
    ];
    let good = [
        "initContainers: [{name: logs, restartPolicy: Always, startupProbe: {tcpSocket: {port: 1}}}], containers: [{name: app}]",
        "initContainers: [{name: logs, restartPolicy: Always, lifecycle: {postStart: {exec: {command: [a]}}}}], containers: [{name: app}]",
        "initContainers: [{name: logs}], containers: [{name: app}, {name: istio-proxy}]",
    ];
    assert_rule("SC001", "Deployment", &bad, &good);
}

#[test]
fn sc010_a_sidecar_needs_requests_and_a_memory_limit() {
    let bad = [
        (
            "containers: [{name: app}, {name: istio-proxy}]",
            "Info containers[1].name",
        ),
        (
            "containers: [{name: app}, {name: istio-proxy, resources: {requests: {cpu: 1, memory: 1Gi}}}]",
            "Info containers[1].resources",
        ),
        (
            "containers: [{name: app}, {name: istio-proxy, resources: {limits: {memory: 1Gi}}}]",
            "Info containers[1].resources",
        ),
        (
            "containers: [{name: app, resources: {limits: {memory: 1Gi}}}, {name: istio-proxy}]",
            "Warning containers[1].name",
        ),
        (
            "containers: [{name: app, resources: {requests: {cpu: 1}}}, {name: istio-proxy, resources: {requests: {cpu: 1}}}]",
            "Info containers[1].resources",
        ),
        (
            "containers: [{name: app}, {name: istio-proxy}, {name: fluent-bit}, {name: log-sidecar, resources: {limits: {cpu: 1, memory: 1Gi}}}]",
            "Info containers",
        ),
        (
            "containers: [{name: app, resources: {limits: {memory: 1}}}, {name: istio-proxy, resources: {limits: {memory: 1}}}, {name: fluent-bit}]",
            "Warning containers",
        ),
    ];
    let good = [
        "containers: [{name: app}, {name: istio-proxy, resources: {requests: {cpu: 1}, limits: {memory: 1Gi}}}]",
        "resources: {requests: {cpu: 1}, limits: {memory: 1Gi}}, containers: [{name: app}, {name: istio-proxy}]",
        "containers: [{name: app}]",
        "containers: [{name: istio-proxy}]",
        "containers: [{name: app, resources: {limits: {cpu: 1, memory: 1Gi}}}, {name: istio-proxy, image: auto}]",
    ];
    assert_rule("SC010", "Deployment", &bad, &good);
    let two = "containers: [{name: app, resources: {limits: {memory: 1Gi}}}, {name: istio-proxy}, {name: fluent-bit, resources: {requests: {cpu: 1}, limits: {memory: 1}}}, {name: vault-agent}]";
    let findings = lint(&object("Deployment", two));
    let finding = findings.iter().find(|finding| finding.code == "SC010").unwrap();
    let expected = "sidecars istio-proxy and vault-agent have no request for cpu, request for memory and limit for memory, but app has a limit for memory";
    assert_eq!(finding.message, expected);
}

#[test]
fn sc011_a_sidecar_image_needs_a_version() {
    let image = |image| format!("containers: [{{name: app}}, {{name: istio-proxy, image: {image:?}}}]");
    let bad = ["istio/proxyv2", "istio/proxyv2:latest", "localhost:5000/proxyv2"];
    let good = [
        "istio/proxyv2:1.27.1",
        "istio/proxyv2@sha256:0123",
        "localhost:5000/proxyv2:1.0",
        "istio/proxyv2:latest@sha256:0123",
        "auto",
        "",
        "${PROXY_IMAGE}",
        "$(PROXY_IMAGE)",
        "registry.test/<YOUR-IMAGE>",
        "{{ .Values.image }}",
    ];
    let bad = bad.map(|bad| (image(bad), "Warning containers[1].image"));
    assert_rule("SC011", "StatefulSet", &bad, &good.map(image));
    assert_good("SC011", "StatefulSet", &["containers: [{name: app, image: app}]"]);
    for (image, expected) in [("istio/proxyv2", 0), ("istio/proxyv2:latest", 1)] {
        let mut linter = Linter::new(BTreeSet::new(), Vec::new(), Vec::new(), now()).unwrap();
        let text = object(
            "Deployment",
            &format!("containers: [{{name: app}}, {{name: istio-proxy, image: {image}}}]"),
        );
        let report = linter.lint_in(&text, Surroundings { is_kustomized: true });
        let count = report
            .findings
            .iter()
            .filter(|finding| finding.code == "SC011")
            .count();
        assert_eq!(count, expected, "{image} beside a kustomization");
    }
}

#[test]
fn sc012_containers_that_run_together_need_different_ports() {
    assert_fixtures(&PORT_CONFLICT);
}

#[test]
fn sc013_five_sidecars_are_many() {
    let sidecars = |count: usize| {
        let list: Vec<_> = (0..count).map(|i| format!("{{name: a{i}-sidecar}}")).collect();
        format!("containers: [{{name: app}}, {}]", list.join(", "))
    };
    assert_rule(
        "SC013",
        "DaemonSet",
        &[(&sidecars(5), "Info containers")],
        &[&sidecars(4)],
    );
    let names = [
        "csi-provisioner",
        "csi-attacher",
        "csi-snapshotter",
        "csi-resizer",
        "liveness-probe",
    ];
    let list: Vec<_> = names.iter().map(|name| format!("{{name: {name}}}")).collect();
    let controller = format!("containers: [{{name: driver}}, {}]", list.join(", "));
    assert_good("SC013", "Deployment", &[controller]);
}

#[test]
fn sc014_a_shared_process_namespace_is_reported_with_sidecars() {
    let bad = [(
        "shareProcessNamespace: true, containers: [{name: app}, {name: istio-proxy}]",
        "Info shareProcessNamespace",
    )];
    let good = [
        "shareProcessNamespace: false, containers: [{name: app}, {name: istio-proxy}]",
        "shareProcessNamespace: true, containers: [{name: app}, {name: other}]",
    ];
    assert_rule("SC014", "ReplicaSet", &bad, &good);
    let nats = "shareProcessNamespace: true, containers: [{name: nats}, {name: reloader, image: natsio/nats-server-config-reloader:0.20.1}]";
    let findings = lint(&object("StatefulSet", nats));
    let finding = findings.iter().find(|finding| finding.code == "SC014").unwrap();
    assert!(
        finding.help.starts_with("keep it if reloader reloads the app"),
        "{}",
        finding.help
    );
}

#[test]
fn sc016_a_sidecar_needs_no_more_privileges_than_the_app() {
    let pair = |app: &str, sidecar: &str| {
        format!(
            "containers: [{{name: app, securityContext: {{{app}}}}}, {{name: istio-proxy, securityContext: {{{sidecar}}}}}]"
        )
    };
    let bad = [
        (
            "",
            "privileged: true",
            "Warning containers[1].securityContext.privileged",
        ),
        (
            "runAsUser: 1000",
            "runAsUser: 0",
            "Warning containers[1].securityContext.runAsUser",
        ),
        (
            "",
            "capabilities: {add: [NET_ADMIN]}",
            "Warning containers[1].securityContext.capabilities.add",
        ),
        (
            "capabilities: {drop: [ALL]}",
            "capabilities: {drop: [ALL], add: [NET_BIND_SERVICE]}",
            "Warning containers[1].securityContext.capabilities.add",
        ),
    ];
    let good = [
        ("privileged: true", "privileged: true"),
        ("privileged: true", "runAsUser: 0"),
        ("", "runAsUser: 0"),
        ("runAsUser: 0", "runAsUser: 0"),
        (
            "capabilities: {add: [NET_ADMIN]}",
            "capabilities: {add: [CAP_NET_ADMIN]}",
        ),
        ("", "capabilities: {drop: [ALL], add: [NET_BIND_SERVICE]}"),
        ("runAsUser: 1000", "runAsUser: 1337"),
    ];
    let bad = bad.map(|(app, sidecar, expected)| (pair(app, sidecar), expected));
    let good = good.map(|(app, sidecar)| pair(app, sidecar));
    assert_rule("SC016", "Deployment", &bad, &good);
    let dind = "containers: [{name: runner}], initContainers: [{name: dind, image: 'docker:dind', restartPolicy: Always, securityContext: {privileged: true}}]";
    let findings = lint(&object("Pod", dind));
    let finding = findings.iter().find(|finding| finding.code == "SC016").unwrap();
    assert!(!finding.help.contains("remove the privilege"), "{}", finding.help);
    let pod_user = "securityContext: {runAsUser: 1000}, containers: [{name: app}, {name: istio-proxy, securityContext: {runAsUser: 0}}]";
    assert_bad(
        "SC016",
        "Deployment",
        &[(pod_user, "Warning containers[1].securityContext.runAsUser")],
    );
}

#[test]
fn sc021_known_classic_sidecars_can_be_native() {
    for name in ["istio-proxy", "linkerd-proxy", "vault-agent", "cloud-sql-proxy"] {
        let spec = format!("containers: [{{name: app}}, {{name: {name}}}]");
        let native =
            format!("initContainers: [{{name: {name}, restartPolicy: Always}}], containers: [{{name: app}}]");
        let gateway = format!("containers: [{{name: {name}}}]");
        let bad = [(&spec, "Info containers[1].name")];
        assert_rule("SC021", "Deployment", &bad, &[native, gateway]);
        assert_good("SC021", "Job", &[&spec]);
    }
    assert_good(
        "SC021",
        "Deployment",
        &["containers: [{name: app}, {name: fluent-bit}]"],
    );
}
