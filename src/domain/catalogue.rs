//! The built-in catalogue of sidecars: the regular containers that `wellKnown: Include` makes sidecars.
//!
//! An entry has the usual container names of a sidecar, its image repositories, or both. The names are those that the
//! injectors and charts of the project use. The images are globs as in a policy (see [`super::pattern::Glob`]). A name
//! that applications use too is not in the catalogue; the image can be. The comment of an entry has its title.

use super::pattern::{Repository, glob_matches_any};

/// What a sidecar does for the app.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    /// A proxy between the app and the network. The app needs it as long as it runs.
    Ambassador,
    /// An exporter of metrics.
    Adapter,
    /// Any other helper, such as a log shipper.
    Extension,
}

/// Exact container names, and globs over image repositories.
struct Matcher {
    names: &'static [&'static str],
    images: &'static [&'static str],
}

impl Matcher {
    const NOTHING: Self = Self {
        names: &[],
        images: &[],
    };

    fn matches(&self, name: &str, image: &Repository<'_>) -> bool {
        self.names.contains(&name) || glob_matches_any(self.images, image)
    }
}

/// One sidecar.
struct Entry {
    class: Class,
    program: Matcher,
    /// Helpers of the program. A Pod with the program, a companion and no app is a gateway or a server of its own: the
    /// program is its main container.
    companions: Matcher,
}

/// A container with this name is a sidecar.
const NAME: &str = "sidecar";
/// A container whose name has this suffix is a sidecar.
const SUFFIX: &str = "-sidecar";

/// Whether the catalogue contains a regular container with this name and image.
pub fn contains(name: &str, image: &Repository<'_>) -> bool {
    name == NAME || name.ends_with(SUFFIX) || entries(name, image).next().is_some()
}

/// Whether the catalogue has a container with this name and image as a proxy of the app.
pub fn is_ambassador(name: &str, image: &Repository<'_>) -> bool {
    entries(name, image).any(|entry| entry.class == Class::Ambassador)
}

/// Whether `other` is a companion of the sidecar `program`. Each is a container name and an image.
pub fn is_companion(program: (&str, &Repository<'_>), other: (&str, &Repository<'_>)) -> bool {
    entries(program.0, program.1).any(|entry| entry.companions.matches(other.0, other.1))
}

fn entries(name: &str, image: &Repository<'_>) -> impl Iterator<Item = &'static Entry> {
    ENTRIES
        .iter()
        .filter(move |entry| entry.program.matches(name, image))
}

impl Entry {
    const fn new(class: Class, names: &'static [&'static str], images: &'static [&'static str]) -> Self {
        Self {
            class,
            program: Matcher { names, images },
            companions: Matcher::NOTHING,
        }
    }

    /// Sets the names and images of the companions.
    const fn with_companions(self, names: &'static [&'static str], images: &'static [&'static str]) -> Self {
        Self {
            companions: Matcher { names, images },
            ..self
        }
    }
}

const fn ambassador(names: &'static [&'static str], images: &'static [&'static str]) -> Entry {
    Entry::new(Class::Ambassador, names, images)
}

const fn adapter(names: &'static [&'static str], images: &'static [&'static str]) -> Entry {
    Entry::new(Class::Adapter, names, images)
}

const fn extension(names: &'static [&'static str], images: &'static [&'static str]) -> Entry {
    Entry::new(Class::Extension, names, images)
}

#[rustfmt::skip]
const ENTRIES: &[Entry] = &[
    // Istio proxy
    ambassador(&["istio-proxy"], &["*/istio/proxyv2", "istio/proxyv2", "*/proxyv2"]),
    // Linkerd proxy
    ambassador(&["linkerd-proxy"], &["*/linkerd/proxy", "linkerd/proxy"]),
    // Consul dataplane
    ambassador(&["consul-dataplane", "consul-connect-envoy-sidecar", "envoy-sidecar"], &["*hashicorp/consul-dataplane", "*hashicorp/consul-k8s-control-plane"]),
    // Kuma data plane
    ambassador(&["kuma-sidecar", "kuma-dp"], &["*kumahq/kuma-dp", "*kong/kuma-dp", "*kong/kong-mesh-dp"]),
    // Open Service Mesh proxy
    ambassador(&["osm-envoy"], &[]),
    // AWS App Mesh proxy
    ambassador(&["aws-appmesh-envoy"], &["*/aws-appmesh-envoy"]),
    // Envoy
    ambassador(&["envoy", "envoy-proxy"], &["*envoyproxy/envoy", "*envoyproxy/envoy-distroless", "*envoyproxy/envoy-contrib"])
        // Contour and Envoy Gateway
        .with_companions(&["shutdown-manager"], &["*projectcontour/contour", "*envoyproxy/gateway"]),
    // Dapr
    ambassador(&["daprd"], &["*daprio/daprd", "*dapr/daprd", "*daprio/dapr", "*dapr/dapr"]),
    // NGINX mesh or auth proxy
    ambassador(&["nginx-mesh-sidecar", "nginx-sidecar"], &["*nginx-mesh/nginx-mesh-sidecar"]),
    // Traefik mesh proxy
    ambassador(&["maesh-proxy"], &[]),
    // Cilium Envoy
    ambassador(&["cilium-envoy"], &["*cilium/cilium-envoy"]),
    // Vault agent
    extension(&["vault-agent"], &["*hashicorp/vault-agent"]),
    // Bank-Vaults agent
    extension(&["vault-env", "bank-vaults"], &["*banzaicloud/bank-vaults", "*bank-vaults/bank-vaults"]),
    // SPIFFE helper
    extension(&["spiffe-helper"], &["*spiffe/spiffe-helper", "*spiffe-helper"]),
    // Conjur secrets provider
    extension(&["cyberark-secrets-provider-for-k8s"], &["*cyberark/secrets-provider-for-k8s", "*cyberark/conjur-authn-k8s-client"]),
    // Infisical agent
    extension(&["infisical-agent"], &[]),
    // Cloud SQL proxy
    ambassador(&["cloud-sql-proxy", "cloudsql-proxy"], &["*cloudsql-docker/gce-proxy", "*cloud-sql-connectors/cloud-sql-proxy", "*/cloud-sql-proxy"]),
    // AlloyDB proxy
    ambassador(&["alloydb-auth-proxy"], &["*/alloydb-auth-proxy"]),
    // PgBouncer
    ambassador(&["pgbouncer"], &["*/pgbouncer"])
        .with_companions(&["pgbouncer-exporter", "prometheus-pgbouncer-exporter"], &["*/pgbouncer-exporter", "*/pgbouncer_exporter", "*/prometheus-pgbouncer-exporter"]),
    // Cloudflare tunnel
    ambassador(&["cloudflared"], &["*cloudflare/cloudflared"]),
    // Tailscale
    ambassador(&["tailscale", "ts-sidecar"], &["*tailscale/tailscale"]),
    // ngrok agent
    ambassador(&["ngrok"], &["*ngrok/ngrok"]),
    // GKE metadata server proxy
    ambassador(&["gke-metadata-proxy"], &[]),
    // Azure workload identity proxy
    ambassador(&["azwi-proxy"], &["*/azure-workload-identity/proxy", "*azure/workload-identity/proxy"]),
    // AWS SigV4 proxy
    ambassador(&["aws-sigv4-proxy", "sigv4-proxy"], &["*/aws-sigv4-proxy"]),
    // oauth2-proxy
    ambassador(&["oauth2-proxy", "oauth-proxy"], &["*oauth2-proxy/oauth2-proxy", "*openshift/oauth-proxy", "*/ose-oauth-proxy"]),
    // kube-rbac-proxy
    ambassador(&["kube-rbac-proxy"], &["*brancz/kube-rbac-proxy", "*/kube-rbac-proxy"]),
    // Pomerium or Gatekeeper proxy
    ambassador(&["gatekeeper-proxy", "keycloak-gatekeeper", "louketo-proxy"], &["*gogatekeeper/gatekeeper", "*keycloak/keycloak-gatekeeper"]),
    // Open Policy Agent
    extension(&["opa", "opa-envoy", "opa-istio"], &["*openpolicyagent/opa"])
        .with_companions(&["kube-mgmt"], &["*openpolicyagent/kube-mgmt"]),
    // Cerbos
    extension(&["cerbos"], &["*cerbos/cerbos"]),
    // Fluent Bit
    extension(&["fluent-bit", "fluentbit"], &["*fluent/fluent-bit", "*/aws-for-fluent-bit", "*/fluent-bit"]),
    // Fluentd
    extension(&["fluentd"], &["*fluent/fluentd", "*/fluentd-kubernetes-daemonset", "*fluentd-gcp"]),
    // Filebeat
    extension(&["filebeat"], &["*beats/filebeat"]),
    // Metricbeat
    adapter(&["metricbeat"], &["*beats/metricbeat"]),
    // Elastic Agent
    extension(&["elastic-agent"], &["*beats/elastic-agent", "*elastic-agent/elastic-agent"]),
    // Logstash forwarder
    extension(&["logstash-forwarder"], &[]),
    // Vector
    extension(&["vector-agent", "vector"], &["*timberio/vector"]),
    // Promtail
    extension(&["promtail"], &["*grafana/promtail"]),
    // Grafana Alloy or Agent
    extension(&["grafana-agent", "grafana-alloy", "alloy"], &["*grafana/agent", "*grafana/alloy"]),
    // OpenTelemetry collector
    extension(&["otc-container", "otel-collector", "opentelemetry-collector", "otel-agent"], &["*otel/opentelemetry-collector", "*otel/opentelemetry-collector-contrib", "*otel/opentelemetry-collector-k8s", "*/opentelemetry-collector-releases/*", "*/aws-otel-collector"]),
    // Datadog agent
    extension(&["datadog-agent", "datadog-agent-injected", "dd-agent"], &["*datadog/agent", "*datadoghq/agent", "*/datadog/agent"]),
    // New Relic agent
    extension(&["newrelic-infra", "newrelic-infrastructure"], &["*newrelic/infrastructure", "*newrelic/infrastructure-k8s", "*newrelic/infrastructure-bundle"]),
    // Dynatrace ActiveGate or OneAgent
    extension(&["dynatrace-oneagent"], &["*dynatrace/oneagent"]),
    // Splunk forwarder
    extension(&["splunk-forwarder", "splunk-otel-collector"], &["*splunk/universalforwarder", "*signalfx/splunk-otel-collector"]),
    // Sumo Logic collector
    extension(&["sumologic-collector"], &["*sumologic/collector"]),
    // Jaeger agent
    extension(&["jaeger-agent"], &["*jaegertracing/jaeger-agent"]),
    // Zipkin or SkyWalking agent
    extension(&["skywalking-agent", "skywalking-satellite"], &["*apache/skywalking-satellite"]),
    // AWS X-Ray daemon
    extension(&["xray-daemon", "aws-xray-daemon"], &["*xray/aws-xray-daemon", "*amazon/aws-xray-daemon"]),
    // CloudWatch agent
    extension(&["cloudwatch-agent"], &["*cloudwatch-agent/cloudwatch-agent", "*amazon/cloudwatch-agent"]),
    // Google Cloud Ops agent
    extension(&["stackdriver-agent", "stackdriver-sidecar", "prometheus-to-sd"], &["*/prometheus-to-sd", "*stackdriver-prometheus/stackdriver-prometheus-sidecar"]),
    // Azure Monitor agent
    extension(&["ama-logs", "omsagent"], &["*/azuremonitor/containerinsights/*"]),
    // Telegraf
    extension(&["telegraf"], &["*influxdata/telegraf"]),
    // StatsD exporter
    adapter(&["statsd-exporter", "prometheus-statsd-exporter"], &["*prom/statsd-exporter", "*prometheus/statsd-exporter"]),
    // JMX exporter
    adapter(&["jmx-exporter", "jmx-metrics"], &["*bitnami/jmx-exporter"]),
    // Redis exporter
    adapter(&["redis-exporter"], &["*oliver006/redis_exporter", "*bitnami/redis-exporter"]),
    // PostgreSQL exporter
    adapter(&["postgres-exporter"], &["*prometheuscommunity/postgres-exporter", "*bitnami/postgres-exporter"]),
    // MySQL exporter
    adapter(&["mysqld-exporter"], &["*prom/mysqld-exporter", "*bitnami/mysqld-exporter"]),
    // NGINX exporter
    adapter(&["nginx-exporter", "nginx-prometheus-exporter"], &["*nginx/nginx-prometheus-exporter"]),
    // PHP-FPM exporter
    adapter(&["php-fpm-exporter"], &["*hipages/php-fpm_exporter"]),
    // Memcached exporter
    adapter(&["memcached-exporter"], &["*prom/memcached-exporter", "*prometheus/memcached-exporter"]),
    // MongoDB exporter
    adapter(&["mongodb-exporter"], &["*percona/mongodb_exporter", "*bitnami/mongodb-exporter"]),
    // Thanos sidecar
    adapter(&["thanos-sidecar"], &[]),
    // git-sync
    extension(&["git-sync"], &["*/git-sync/git-sync", "*/git-sync"]),
    // Prometheus Operator config reloader
    extension(&["config-reloader", "prometheus-config-reloader", "rules-configmap-reloader"], &["*prometheus-operator/prometheus-config-reloader"]),
    // ConfigMap reloader
    extension(&["configmap-reload", "configmap-reloader", "config-reload"], &["*jimmidyson/configmap-reload", "*prometheus-operator/configmap-reload"]),
    // k8s-sidecar of Grafana charts
    extension(&["grafana-sc-dashboard", "grafana-sc-datasources", "grafana-sc-alerts", "config-reload-sidecar"], &["*kiwigrid/k8s-sidecar"]),
    // Logrotate
    extension(&["logrotate"], &["*/logrotate"]),
    // Cloud Storage FUSE
    extension(&["gke-gcsfuse-sidecar"], &["*gcs-fuse-csi-driver-sidecar-mounter"]),
    // CSI helpers
    extension(&["node-driver-registrar", "csi-node-driver-registrar", "liveness-probe", "csi-provisioner", "csi-attacher", "csi-resizer", "csi-snapshotter"], &["*/sig-storage/csi-*", "*/sig-storage/livenessprobe"]),
    // GitLab runner helper
    extension(&["gitlab-runner-helper"], &["*gitlab-runner/gitlab-runner-helper"]),
    // Docker in Docker
    extension(&["dind"], &[]),
    // Argo executor
    extension(&[], &["*argoproj/argoexec"]),
    // NATS or Kafka reloader
    extension(&["nats-server-config-reloader", "reloader"], &["*natsio/nats-server-config-reloader"]),
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
    fn only_proxies_are_ambassadors() {
        let table = [
            ("istio-proxy", "own/mirror", true, "by name"),
            ("p", "docker.io/istio/proxyv2:1.24", true, "by image"),
            ("cloud-sql-proxy", "x", true, "a proxy of a database"),
            ("fluent-bit", "fluent/fluent-bit", false, "a log shipper"),
            ("redis-exporter", "x", false, "an exporter"),
            ("fetch-sidecar", "x", false, "a name with the suffix of sidecars"),
            ("app", "x", false, "an app"),
        ];
        for (name, image, expected, why) in table {
            assert_eq!(is_ambassador(name, &Repository::of(image)), expected, "{why}");
        }
    }

    #[test]
    fn companions_belong_to_their_program() {
        let table = [
            (
                ("envoy", "x"),
                ("shutdown-manager", "x"),
                true,
                "Contour, by name",
            ),
            (
                ("proxy", "docker.io/envoyproxy/envoy:v1"),
                ("manager", "ghcr.io/projectcontour/contour:v1"),
                true,
                "Contour, by image",
            ),
            (("opa", "x"), ("mgmt", "openpolicyagent/kube-mgmt:9"), true, "OPA"),
            (
                ("pgbouncer", "x"),
                ("metrics", "quay.io/prometheuscommunity/pgbouncer-exporter:v0"),
                true,
                "PgBouncer",
            ),
            (("opa", "x"), ("mgmt", "x"), false, "an app with the name mgmt"),
            (
                ("opa", "x"),
                ("shutdown-manager", "x"),
                false,
                "a companion of another program",
            ),
            (("envoy", "x"), ("app", "x"), false, "an app"),
        ];
        for (program, other, expected, why) in table {
            let (program_image, other_image) = (Repository::of(program.1), Repository::of(other.1));
            let found = is_companion((program.0, &program_image), (other.0, &other_image));
            assert_eq!(found, expected, "{why}");
        }
    }

    #[test]
    fn no_entry_is_empty_and_no_name_is_in_two_entries() {
        let mut names = std::collections::BTreeSet::new();
        for entry in ENTRIES {
            assert!(
                !entry.program.names.is_empty() || !entry.program.images.is_empty(),
                "an entry without names and images"
            );
            for name in entry.program.names {
                assert!(names.insert(name), "{name} is in two entries");
            }
        }
    }
}
