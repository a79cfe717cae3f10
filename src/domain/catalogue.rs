//! The sidecars people really run, as data: what `wellKnown: Include` recognises in a regular container.
//!
//! A row names a sidecar by its usual container names, its image repositories, or both. Names are those that the
//! injectors and charts of the project write; images are globs as a policy's own (see [`super::pattern::Glob`]). A
//! name that people also give to their own applications does not belong here; its image does.

use super::pattern::{Repository, glob_matches_any};

/// What a sidecar is there for, in the words of the classic patterns for containers in one Pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Extends the app: ships its logs, syncs its files, agents.
    Sidecar,
    /// Stands between the app and the world: proxies.
    Ambassador,
    /// Translates what the app offers: exporters.
    Adapter,
}

/// One well-known sidecar.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    /// What people call it.
    pub title: &'static str,
    /// Exact container names.
    pub names: &'static [&'static str],
    /// Globs over image repositories.
    pub images: &'static [&'static str],
    /// What it is there for.
    pub purpose: Purpose,
    /// What it does for the app beside it.
    pub about: &'static str,
}

/// Container names that say it themselves.
const SAYS_SO: &str = "sidecar";
const SAYS_SO_AT_THE_END: &str = "-sidecar";

/// Whether a regular container of this name or image is a sidecar by common knowledge.
pub fn knows(name: &str, image: &Repository<'_>) -> bool {
    name == SAYS_SO
        || name.ends_with(SAYS_SO_AT_THE_END)
        || KNOWN
            .iter()
            .any(|known| known.names.contains(&name) || glob_matches_any(known.images, image))
}

use Purpose::{Adapter, Ambassador, Sidecar};

const fn known(
    title: &'static str,
    purpose: Purpose,
    names: &'static [&'static str],
    images: &'static [&'static str],
    about: &'static str,
) -> Known {
    Known {
        title,
        names,
        images,
        purpose,
        about,
    }
}

/// The catalogue.
#[rustfmt::skip]
pub const KNOWN: &[Known] = &[
    known("Istio proxy", Ambassador, &["istio-proxy"], &["*/istio/proxyv2", "istio/proxyv2", "*/proxyv2"], "Carries all traffic of the Pod for the Istio mesh."),
    known("Linkerd proxy", Ambassador, &["linkerd-proxy"], &["*/linkerd/proxy", "linkerd/proxy"], "Carries all traffic of the Pod for the Linkerd mesh."),
    known("Consul dataplane", Ambassador, &["consul-dataplane", "consul-connect-envoy-sidecar", "envoy-sidecar"], &["*hashicorp/consul-dataplane", "*hashicorp/consul-k8s-control-plane"], "Carries traffic for the Consul service mesh."),
    known("Kuma data plane", Ambassador, &["kuma-sidecar", "kuma-dp"], &["*kumahq/kuma-dp", "*kong/kuma-dp", "*kong/kong-mesh-dp"], "Carries all traffic of the Pod for Kuma or Kong Mesh."),
    known("Open Service Mesh proxy", Ambassador, &["osm-envoy"], &[], "Carries all traffic of the Pod for Open Service Mesh."),
    known("AWS App Mesh proxy", Ambassador, &["aws-appmesh-envoy"], &["*/aws-appmesh-envoy"], "Carries traffic for AWS App Mesh."),
    known("Envoy", Ambassador, &["envoy", "envoy-proxy"], &["*envoyproxy/envoy", "*envoyproxy/envoy-distroless", "*envoyproxy/envoy-contrib"], "A proxy beside the app that somebody configured by hand."),
    known("Dapr", Ambassador, &["daprd"], &["*daprio/daprd", "*dapr/daprd", "*daprio/dapr", "*dapr/dapr"], "The building blocks of Dapr on localhost: state, messages, secrets."),
    known("NGINX mesh or auth proxy", Ambassador, &["nginx-mesh-sidecar", "nginx-sidecar"], &["*nginx-mesh/nginx-mesh-sidecar"], "A reverse proxy in front of the app."),
    known("Traefik mesh proxy", Ambassador, &["maesh-proxy"], &[], "Carries traffic for Traefik Mesh."),
    known("Cilium Envoy", Ambassador, &["cilium-envoy"], &["*cilium/cilium-envoy"], "Layer 7 proxy of Cilium."),
    known("Vault agent", Sidecar, &["vault-agent"], &["*hashicorp/vault-agent"], "Renews secrets from Vault into a shared volume."),
    known("Bank-Vaults agent", Sidecar, &["vault-env", "bank-vaults"], &["*banzaicloud/bank-vaults", "*bank-vaults/bank-vaults"], "Unseals or feeds Vault for the Pod."),
    known("SPIFFE helper", Sidecar, &["spiffe-helper"], &["*spiffe/spiffe-helper", "*spiffe-helper"], "Renews X.509 identities of the Pod."),
    known("Conjur secrets provider", Sidecar, &["cyberark-secrets-provider-for-k8s"], &["*cyberark/secrets-provider-for-k8s", "*cyberark/conjur-authn-k8s-client"], "Renews secrets from Conjur."),
    known("Infisical agent", Sidecar, &["infisical-agent"], &[], "Renews secrets from Infisical."),
    known("Cloud SQL proxy", Ambassador, &["cloud-sql-proxy", "cloudsql-proxy"], &["*cloudsql-docker/gce-proxy", "*cloud-sql-connectors/cloud-sql-proxy", "*/cloud-sql-proxy"], "The tunnel to a Google Cloud SQL database."),
    known("AlloyDB proxy", Ambassador, &["alloydb-auth-proxy"], &["*/alloydb-auth-proxy"], "The tunnel to an AlloyDB database."),
    known("PgBouncer", Ambassador, &["pgbouncer"], &["*/pgbouncer"], "Pools the app's connections to PostgreSQL."),
    known("Cloudflare tunnel", Ambassador, &["cloudflared"], &["*cloudflare/cloudflared"], "The tunnel through which the app is reached."),
    known("Tailscale", Ambassador, &["tailscale", "ts-sidecar"], &["*tailscale/tailscale"], "The Pod's leg in a tailnet."),
    known("ngrok agent", Ambassador, &["ngrok"], &["*ngrok/ngrok"], "The tunnel through which the app is reached."),
    known("GKE metadata server proxy", Ambassador, &["gke-metadata-proxy"], &[], "Serves instance metadata to the Pod."),
    known("Azure workload identity proxy", Ambassador, &["azwi-proxy"], &["*/azure-workload-identity/proxy", "*azure/workload-identity/proxy"], "Serves Azure tokens to the app."),
    known("AWS SigV4 proxy", Ambassador, &["aws-sigv4-proxy", "sigv4-proxy"], &["*/aws-sigv4-proxy"], "Signs the app's requests to AWS."),
    known("oauth2-proxy", Ambassador, &["oauth2-proxy", "oauth-proxy"], &["*oauth2-proxy/oauth2-proxy", "*openshift/oauth-proxy", "*/ose-oauth-proxy"], "Signs users in before they reach the app."),
    known("kube-rbac-proxy", Ambassador, &["kube-rbac-proxy"], &["*brancz/kube-rbac-proxy", "*/kube-rbac-proxy"], "Checks who may read a port of the app."),
    known("Pomerium or Gatekeeper proxy", Ambassador, &["gatekeeper-proxy", "keycloak-gatekeeper", "louketo-proxy"], &["*gogatekeeper/gatekeeper", "*keycloak/keycloak-gatekeeper"], "Signs users in before they reach the app."),
    known("Open Policy Agent", Sidecar, &["opa", "opa-envoy", "opa-istio"], &["*openpolicyagent/opa"], "Answers the app's questions about what is allowed."),
    known("Cerbos", Sidecar, &["cerbos"], &["*cerbos/cerbos"], "Answers the app's questions about what is allowed."),
    known("Fluent Bit", Sidecar, &["fluent-bit", "fluentbit"], &["*fluent/fluent-bit", "*/aws-for-fluent-bit", "*/fluent-bit"], "Ships the app's logs."),
    known("Fluentd", Sidecar, &["fluentd"], &["*fluent/fluentd", "*/fluentd-kubernetes-daemonset", "*fluentd-gcp"], "Ships the app's logs."),
    known("Filebeat", Sidecar, &["filebeat"], &["*beats/filebeat"], "Ships the app's logs."),
    known("Metricbeat", Adapter, &["metricbeat"], &["*beats/metricbeat"], "Ships the app's metrics."),
    known("Elastic Agent", Sidecar, &["elastic-agent"], &["*beats/elastic-agent", "*elastic-agent/elastic-agent"], "Ships the app's logs, metrics and traces."),
    known("Logstash forwarder", Sidecar, &["logstash-forwarder"], &[], "Ships the app's logs."),
    known("Vector", Sidecar, &["vector-agent", "vector"], &["*timberio/vector"], "Ships the app's logs and metrics."),
    known("Promtail", Sidecar, &["promtail"], &["*grafana/promtail"], "Ships the app's logs to Loki."),
    known("Grafana Alloy or Agent", Sidecar, &["grafana-agent", "grafana-alloy", "alloy"], &["*grafana/agent", "*grafana/alloy"], "Collects the app's telemetry."),
    known("OpenTelemetry collector", Sidecar, &["otc-container", "otel-collector", "opentelemetry-collector", "otel-agent"], &["*otel/opentelemetry-collector", "*otel/opentelemetry-collector-contrib", "*otel/opentelemetry-collector-k8s", "*/opentelemetry-collector-releases/*", "*/aws-otel-collector"], "Collects the app's traces, metrics and logs."),
    known("Datadog agent", Sidecar, &["datadog-agent", "datadog-agent-injected", "dd-agent"], &["*datadog/agent", "*datadoghq/agent", "*/datadog/agent"], "Collects the app's telemetry for Datadog."),
    known("New Relic agent", Sidecar, &["newrelic-infra", "newrelic-infrastructure"], &["*newrelic/infrastructure", "*newrelic/infrastructure-k8s", "*newrelic/infrastructure-bundle"], "Collects the app's telemetry for New Relic."),
    known("Dynatrace ActiveGate or OneAgent", Sidecar, &["dynatrace-oneagent"], &["*dynatrace/oneagent"], "Collects the app's telemetry for Dynatrace."),
    known("Splunk forwarder", Sidecar, &["splunk-forwarder", "splunk-otel-collector"], &["*splunk/universalforwarder", "*signalfx/splunk-otel-collector"], "Ships the app's logs to Splunk."),
    known("Sumo Logic collector", Sidecar, &["sumologic-collector"], &["*sumologic/collector"], "Ships the app's logs to Sumo Logic."),
    known("Jaeger agent", Sidecar, &["jaeger-agent"], &["*jaegertracing/jaeger-agent"], "Takes the app's traces."),
    known("Zipkin or SkyWalking agent", Sidecar, &["skywalking-agent", "skywalking-satellite"], &["*apache/skywalking-satellite"], "Takes the app's traces."),
    known("AWS X-Ray daemon", Sidecar, &["xray-daemon", "aws-xray-daemon"], &["*xray/aws-xray-daemon", "*amazon/aws-xray-daemon"], "Takes the app's traces."),
    known("CloudWatch agent", Sidecar, &["cloudwatch-agent"], &["*cloudwatch-agent/cloudwatch-agent", "*amazon/cloudwatch-agent"], "Collects the app's telemetry for CloudWatch."),
    known("Google Cloud Ops agent", Sidecar, &["stackdriver-agent", "stackdriver-sidecar", "prometheus-to-sd"], &["*/prometheus-to-sd", "*stackdriver-prometheus/stackdriver-prometheus-sidecar"], "Collects the app's telemetry for Google Cloud."),
    known("Azure Monitor agent", Sidecar, &["ama-logs", "omsagent"], &["*/azuremonitor/containerinsights/*"], "Collects the app's telemetry for Azure."),
    known("Telegraf", Sidecar, &["telegraf"], &["*influxdata/telegraf"], "Collects the app's metrics."),
    known("StatsD exporter", Adapter, &["statsd-exporter", "prometheus-statsd-exporter"], &["*prom/statsd-exporter", "*prometheus/statsd-exporter"], "Turns StatsD into Prometheus metrics."),
    known("JMX exporter", Adapter, &["jmx-exporter", "jmx-metrics"], &["*bitnami/jmx-exporter"], "Turns JMX into Prometheus metrics."),
    known("Redis exporter", Adapter, &["redis-exporter"], &["*oliver006/redis_exporter", "*bitnami/redis-exporter"], "Prometheus metrics of the Redis beside it."),
    known("PostgreSQL exporter", Adapter, &["postgres-exporter"], &["*prometheuscommunity/postgres-exporter", "*bitnami/postgres-exporter"], "Prometheus metrics of the PostgreSQL beside it."),
    known("MySQL exporter", Adapter, &["mysqld-exporter"], &["*prom/mysqld-exporter", "*bitnami/mysqld-exporter"], "Prometheus metrics of the MySQL beside it."),
    known("NGINX exporter", Adapter, &["nginx-exporter", "nginx-prometheus-exporter"], &["*nginx/nginx-prometheus-exporter"], "Prometheus metrics of the NGINX beside it."),
    known("PHP-FPM exporter", Adapter, &["php-fpm-exporter"], &["*hipages/php-fpm_exporter"], "Prometheus metrics of the PHP-FPM beside it."),
    known("Memcached exporter", Adapter, &["memcached-exporter"], &["*prom/memcached-exporter", "*prometheus/memcached-exporter"], "Prometheus metrics of the Memcached beside it."),
    known("MongoDB exporter", Adapter, &["mongodb-exporter"], &["*percona/mongodb_exporter", "*bitnami/mongodb-exporter"], "Prometheus metrics of the MongoDB beside it."),
    known("Thanos sidecar", Adapter, &["thanos-sidecar"], &[], "Uploads and serves the blocks of the Prometheus beside it."),
    known("git-sync", Sidecar, &["git-sync"], &["*/git-sync/git-sync", "*/git-sync"], "Keeps a checkout fresh in a shared volume."),
    known("Prometheus Operator config reloader", Sidecar, &["config-reloader", "prometheus-config-reloader", "rules-configmap-reloader"], &["*prometheus-operator/prometheus-config-reloader"], "Reloads the app when its configuration changes."),
    known("ConfigMap reloader", Sidecar, &["configmap-reload", "configmap-reloader", "config-reload"], &["*jimmidyson/configmap-reload", "*prometheus-operator/configmap-reload"], "Reloads the app when its ConfigMap changes."),
    known("k8s-sidecar of Grafana charts", Sidecar, &["grafana-sc-dashboard", "grafana-sc-datasources", "grafana-sc-alerts", "config-reload-sidecar"], &["*kiwigrid/k8s-sidecar"], "Brings ConfigMaps to the app as files."),
    known("Logrotate", Sidecar, &["logrotate"], &["*/logrotate"], "Rotates the app's log files."),
    known("Cloud Storage FUSE", Sidecar, &["gke-gcsfuse-sidecar"], &["*gcs-fuse-csi-driver-sidecar-mounter"], "Mounts a bucket for the app."),
    known("CSI helpers", Sidecar, &["node-driver-registrar", "csi-node-driver-registrar", "liveness-probe", "csi-provisioner", "csi-attacher", "csi-resizer", "csi-snapshotter"], &["*/sig-storage/csi-*", "*/sig-storage/livenessprobe"], "Speak to Kubernetes for the CSI driver beside them."),
    known("GitLab runner helper", Sidecar, &["gitlab-runner-helper"], &["*gitlab-runner/gitlab-runner-helper"], "Fetches and stores what a CI job needs."),
    known("Docker in Docker", Sidecar, &["dind"], &[], "A Docker engine for the CI job beside it."),
    known("Argo executor", Sidecar, &[], &["*argoproj/argoexec"], "Saves outputs of the workflow step beside it."),
    known("NATS or Kafka reloader", Sidecar, &["nats-server-config-reloader", "reloader"], &["*natsio/nats-server-config-reloader"], "Reloads the server when its configuration changes."),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sidecars_that_people_run_are_known() {
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
                knows(name, &Repository::of(image)),
                expected,
                "{name} {image}: {why}"
            );
        }
    }

    #[test]
    fn no_row_is_empty_and_no_name_stands_twice() {
        let mut names = std::collections::BTreeSet::new();
        for known in KNOWN {
            assert!(
                !known.names.is_empty() || !known.images.is_empty(),
                "{} has nothing to be known by",
                known.title
            );
            assert!(known.about.ends_with('.'), "{}: a sentence", known.title);
            for name in known.names {
                assert!(names.insert(name), "{name} stands twice");
            }
        }
    }
}
