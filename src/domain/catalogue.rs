//! The built-in catalogue of sidecars: the regular containers that `wellKnown: Include` makes sidecars.
//!
//! An entry has the usual container names of a sidecar, its image repositories, or both. The names are those that the
//! injectors and charts of the project use. The images are globs as in a policy (see [`super::pattern::Glob`]). A name
//! that applications use too is not in the catalogue; the image can be. The comment of an entry has its title and its
//! pattern: a sidecar extends the app, an ambassador is a proxy, an adapter is an exporter.

use super::pattern::{Repository, glob_matches_any};

/// One sidecar.
struct Entry {
    /// Exact container names.
    names: &'static [&'static str],
    /// Globs over image repositories.
    images: &'static [&'static str],
}

/// A container with this name is a sidecar.
const NAME: &str = "sidecar";
/// A container whose name has this suffix is a sidecar.
const SUFFIX: &str = "-sidecar";

/// Whether the catalogue contains a regular container with this name and image.
pub fn contains(name: &str, image: &Repository<'_>) -> bool {
    name == NAME
        || name.ends_with(SUFFIX)
        || ENTRIES
            .iter()
            .any(|entry| entry.names.contains(&name) || glob_matches_any(entry.images, image))
}

const fn entry(names: &'static [&'static str], images: &'static [&'static str]) -> Entry {
    Entry { names, images }
}

#[rustfmt::skip]
const ENTRIES: &[Entry] = &[
    // Istio proxy (ambassador)
    entry(&["istio-proxy"], &["*/istio/proxyv2", "istio/proxyv2", "*/proxyv2"]),
    // Linkerd proxy (ambassador)
    entry(&["linkerd-proxy"], &["*/linkerd/proxy", "linkerd/proxy"]),
    // Consul dataplane (ambassador)
    entry(&["consul-dataplane", "consul-connect-envoy-sidecar", "envoy-sidecar"], &["*hashicorp/consul-dataplane", "*hashicorp/consul-k8s-control-plane"]),
    // Kuma data plane (ambassador)
    entry(&["kuma-sidecar", "kuma-dp"], &["*kumahq/kuma-dp", "*kong/kuma-dp", "*kong/kong-mesh-dp"]),
    // Open Service Mesh proxy (ambassador)
    entry(&["osm-envoy"], &[]),
    // AWS App Mesh proxy (ambassador)
    entry(&["aws-appmesh-envoy"], &["*/aws-appmesh-envoy"]),
    // Envoy (ambassador)
    entry(&["envoy", "envoy-proxy"], &["*envoyproxy/envoy", "*envoyproxy/envoy-distroless", "*envoyproxy/envoy-contrib"]),
    // Dapr (ambassador)
    entry(&["daprd"], &["*daprio/daprd", "*dapr/daprd", "*daprio/dapr", "*dapr/dapr"]),
    // NGINX mesh or auth proxy (ambassador)
    entry(&["nginx-mesh-sidecar", "nginx-sidecar"], &["*nginx-mesh/nginx-mesh-sidecar"]),
    // Traefik mesh proxy (ambassador)
    entry(&["maesh-proxy"], &[]),
    // Cilium Envoy (ambassador)
    entry(&["cilium-envoy"], &["*cilium/cilium-envoy"]),
    // Vault agent (sidecar)
    entry(&["vault-agent"], &["*hashicorp/vault-agent"]),
    // Bank-Vaults agent (sidecar)
    entry(&["vault-env", "bank-vaults"], &["*banzaicloud/bank-vaults", "*bank-vaults/bank-vaults"]),
    // SPIFFE helper (sidecar)
    entry(&["spiffe-helper"], &["*spiffe/spiffe-helper", "*spiffe-helper"]),
    // Conjur secrets provider (sidecar)
    entry(&["cyberark-secrets-provider-for-k8s"], &["*cyberark/secrets-provider-for-k8s", "*cyberark/conjur-authn-k8s-client"]),
    // Infisical agent (sidecar)
    entry(&["infisical-agent"], &[]),
    // Cloud SQL proxy (ambassador)
    entry(&["cloud-sql-proxy", "cloudsql-proxy"], &["*cloudsql-docker/gce-proxy", "*cloud-sql-connectors/cloud-sql-proxy", "*/cloud-sql-proxy"]),
    // AlloyDB proxy (ambassador)
    entry(&["alloydb-auth-proxy"], &["*/alloydb-auth-proxy"]),
    // PgBouncer (ambassador)
    entry(&["pgbouncer"], &["*/pgbouncer"]),
    // Cloudflare tunnel (ambassador)
    entry(&["cloudflared"], &["*cloudflare/cloudflared"]),
    // Tailscale (ambassador)
    entry(&["tailscale", "ts-sidecar"], &["*tailscale/tailscale"]),
    // ngrok agent (ambassador)
    entry(&["ngrok"], &["*ngrok/ngrok"]),
    // GKE metadata server proxy (ambassador)
    entry(&["gke-metadata-proxy"], &[]),
    // Azure workload identity proxy (ambassador)
    entry(&["azwi-proxy"], &["*/azure-workload-identity/proxy", "*azure/workload-identity/proxy"]),
    // AWS SigV4 proxy (ambassador)
    entry(&["aws-sigv4-proxy", "sigv4-proxy"], &["*/aws-sigv4-proxy"]),
    // oauth2-proxy (ambassador)
    entry(&["oauth2-proxy", "oauth-proxy"], &["*oauth2-proxy/oauth2-proxy", "*openshift/oauth-proxy", "*/ose-oauth-proxy"]),
    // kube-rbac-proxy (ambassador)
    entry(&["kube-rbac-proxy"], &["*brancz/kube-rbac-proxy", "*/kube-rbac-proxy"]),
    // Pomerium or Gatekeeper proxy (ambassador)
    entry(&["gatekeeper-proxy", "keycloak-gatekeeper", "louketo-proxy"], &["*gogatekeeper/gatekeeper", "*keycloak/keycloak-gatekeeper"]),
    // Open Policy Agent (sidecar)
    entry(&["opa", "opa-envoy", "opa-istio"], &["*openpolicyagent/opa"]),
    // Cerbos (sidecar)
    entry(&["cerbos"], &["*cerbos/cerbos"]),
    // Fluent Bit (sidecar)
    entry(&["fluent-bit", "fluentbit"], &["*fluent/fluent-bit", "*/aws-for-fluent-bit", "*/fluent-bit"]),
    // Fluentd (sidecar)
    entry(&["fluentd"], &["*fluent/fluentd", "*/fluentd-kubernetes-daemonset", "*fluentd-gcp"]),
    // Filebeat (sidecar)
    entry(&["filebeat"], &["*beats/filebeat"]),
    // Metricbeat (adapter)
    entry(&["metricbeat"], &["*beats/metricbeat"]),
    // Elastic Agent (sidecar)
    entry(&["elastic-agent"], &["*beats/elastic-agent", "*elastic-agent/elastic-agent"]),
    // Logstash forwarder (sidecar)
    entry(&["logstash-forwarder"], &[]),
    // Vector (sidecar)
    entry(&["vector-agent", "vector"], &["*timberio/vector"]),
    // Promtail (sidecar)
    entry(&["promtail"], &["*grafana/promtail"]),
    // Grafana Alloy or Agent (sidecar)
    entry(&["grafana-agent", "grafana-alloy", "alloy"], &["*grafana/agent", "*grafana/alloy"]),
    // OpenTelemetry collector (sidecar)
    entry(&["otc-container", "otel-collector", "opentelemetry-collector", "otel-agent"], &["*otel/opentelemetry-collector", "*otel/opentelemetry-collector-contrib", "*otel/opentelemetry-collector-k8s", "*/opentelemetry-collector-releases/*", "*/aws-otel-collector"]),
    // Datadog agent (sidecar)
    entry(&["datadog-agent", "datadog-agent-injected", "dd-agent"], &["*datadog/agent", "*datadoghq/agent", "*/datadog/agent"]),
    // New Relic agent (sidecar)
    entry(&["newrelic-infra", "newrelic-infrastructure"], &["*newrelic/infrastructure", "*newrelic/infrastructure-k8s", "*newrelic/infrastructure-bundle"]),
    // Dynatrace ActiveGate or OneAgent (sidecar)
    entry(&["dynatrace-oneagent"], &["*dynatrace/oneagent"]),
    // Splunk forwarder (sidecar)
    entry(&["splunk-forwarder", "splunk-otel-collector"], &["*splunk/universalforwarder", "*signalfx/splunk-otel-collector"]),
    // Sumo Logic collector (sidecar)
    entry(&["sumologic-collector"], &["*sumologic/collector"]),
    // Jaeger agent (sidecar)
    entry(&["jaeger-agent"], &["*jaegertracing/jaeger-agent"]),
    // Zipkin or SkyWalking agent (sidecar)
    entry(&["skywalking-agent", "skywalking-satellite"], &["*apache/skywalking-satellite"]),
    // AWS X-Ray daemon (sidecar)
    entry(&["xray-daemon", "aws-xray-daemon"], &["*xray/aws-xray-daemon", "*amazon/aws-xray-daemon"]),
    // CloudWatch agent (sidecar)
    entry(&["cloudwatch-agent"], &["*cloudwatch-agent/cloudwatch-agent", "*amazon/cloudwatch-agent"]),
    // Google Cloud Ops agent (sidecar)
    entry(&["stackdriver-agent", "stackdriver-sidecar", "prometheus-to-sd"], &["*/prometheus-to-sd", "*stackdriver-prometheus/stackdriver-prometheus-sidecar"]),
    // Azure Monitor agent (sidecar)
    entry(&["ama-logs", "omsagent"], &["*/azuremonitor/containerinsights/*"]),
    // Telegraf (sidecar)
    entry(&["telegraf"], &["*influxdata/telegraf"]),
    // StatsD exporter (adapter)
    entry(&["statsd-exporter", "prometheus-statsd-exporter"], &["*prom/statsd-exporter", "*prometheus/statsd-exporter"]),
    // JMX exporter (adapter)
    entry(&["jmx-exporter", "jmx-metrics"], &["*bitnami/jmx-exporter"]),
    // Redis exporter (adapter)
    entry(&["redis-exporter"], &["*oliver006/redis_exporter", "*bitnami/redis-exporter"]),
    // PostgreSQL exporter (adapter)
    entry(&["postgres-exporter"], &["*prometheuscommunity/postgres-exporter", "*bitnami/postgres-exporter"]),
    // MySQL exporter (adapter)
    entry(&["mysqld-exporter"], &["*prom/mysqld-exporter", "*bitnami/mysqld-exporter"]),
    // NGINX exporter (adapter)
    entry(&["nginx-exporter", "nginx-prometheus-exporter"], &["*nginx/nginx-prometheus-exporter"]),
    // PHP-FPM exporter (adapter)
    entry(&["php-fpm-exporter"], &["*hipages/php-fpm_exporter"]),
    // Memcached exporter (adapter)
    entry(&["memcached-exporter"], &["*prom/memcached-exporter", "*prometheus/memcached-exporter"]),
    // MongoDB exporter (adapter)
    entry(&["mongodb-exporter"], &["*percona/mongodb_exporter", "*bitnami/mongodb-exporter"]),
    // Thanos sidecar (adapter)
    entry(&["thanos-sidecar"], &[]),
    // git-sync (sidecar)
    entry(&["git-sync"], &["*/git-sync/git-sync", "*/git-sync"]),
    // Prometheus Operator config reloader (sidecar)
    entry(&["config-reloader", "prometheus-config-reloader", "rules-configmap-reloader"], &["*prometheus-operator/prometheus-config-reloader"]),
    // ConfigMap reloader (sidecar)
    entry(&["configmap-reload", "configmap-reloader", "config-reload"], &["*jimmidyson/configmap-reload", "*prometheus-operator/configmap-reload"]),
    // k8s-sidecar of Grafana charts (sidecar)
    entry(&["grafana-sc-dashboard", "grafana-sc-datasources", "grafana-sc-alerts", "config-reload-sidecar"], &["*kiwigrid/k8s-sidecar"]),
    // Logrotate (sidecar)
    entry(&["logrotate"], &["*/logrotate"]),
    // Cloud Storage FUSE (sidecar)
    entry(&["gke-gcsfuse-sidecar"], &["*gcs-fuse-csi-driver-sidecar-mounter"]),
    // CSI helpers (sidecar)
    entry(&["node-driver-registrar", "csi-node-driver-registrar", "liveness-probe", "csi-provisioner", "csi-attacher", "csi-resizer", "csi-snapshotter"], &["*/sig-storage/csi-*", "*/sig-storage/livenessprobe"]),
    // GitLab runner helper (sidecar)
    entry(&["gitlab-runner-helper"], &["*gitlab-runner/gitlab-runner-helper"]),
    // Docker in Docker (sidecar)
    entry(&["dind"], &[]),
    // Argo executor (sidecar)
    entry(&[], &["*argoproj/argoexec"]),
    // NATS or Kafka reloader (sidecar)
    entry(&["nats-server-config-reloader", "reloader"], &["*natsio/nats-server-config-reloader"]),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_sidecars_are_in_the_catalogue() {
        let table = [
            ("sidecar", "own/thing", true, "the name says it"),
            ("log-sidecar", "own/thing", true, "the end of the name says it"),
            ("sidecar-log", "own/thing", false, "the beginning does not"),
            ("istio-proxy", "own/mirror", true, "by name"),
            (
                "proxy",
                "gcr.io/istio-release/proxyv2:1.24",
                true,
                "by image in another project",
            ),
            ("p", "docker.io/istio/proxyv2:1.24", true, "by image"),
            (
                "p",
                "cr.l5d.io/linkerd/proxy:edge",
                true,
                "by image with a registry",
            ),
            ("logs", "fluent/fluent-bit", true, "by image without a registry"),
            (
                "agent",
                "public.ecr.aws/aws-observability/aws-otel-collector:v0",
                true,
                "cloud agents",
            ),
            ("agent", "gcr.io/datadoghq/agent:7", true, "Datadog"),
            ("app", "mycorp/payments", false, "an app"),
            ("agent", "mycorp/agent", false, "somebody's own agent"),
            ("web", "nginx", false, "an NGINX is an app"),
            ("vault", "hashicorp/vault:1", false, "a Vault server"),
        ];
        for (name, image, expected, why) in table {
            assert_eq!(
                contains(name, &Repository::of(image)),
                expected,
                "{name} {image}: {why}"
            );
        }
    }

    #[test]
    fn no_entry_is_empty_and_no_name_is_in_two_entries() {
        let mut names = std::collections::BTreeSet::new();
        for entry in ENTRIES {
            assert!(
                !entry.names.is_empty() || !entry.images.is_empty(),
                "an entry without names and images"
            );
            for name in entry.names {
                assert!(names.insert(name), "{name} is in two entries");
            }
        }
    }
}
