//! The sidecars that the catalogue must know, by the names and images that their projects give them.

use crate::domain::{catalogue::contains, pattern::Repository};

#[test]
fn each_is_known_by_name_and_by_image() {
    let table = [
        ("Istio", "istio-proxy", "docker.io/istio/proxyv2:1.27.0"),
        ("Linkerd", "linkerd-proxy", "cr.l5d.io/linkerd/proxy:edge-25.4.1"),
        ("Consul", "consul-dataplane", "hashicorp/consul-dataplane:1.6"),
        ("Kuma", "kuma-sidecar", "docker.io/kumahq/kuma-dp:2.9"),
        ("Dapr", "daprd", "docker.io/daprio/daprd:1.15"),
        ("Envoy", "envoy", "envoyproxy/envoy:v1.34"),
        ("Vault agent", "vault-agent", "hashicorp/vault-agent:1"),
        (
            "Cloud SQL proxy",
            "cloud-sql-proxy",
            "gcr.io/cloud-sql-connectors/cloud-sql-proxy:2",
        ),
        (
            "Fluent Bit",
            "fluent-bit",
            "cr.fluentbit.io/fluent/fluent-bit:4.0",
        ),
        ("Fluentd", "fluentd", "fluent/fluentd:v1.18"),
        ("Filebeat", "filebeat", "docker.elastic.co/beats/filebeat:9.0.0"),
        ("Vector", "vector", "timberio/vector:0.45"),
        ("Promtail", "promtail", "grafana/promtail:3.4"),
        (
            "OpenTelemetry collector",
            "otc-container",
            "otel/opentelemetry-collector-contrib:0.120.0",
        ),
        ("Datadog agent", "datadog-agent", "gcr.io/datadoghq/agent:7"),
        ("Jaeger agent", "jaeger-agent", "jaegertracing/jaeger-agent:1.60"),
        ("StatsD exporter", "statsd-exporter", "prom/statsd-exporter:v0.28"),
        (
            "oauth2-proxy",
            "oauth2-proxy",
            "quay.io/oauth2-proxy/oauth2-proxy:v7.8",
        ),
        ("Open Policy Agent", "opa", "openpolicyagent/opa:1.2"),
        ("git-sync", "git-sync", "registry.k8s.io/git-sync/git-sync:v4.4.0"),
        (
            "config reloader",
            "config-reloader",
            "quay.io/prometheus-operator/prometheus-config-reloader:v0.82",
        ),
        (
            "ConfigMap reloader",
            "configmap-reload",
            "ghcr.io/jimmidyson/configmap-reload:v0.14",
        ),
        ("Google", "stackdriver-agent", "gke.gcr.io/prometheus-to-sd:v0.11"),
        (
            "AWS",
            "cloudwatch-agent",
            "public.ecr.aws/cloudwatch-agent/cloudwatch-agent:1",
        ),
        (
            "Azure",
            "azwi-proxy",
            "mcr.microsoft.com/oss/azure/workload-identity/proxy:v1.5",
        ),
    ];
    for (title, name, image) in table {
        assert!(
            contains(name, &Repository::of("mycorp/own")),
            "{title} by the name {name}"
        );
        assert!(
            contains("c1", &Repository::of(image)),
            "{title} by the image {image}"
        );
    }
}
