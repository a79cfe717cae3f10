//! The sidecars of the catalogue, by the names and images that their projects use.

use crate::domain::{catalogue::product, pattern::Repository};

/// One container name and one image per line.
const SIDECARS: &str = "
    istio-proxy docker.io/istio/proxyv2:1.27.0
    linkerd-proxy cr.l5d.io/linkerd/proxy:edge-25.4.1
    consul-dataplane hashicorp/consul-dataplane:1.6
    kuma-sidecar docker.io/kumahq/kuma-dp:2.9
    daprd docker.io/daprio/daprd:1.15
    envoy envoyproxy/envoy:v1.34
    vault-agent hashicorp/vault-agent:1
    cloud-sql-proxy gcr.io/cloud-sql-connectors/cloud-sql-proxy:2
    fluent-bit cr.fluentbit.io/fluent/fluent-bit:4.0
    fluentd fluent/fluentd:v1.18
    filebeat docker.elastic.co/beats/filebeat:9.0.0
    vector timberio/vector:0.45
    promtail grafana/promtail:3.4
    otc-container otel/opentelemetry-collector-contrib:0.120.0
    datadog-agent gcr.io/datadoghq/agent:7
    jaeger-agent jaegertracing/jaeger-agent:1.60
    statsd-exporter prom/statsd-exporter:v0.28
    oauth2-proxy quay.io/oauth2-proxy/oauth2-proxy:v7.8
    opa openpolicyagent/opa:1.2
    git-sync registry.k8s.io/git-sync/git-sync:v4.4.0
    config-reloader quay.io/prometheus-operator/prometheus-config-reloader:v0.82
    configmap-reload ghcr.io/jimmidyson/configmap-reload:v0.14
    prometheus-to-sd gke.gcr.io/prometheus-to-sd:v0.11
    cloudwatch-agent public.ecr.aws/cloudwatch-agent/cloudwatch-agent:1
    azwi-proxy mcr.microsoft.com/oss/azure/workload-identity/proxy:v1.5
";

#[test]
fn each_sidecar_is_known_by_name_and_by_image() {
    let rows: Vec<_> = SIDECARS
        .lines()
        .filter_map(|line| line.trim().split_once(' '))
        .collect();
    assert_eq!(rows.len(), 25);
    for (name, image) in rows {
        assert!(
            product(name, &Repository::of("mycorp/own")).is_some(),
            "the name {name}"
        );
        assert!(
            product("c1", &Repository::of(image)).is_some(),
            "the image {image}"
        );
    }
}
