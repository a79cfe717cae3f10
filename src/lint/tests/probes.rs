//! Rules about probes.

use super::assert_rule;

fn sidecar(fields: &str) -> String {
    format!("containers: [{{name: app}}, {{name: istio-proxy, {fields}}}]")
}

#[test]
fn sc005_a_classic_sidecar_that_serves_needs_a_readiness_probe() {
    let bad = [
        (
            "containers: [{name: app}, {name: istio-proxy}]",
            "Info containers[1].name",
        ),
        (
            "containers: [{name: app}, {name: opa, ports: [{containerPort: 8181}]}]",
            "Info containers[1].name",
        ),
        (
            "containers: [{name: app}, {name: cache-sidecar, ports: [{containerPort: 80}]}]",
            "Info containers[1].name",
        ),
    ];
    let good = [
        "containers: [{name: app}, {name: istio-proxy, readinessProbe: {tcpSocket: {port: 1}}}]",
        "containers: [{name: app}, {name: fluent-bit, ports: [{containerPort: 2020}]}]",
        "containers: [{name: app}, {name: redis-exporter, ports: [{containerPort: 9121}]}]",
        "containers: [{name: app}, {name: vault-agent}]",
        "containers: [{name: app}, {name: cloud-sql-proxy, ports: [{containerPort: 5432}]}]",
        "containers: [{name: app}, {name: istio-proxy, image: auto}]",
        "initContainers: [{name: istio-proxy, restartPolicy: Always}], containers: [{name: app}]",
        "restartPolicy: Never, containers: [{name: app}, {name: istio-proxy}]",
    ];
    assert_rule("SC005", "Deployment", &bad, &good);
}

#[test]
fn sc007_the_liveness_probe_acts_after_the_readiness_probe() {
    let bad = [
        "livenessProbe: {httpGet: {path: /x, port: 80}}, readinessProbe: {httpGet: {path: /x, port: 80}}",
        "ports: [{name: http, containerPort: 80}], livenessProbe: {tcpSocket: {port: http}}, readinessProbe: {tcpSocket: {port: 80}}",
        "livenessProbe: {exec: {command: [a]}, periodSeconds: 5}, readinessProbe: {exec: {command: [a]}, periodSeconds: 10}",
    ];
    let bad = bad.map(|fields| (sidecar(fields), "Warning containers[1].livenessProbe"));
    let good = [
        "livenessProbe: {httpGet: {path: /live, port: 80}}, readinessProbe: {httpGet: {path: /ready, port: 80}}",
        "livenessProbe: {tcpSocket: {port: 80}, failureThreshold: 6}, readinessProbe: {tcpSocket: {port: 80}}",
        "livenessProbe: {tcpSocket: {port: 80}}",
        "livenessProbe: {}, readinessProbe: {}",
    ];
    assert_rule("SC007", "Deployment", &bad, &good.map(sidecar));
}

#[test]
fn sc008_a_slow_start_needs_a_startup_probe() {
    let bad = sidecar("livenessProbe: {tcpSocket: {port: 80}, initialDelaySeconds: 31}");
    let bad = [(bad, "Info containers[1].livenessProbe.initialDelaySeconds")];
    let good = [
        "livenessProbe: {tcpSocket: {port: 80}, initialDelaySeconds: 30}",
        "livenessProbe: {tcpSocket: {port: 80}, initialDelaySeconds: 90}, startupProbe: {tcpSocket: {port: 80}}",
        "readinessProbe: {tcpSocket: {port: 80}, initialDelaySeconds: 90}",
    ];
    assert_rule("SC008", "Deployment", &bad, &good.map(sidecar));
}

#[test]
fn sc020_a_liveness_probe_examines_its_own_container() {
    let bad = [
        (
            "containers: [{name: app, livenessProbe: {httpGet: {port: 15021}}}, {name: istio-proxy, ports: [{containerPort: 15021}]}]",
            "Warning containers[0].livenessProbe.httpGet.port",
        ),
        (
            "initContainers: [{name: p, restartPolicy: Always, ports: [{containerPort: 1}]}], containers: [{name: app, livenessProbe: {tcpSocket: {host: localhost, port: 1}}}]",
            "Warning containers[0].livenessProbe.tcpSocket.port",
        ),
    ];
    let good = [
        "containers: [{name: app, ports: [{containerPort: 80}], livenessProbe: {httpGet: {port: 80}}}, {name: b}]",
        "containers: [{name: app, livenessProbe: {httpGet: {port: 80}}}, {name: b}]",
        "containers: [{name: app, livenessProbe: {httpGet: {path: /app-health/app/livez, port: 15020}}}, {name: istio-proxy, ports: [{containerPort: 15020}]}]",
        "containers: [{name: app, livenessProbe: {httpGet: {host: other, port: 80}}}, {name: b, ports: [{containerPort: 80}]}]",
        "containers: [{name: csi, livenessProbe: {httpGet: {port: 9808}}}, {name: b, image: 'registry.k8s.io/sig-storage/livenessprobe:v2', ports: [{containerPort: 9808}]}]",
        "containers: [{name: csi, livenessProbe: {httpGet: {port: 9808}}}, {name: longhorn-liveness-probe, ports: [{containerPort: 9808}]}]",
        "containers: [{name: kubedns, livenessProbe: {httpGet: {port: 10054}}}, {name: sidecar, image: 'registry.k8s.io/dns/k8s-dns-sidecar:1.22', ports: [{containerPort: 10054}]}]",
        "containers: [{name: app, readinessProbe: {httpGet: {port: 80}}}, {name: b, ports: [{containerPort: 80}]}]",
    ];
    assert_rule("SC020", "Deployment", &bad, &good);
}
