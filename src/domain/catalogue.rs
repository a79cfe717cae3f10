//! The built-in catalogue of sidecars: the regular containers that `wellKnown: Include` makes sidecars.
//!
//! An entry has the usual container names of a sidecar, its image repositories, or both. The names are those that the
//! injectors and charts of the project use. The images are globs as in a policy (see [`super::pattern::Glob`]). A name
//! that applications use too is not in the catalogue; the image can be.

mod purpose;

use Pattern::{Adapter, Ambassador, ConfigSync, Helper, Logging, Proxy, Security};

pub use self::purpose::{Description, Pattern};
use super::pattern::{Repository, glob_matches_any};

/// Whether the app needs a sidecar as long as it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    /// A proxy between the app and the network. The app needs it as long as it runs.
    Ambassador,
    /// An exporter of metrics.
    Adapter,
    /// Any other helper, such as a log shipper.
    Extension,
}

/// Container names, or globs over image repositories.
type Texts = &'static [&'static str];

/// Exact container names, and globs over image repositories.
struct Matcher {
    names: Texts,
    images: Texts,
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
    description: Description,
    class: Class,
    program: Matcher,
    /// Helpers of the program. A Pod with the program, a companion and no app is a gateway or a server of its own: the
    /// program is its main container.
    companions: Matcher,
}

/// A container with this name is a sidecar.
pub const NAME: &str = "sidecar";
/// A container whose name has this suffix is a sidecar.
pub const SUFFIX: &str = "-sidecar";

/// Whether the catalogue contains a regular container with this name and image.
pub fn contains(name: &str, image: &Repository<'_>) -> bool {
    name == NAME || name.ends_with(SUFFIX) || entries(name, image).next().is_some()
}

/// Whether the catalogue has a container with this name and image as a proxy of the app.
pub fn is_ambassador(name: &str, image: &Repository<'_>) -> bool {
    entries(name, image).any(|entry| entry.class == Class::Ambassador)
}

/// The product and the pattern of a container, if the catalogue has an entry for it.
pub fn describe(name: &str, image: &Repository<'_>) -> Option<Description> {
    entries(name, image).next().map(|entry| entry.description)
}

/// Whether `other` is a companion of the sidecar `program`. Each is a container name and an image.
pub fn is_companion(program: (&str, &Repository<'_>), other: (&str, &Repository<'_>)) -> bool {
    entries(program.0, program.1).any(|entry| entry.companions.matches(other.0, other.1))
}

/// The container names of all entries.
pub fn names() -> impl Iterator<Item = &'static str> {
    ENTRIES.iter().flat_map(|entry| entry.program.names).copied()
}

/// The globs over image repositories of all entries.
pub fn images() -> impl Iterator<Item = &'static str> {
    ENTRIES.iter().flat_map(|entry| entry.program.images).copied()
}

fn entries(name: &str, image: &Repository<'_>) -> impl Iterator<Item = &'static Entry> {
    ENTRIES
        .iter()
        .filter(move |entry| entry.program.matches(name, image))
}

impl Entry {
    const fn new(
        (title, pattern, class): (&'static str, Pattern, Class),
        names: Texts,
        images: Texts,
    ) -> Self {
        Self {
            description: Description { title, pattern },
            class,
            program: Matcher { names, images },
            companions: Matcher::NOTHING,
        }
    }

    /// Sets the names and images of the companions.
    const fn with_companions(self, names: Texts, images: Texts) -> Self {
        Self {
            companions: Matcher { names, images },
            ..self
        }
    }
}

const fn ambassador(title: &'static str, pattern: Pattern, names: Texts, images: Texts) -> Entry {
    Entry::new((title, pattern, Class::Ambassador), names, images)
}

const fn adapter(title: &'static str, pattern: Pattern, names: Texts, images: Texts) -> Entry {
    Entry::new((title, pattern, Class::Adapter), names, images)
}

const fn extension(title: &'static str, pattern: Pattern, names: Texts, images: Texts) -> Entry {
    Entry::new((title, pattern, Class::Extension), names, images)
}

#[rustfmt::skip]
const ENTRIES: &[Entry] = &[
    ambassador("Istio proxy", Proxy, &["istio-proxy"], &["*/istio/proxyv2", "istio/proxyv2", "*/proxyv2"]),
    ambassador("Linkerd proxy", Proxy, &["linkerd-proxy"], &["*/linkerd/proxy", "linkerd/proxy"]),
    ambassador("Consul dataplane", Proxy, &["consul-dataplane", "consul-connect-envoy-sidecar", "envoy-sidecar"], &["*hashicorp/consul-dataplane", "*hashicorp/consul-k8s-control-plane"]),
    ambassador("Kuma data plane", Proxy, &["kuma-sidecar", "kuma-dp"], &["*kumahq/kuma-dp", "*kong/kuma-dp", "*kong/kong-mesh-dp"]),
    ambassador("Open Service Mesh proxy", Proxy, &["osm-envoy"], &[]),
    ambassador("AWS App Mesh proxy", Proxy, &["aws-appmesh-envoy"], &["*/aws-appmesh-envoy"]),
    ambassador("Envoy", Proxy, &["envoy", "envoy-proxy"], &["*envoyproxy/envoy", "*envoyproxy/envoy-distroless", "*envoyproxy/envoy-contrib"])
        // Contour and Envoy Gateway
        .with_companions(&["shutdown-manager"], &["*projectcontour/contour", "*envoyproxy/gateway"]),
    ambassador("Dapr", Ambassador, &["daprd"], &["*daprio/daprd", "*dapr/daprd", "*daprio/dapr", "*dapr/dapr"]),
    ambassador("NGINX mesh or auth proxy", Proxy, &["nginx-mesh-sidecar", "nginx-sidecar"], &["*nginx-mesh/nginx-mesh-sidecar"]),
    ambassador("Traefik mesh proxy", Proxy, &["maesh-proxy"], &[]),
    ambassador("Cilium Envoy", Proxy, &["cilium-envoy"], &["*cilium/cilium-envoy"]),
    extension("Vault agent", Security, &["vault-agent"], &["*hashicorp/vault-agent"]),
    extension("Bank-Vaults agent", Security, &["vault-env", "bank-vaults"], &["*banzaicloud/bank-vaults", "*bank-vaults/bank-vaults"]),
    extension("SPIFFE helper", Security, &["spiffe-helper"], &["*spiffe/spiffe-helper", "*spiffe-helper"]),
    extension("Conjur secrets provider", Security, &["cyberark-secrets-provider-for-k8s"], &["*cyberark/secrets-provider-for-k8s", "*cyberark/conjur-authn-k8s-client"]),
    extension("Infisical agent", Security, &["infisical-agent"], &[]),
    ambassador("Cloud SQL proxy", Ambassador, &["cloud-sql-proxy", "cloudsql-proxy"], &["*cloudsql-docker/gce-proxy", "*cloud-sql-connectors/cloud-sql-proxy", "*/cloud-sql-proxy"]),
    ambassador("AlloyDB proxy", Ambassador, &["alloydb-auth-proxy"], &["*/alloydb-auth-proxy"]),
    ambassador("PgBouncer", Ambassador, &["pgbouncer"], &["*/pgbouncer"])
        .with_companions(&["pgbouncer-exporter", "prometheus-pgbouncer-exporter"], &["*/pgbouncer-exporter", "*/pgbouncer_exporter", "*/prometheus-pgbouncer-exporter"]),
    ambassador("Cloudflare tunnel", Ambassador, &["cloudflared"], &["*cloudflare/cloudflared"]),
    ambassador("Tailscale", Ambassador, &["tailscale", "ts-sidecar"], &["*tailscale/tailscale"]),
    ambassador("ngrok agent", Ambassador, &["ngrok"], &["*ngrok/ngrok"]),
    ambassador("GKE metadata server proxy", Ambassador, &["gke-metadata-proxy"], &[]),
    ambassador("Azure workload identity proxy", Security, &["azwi-proxy"], &["*/azure-workload-identity/proxy", "*azure/workload-identity/proxy"]),
    ambassador("AWS SigV4 proxy", Ambassador, &["aws-sigv4-proxy", "sigv4-proxy"], &["*/aws-sigv4-proxy"]),
    ambassador("oauth2-proxy", Security, &["oauth2-proxy", "oauth-proxy"], &["*oauth2-proxy/oauth2-proxy", "*openshift/oauth-proxy", "*/ose-oauth-proxy"]),
    ambassador("kube-rbac-proxy", Security, &["kube-rbac-proxy"], &["*brancz/kube-rbac-proxy", "*/kube-rbac-proxy"]),
    ambassador("Pomerium or Gatekeeper proxy", Security, &["gatekeeper-proxy", "keycloak-gatekeeper", "louketo-proxy"], &["*gogatekeeper/gatekeeper", "*keycloak/keycloak-gatekeeper"]),
    extension("Open Policy Agent", Security, &["opa", "opa-envoy", "opa-istio"], &["*openpolicyagent/opa"])
        .with_companions(&["kube-mgmt"], &["*openpolicyagent/kube-mgmt"]),
    extension("Cerbos", Security, &["cerbos"], &["*cerbos/cerbos"]),
    extension("Fluent Bit", Logging, &["fluent-bit", "fluentbit"], &["*fluent/fluent-bit", "*/aws-for-fluent-bit", "*/fluent-bit"]),
    extension("Fluentd", Logging, &["fluentd"], &["*fluent/fluentd", "*/fluentd-kubernetes-daemonset", "*fluentd-gcp"]),
    extension("Filebeat", Logging, &["filebeat"], &["*beats/filebeat"]),
    adapter("Metricbeat", Adapter, &["metricbeat"], &["*beats/metricbeat"]),
    extension("Elastic Agent", Logging, &["elastic-agent"], &["*beats/elastic-agent", "*elastic-agent/elastic-agent"]),
    extension("Logstash forwarder", Logging, &["logstash-forwarder"], &[]),
    extension("Vector", Logging, &["vector-agent", "vector"], &["*timberio/vector"]),
    extension("Promtail", Logging, &["promtail"], &["*grafana/promtail"]),
    extension("Grafana Alloy or Agent", Adapter, &["grafana-agent", "grafana-alloy", "alloy"], &["*grafana/agent", "*grafana/alloy"]),
    extension("OpenTelemetry collector", Adapter, &["otc-container", "otel-collector", "opentelemetry-collector", "otel-agent"], &["*otel/opentelemetry-collector", "*otel/opentelemetry-collector-contrib", "*otel/opentelemetry-collector-k8s", "*/opentelemetry-collector-releases/*", "*/aws-otel-collector"]),
    extension("Datadog agent", Adapter, &["datadog-agent", "datadog-agent-injected", "dd-agent"], &["*datadog/agent", "*datadoghq/agent", "*/datadog/agent"]),
    extension("New Relic agent", Adapter, &["newrelic-infra", "newrelic-infrastructure"], &["*newrelic/infrastructure", "*newrelic/infrastructure-k8s", "*newrelic/infrastructure-bundle"]),
    extension("Dynatrace ActiveGate or OneAgent", Adapter, &["dynatrace-oneagent"], &["*dynatrace/oneagent"]),
    extension("Splunk forwarder", Logging, &["splunk-forwarder", "splunk-otel-collector"], &["*splunk/universalforwarder", "*signalfx/splunk-otel-collector"]),
    extension("Sumo Logic collector", Logging, &["sumologic-collector"], &["*sumologic/collector"]),
    extension("Jaeger agent", Adapter, &["jaeger-agent"], &["*jaegertracing/jaeger-agent"]),
    extension("Zipkin or SkyWalking agent", Adapter, &["skywalking-agent", "skywalking-satellite"], &["*apache/skywalking-satellite"]),
    extension("AWS X-Ray daemon", Adapter, &["xray-daemon", "aws-xray-daemon"], &["*xray/aws-xray-daemon", "*amazon/aws-xray-daemon"]),
    extension("CloudWatch agent", Adapter, &["cloudwatch-agent"], &["*cloudwatch-agent/cloudwatch-agent", "*amazon/cloudwatch-agent"]),
    extension("Google Cloud Ops agent", Adapter, &["stackdriver-agent", "stackdriver-sidecar", "prometheus-to-sd"], &["*/prometheus-to-sd", "*stackdriver-prometheus/stackdriver-prometheus-sidecar"]),
    extension("Azure Monitor agent", Logging, &["ama-logs", "omsagent"], &["*/azuremonitor/containerinsights/*"]),
    extension("Telegraf", Adapter, &["telegraf"], &["*influxdata/telegraf"]),
    adapter("StatsD exporter", Adapter, &["statsd-exporter", "prometheus-statsd-exporter"], &["*prom/statsd-exporter", "*prometheus/statsd-exporter"]),
    adapter("JMX exporter", Adapter, &["jmx-exporter", "jmx-metrics"], &["*bitnami/jmx-exporter"]),
    adapter("Redis exporter", Adapter, &["redis-exporter"], &["*oliver006/redis_exporter", "*bitnami/redis-exporter"]),
    adapter("PostgreSQL exporter", Adapter, &["postgres-exporter"], &["*prometheuscommunity/postgres-exporter", "*bitnami/postgres-exporter"]),
    adapter("MySQL exporter", Adapter, &["mysqld-exporter"], &["*prom/mysqld-exporter", "*bitnami/mysqld-exporter"]),
    adapter("NGINX exporter", Adapter, &["nginx-exporter", "nginx-prometheus-exporter"], &["*nginx/nginx-prometheus-exporter"]),
    adapter("PHP-FPM exporter", Adapter, &["php-fpm-exporter"], &["*hipages/php-fpm_exporter"]),
    adapter("Memcached exporter", Adapter, &["memcached-exporter"], &["*prom/memcached-exporter", "*prometheus/memcached-exporter"]),
    adapter("MongoDB exporter", Adapter, &["mongodb-exporter"], &["*percona/mongodb_exporter", "*bitnami/mongodb-exporter"]),
    adapter("Thanos sidecar", Adapter, &["thanos-sidecar"], &[]),
    extension("git-sync", ConfigSync, &["git-sync"], &["*/git-sync/git-sync", "*/git-sync"]),
    extension("Prometheus Operator config reloader", ConfigSync, &["config-reloader", "prometheus-config-reloader", "rules-configmap-reloader"], &["*prometheus-operator/prometheus-config-reloader"]),
    extension("ConfigMap reloader", ConfigSync, &["configmap-reload", "configmap-reloader", "config-reload"], &["*jimmidyson/configmap-reload", "*prometheus-operator/configmap-reload"]),
    extension("k8s-sidecar of Grafana charts", ConfigSync, &["grafana-sc-dashboard", "grafana-sc-datasources", "grafana-sc-alerts", "config-reload-sidecar"], &["*kiwigrid/k8s-sidecar"]),
    extension("Logrotate", Logging, &["logrotate"], &["*/logrotate"]),
    extension("Cloud Storage FUSE", Helper, &["gke-gcsfuse-sidecar"], &["*gcs-fuse-csi-driver-sidecar-mounter"]),
    extension("CSI helpers", Helper, &["node-driver-registrar", "csi-node-driver-registrar", "liveness-probe", "csi-provisioner", "csi-attacher", "csi-resizer", "csi-snapshotter"], &["*/sig-storage/csi-*", "*/sig-storage/livenessprobe"]),
    extension("GitLab runner helper", Helper, &["gitlab-runner-helper"], &["*gitlab-runner/gitlab-runner-helper"]),
    extension("Docker in Docker", Helper, &["dind"], &[]),
    extension("Argo executor", Helper, &[], &["*argoproj/argoexec"]),
    extension("NATS or Kafka reloader", ConfigSync, &["nats-server-config-reloader", "reloader"], &["*natsio/nats-server-config-reloader"]),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_sidecars_are_in_the_catalogue() {
        #[rustfmt::skip]
        let table = [
            ("sidecar", "own/thing", true, "the name says it"),
            ("log-sidecar", "own/thing", true, "the end of the name says it"),
            ("sidecar-log", "own/thing", false, "the beginning does not"),
            ("istio-proxy", "own/mirror", true, "by name"),
            ("proxy", "gcr.io/istio-release/proxyv2:1.24", true, "by image in another project"),
            ("p", "docker.io/istio/proxyv2:1.24", true, "by image"),
            ("p", "cr.l5d.io/linkerd/proxy:edge", true, "by image with a registry"),
            ("logs", "fluent/fluent-bit", true, "by image without a registry"),
            ("agent", "public.ecr.aws/aws-observability/aws-otel-collector:v0", true, "cloud agents"),
            ("agent", "gcr.io/datadoghq/agent:7", true, "Datadog"),
            ("app", "mycorp/payments", false, "an app"),
            ("agent", "mycorp/agent", false, "an agent of another owner"),
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
    fn a_known_sidecar_has_a_title_and_a_pattern() {
        let describe = |name: &str, image: &str| {
            describe(name, &Repository::of(image)).map(|known| (known.title, known.pattern))
        };
        let table = [
            (("istio-proxy", "own/mirror"), Some(("Istio proxy", Proxy))),
            (("logs", "fluent/fluent-bit:3"), Some(("Fluent Bit", Logging))),
            (("redis-exporter", "x"), Some(("Redis exporter", Adapter))),
            (("cloud-sql-proxy", "x"), Some(("Cloud SQL proxy", Ambassador))),
            (("git-sync", "x"), Some(("git-sync", ConfigSync))),
            (("vault-agent", "x"), Some(("Vault agent", Security))),
            (("log-sidecar", "x"), None),
            (("app", "x"), None),
        ];
        for ((name, image), expected) in table {
            assert_eq!(describe(name, image), expected, "{name} {image}");
        }
    }

    #[test]
    fn companions_belong_to_their_program() {
        #[rustfmt::skip]
        let table = [
            (("envoy", "x"), ("shutdown-manager", "x"), true, "Contour, by name"),
            (("proxy", "docker.io/envoyproxy/envoy:v1"), ("manager", "ghcr.io/projectcontour/contour:v1"), true,
                "Contour, by image"),
            (("opa", "x"), ("mgmt", "openpolicyagent/kube-mgmt:9"), true, "OPA"),
            (("pgbouncer", "x"), ("metrics", "quay.io/prometheuscommunity/pgbouncer-exporter:v0"), true, "PgBouncer"),
            (("opa", "x"), ("mgmt", "x"), false, "an app with the name mgmt"),
            (("opa", "x"), ("shutdown-manager", "x"), false, "a companion of another program"),
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
