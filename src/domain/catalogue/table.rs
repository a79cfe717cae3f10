//! The products of the catalogue, one line each: title, class, container names, last parts of the image repositories.
//!
//! Facts follow as calls. A name that apps use too stands here only with `beside`, or not at all; its image can stand here.
//! An image that also runs as the app (`vault`, `cephcsi`, `thanos`) or as another helper stands here only if the product
//! has the fact `app`; otherwise its name decides. A wrong role is mended by a row in `tests/roles/public-pods.tsv` first.

use super::{
    Class::{
        self, Agent, Ambassador, AuthProxy, CsiHelper, Exporter, Helper, JobHelper, LogShipper, MeshProxy,
        PolicyEngine, Reloader, Secrets,
    },
    Product,
};

/// A list of texts of the table.
type Texts = &'static [&'static str];

const fn product(title: &'static str, class: Class, names: Texts, images: Texts) -> Product {
    Product {
        title,
        class,
        names,
        images,
        beside: None,
        app: false,
        outlives: false,
        reflects_app: false,
        one_shot: false,
    }
}

impl Product {
    /// The product can also be the app of a Pod.
    const fn app(self) -> Self {
        Self { app: true, ..self }
    }

    /// It works after the main container has ended.
    const fn outlives(self) -> Self {
        Self {
            outlives: true,
            ..self
        }
    }

    /// Its readiness includes that of the app.
    const fn reflects_app(self) -> Self {
        Self {
            reflects_app: true,
            ..self
        }
    }

    /// It can also run once, as a plain init container.
    const fn one_shot(self) -> Self {
        Self {
            one_shot: true,
            ..self
        }
    }

    /// Its names count only beside a container with this name.
    const fn beside(self, name: &'static str) -> Self {
        Self {
            beside: Some(name),
            ..self
        }
    }
}

#[rustfmt::skip]
pub(super) const PRODUCTS: &[Product] = &[
    // Service meshes and gateways
    product("Istio proxy", MeshProxy, &["istio-proxy"], &["proxyv2", "proxyv2-rhel*", "istio-proxyv2-rhel*"]),
    product("Linkerd proxy", MeshProxy, &["linkerd-proxy"], &["linkerd/proxy", "linkerd-io/proxy", "buoyantio/proxy"]),
    product("Consul dataplane", MeshProxy, &["consul-dataplane", "consul-dataplane-*", "consul-connect-envoy-sidecar", "envoy-sidecar"], &["consul-dataplane"]),
    product("Kuma data plane", MeshProxy, &["kuma-sidecar"], &["kuma-dp"]),
    product("AWS App Mesh proxy", MeshProxy, &[], &["aws-appmesh-envoy"]),
    product("NGINX mesh proxy", MeshProxy, &["nginx-mesh-sidecar"], &["nginx-mesh-sidecar"]),
    product("Knative queue proxy", MeshProxy, &["queue-proxy"], &["serving/cmd/queue", "knative-serving-queue", "serving-queue-rhel*", "kn-serving-queue-rhel*"]).reflects_app(),
    product("Dapr", Ambassador, &["daprd"], &["daprd"]).reflects_app(),
    product("Envoy", MeshProxy, &["envoy", "envoy-proxy"], &["envoy", "envoy-distroless", "envoy-contrib", "envoy-alpine"]).app(),
    product("Envoy shutdown manager", Helper, &["shutdown-manager"], &[]),
    product("Linkerd debug container", Helper, &["linkerd-debug"], &["linkerd/debug"]),
    product("Envoy JWT helper", AuthProxy, &[], &["envoy-jwt-auth-helper"]),
    product("Seldon executor", MeshProxy, &["seldon-container-engine"], &["seldon-core-executor"]),
    product("Seldon agent", MeshProxy, &[], &["seldon-agent"]),
    product("llm-d routing proxy", MeshProxy, &["llm-d-routing-sidecar"], &["llm-d-router-disagg-sidecar"]),
    product("Envoy sidecar helper", JobHelper, &["envoy-sidecar-helper"], &["envoy-sidecar-helper"]),
    product("SPIFFE helper", Secrets, &["spiffe-helper"], &["spiffe-helper"]).one_shot(),
    // Proxies that authenticate
    product("kube-rbac-proxy", AuthProxy, &["kube-rbac-proxy", "kube-rbac-proxy-*", "*-kube-rbac-proxy", "*-kube-rbac-proxy-*"], &["kube-rbac-proxy", "kube-rbac-proxy-*", "*-kube-rbac-proxy", "*-kube-rbac-proxy-rhel*"]),
    product("oauth2-proxy", AuthProxy, &["oauth2-proxy", "oauth2-proxy-*", "*-oauth2-proxy"], &["oauth2-proxy"]).app(),
    product("OpenShift OAuth proxy", AuthProxy, &["oauth-proxy", "*-oauth-proxy"], &["oauth-proxy", "*-oauth-proxy", "*-oauth-proxy-rhel*"]),
    product("prom-label-proxy", AuthProxy, &["prom-label-proxy"], &["prom-label-proxy", "*-prom-label-proxy"]).app(),
    product("Gatekeeper proxy", AuthProxy, &["keycloak-gatekeeper", "louketo-proxy"], &["gogatekeeper/gatekeeper", "keycloak-gatekeeper", "louketo-proxy"]).app(),
    product("Ory Oathkeeper", AuthProxy, &["oathkeeper"], &["oryd/oathkeeper"]).app(),
    product("KubeRay security proxy", AuthProxy, &["kuberay-security-proxy"], &["kuberay/security-proxy"]),
    product("Azure workload identity proxy", AuthProxy, &["azwi-proxy"], &["workload-identity/proxy"]),
    product("Open Policy Agent", PolicyEngine, &["opa", "opa-envoy", "opa-istio"], &["openpolicyagent/opa"]).app(),
    product("kube-mgmt", Reloader, &["kube-mgmt"], &["kube-mgmt"]),
    product("External authorizer", PolicyEngine, &["ext-authz", "dikastes"], &["calico/dikastes"]),
    product("Cerbos", PolicyEngine, &["cerbos"], &["cerbos/cerbos"]).app(),
    // Local addresses of remote services
    product("Cloud SQL proxy", Ambassador, &["cloud-sql-proxy", "cloudsql-proxy", "cloud-sql-auth-proxy", "*-cloud-sql-proxy", "*-cloudsql-proxy", "cloud-sql-proxy-*", "cloudsql-proxy-*", "cloud-sql-auth-proxy-*", "csql-*"], &["gce-proxy", "cloud-sql-proxy"]).app(),
    product("AlloyDB proxy", Ambassador, &["alloydb-auth-proxy"], &["alloydb-auth-proxy"]).app(),
    product("PgBouncer", Ambassador, &["pgbouncer"], &["pgbouncer"]).app(),
    product("Cloudflare tunnel", Ambassador, &["cloudflared"], &["cloudflared"]).app(),
    product("Tailscale", Ambassador, &["tailscale", "ts-sidecar"], &["tailscale"]).app(),
    product("ngrok agent", Ambassador, &["ngrok"], &["ngrok/ngrok"]).app(),
    product("Gluetun", Ambassador, &["gluetun"], &["qmcgaw/gluetun"]).app(),
    product("Ghostunnel", Ambassador, &["ghostunnel"], &["ghostunnel/ghostunnel"]).app(),
    product("AWS SigV4 proxy", Ambassador, &["aws-sigv4-proxy", "sigv4-proxy"], &["aws-sigv4-proxy"]).app(),
    product("Konnectivity proxy", Ambassador, &["konnectivity-proxy", "konnectivity-proxy-*"], &[]),
    product("flagd", Ambassador, &["flagd"], &["open-feature/flagd"]).app(),
    product("Datadog FIPS proxy", Ambassador, &["fips-proxy"], &["fips-proxy"]),
    // Secrets
    product("Vault agent", Secrets, &["vault-agent"], &["vault-agent"]).one_shot(),
    product("Bank-Vaults", Secrets, &["bank-vaults", "consul-template"], &[]).one_shot(),
    product("Conjur secrets provider", Secrets, &["cyberark-secrets-provider-for-k8s"], &["secrets-provider-for-k8s", "conjur-authn-k8s-client", "conjur-kubernetes-authenticator"]).one_shot(),
    product("Infisical agent", Secrets, &["infisical-agent"], &[]).one_shot(),
    product("HyperShift token minter", Secrets, &["token-minter", "token-minter-*", "*-token-minter"], &["token-minter"]).one_shot(),
    product("Airflow Kerberos renewer", Secrets, &["worker-kerberos"], &[]),
    // Logs
    product("Fluent Bit", LogShipper, &["fluent-bit", "fluentbit", "*-fluent-bit", "*-fluentbit"], &["fluent-bit", "fluentbit", "aws-for-fluent-bit"]).app(),
    product("Fluentd", LogShipper, &["fluentd", "fluentd-gcp", "*-fluentd"], &["fluentd", "fluentd-kubernetes-daemonset", "fluentd-gcp"]).app(),
    product("Filebeat", LogShipper, &["filebeat", "*-filebeat"], &["filebeat", "filebeat-oss", "filebeat-wolfi"]).app(),
    product("Elastic Agent", LogShipper, &["elastic-agent"], &["elastic-agent", "elastic-agent-complete"]).app(),
    product("Vector", LogShipper, &["vector", "vector-agent"], &["timberio/vector", "vectordotdev/vector"]).app(),
    product("Promtail", LogShipper, &["promtail"], &["promtail"]).app(),
    product("Splunk forwarder", LogShipper, &["splunk-forwarder"], &["splunk/universalforwarder", "splunk-forwarder"]).app(),
    product("Sumo Logic collector", LogShipper, &["sumologic-collector"], &["sumologic/collector"]).app(),
    product("Azure Monitor agent", LogShipper, &["ama-logs", "omsagent"], &["azuremonitor/containerinsights/*"]).app(),
    product("Cassandra system logger", LogShipper, &["server-system-logger"], &["k8ssandra/system-logger"]),
    product("Ceph log collector", LogShipper, &["log-collector"], &[]),
    product("HyperShift audit log", LogShipper, &["audit-logs"], &[]),
    product("Percona log collector", LogShipper, &["logs"], &[]).beside("logrotate"),
    product("Logrotate", Helper, &["logrotate"], &["logrotate"]).one_shot(),
    product("Airflow log groomer", Helper, &["log-groomer", "*-log-groomer"], &[]),
    product("Airflow log cleanup", Helper, &["log-cleanup"], &[]).beside("airflow-*"),
    product("Tailing sidecar", LogShipper, &["tailing-sidecar-*"], &["tailing-sidecar"]),
    // Metrics and traces
    product("Grafana Alloy or Agent", Agent, &["grafana-agent", "grafana-alloy", "alloy"], &["grafana/agent", "alloy"]).app(),
    product("OpenTelemetry collector", Agent, &["otc-container", "otel-collector", "opentelemetry-collector", "otel-agent", "*-otel-collector"], &["opentelemetry-collector", "opentelemetry-collector-*", "opentelemetry-collector-releases/*", "otelcol", "aws-otel-collector", "splunk-otel-collector"]).app(),
    product("Datadog agent", Agent, &["datadog-agent", "datadog-agent-injected", "dd-agent"], &["datadoghq/agent", "datadog/agent", "*.datadoghq.com/agent", "datadoghq/ddot-collector", "*.datadoghq.com/ddot-collector", "datadog/dogstatsd", "datadoghq/dogstatsd"]).app(),
    product("New Relic agent", Agent, &["newrelic-infra", "newrelic-infrastructure", "newrelic-infrastructure-sidecar", "newrelic-infrastructure-kubelet"], &["newrelic/infrastructure", "newrelic/infrastructure-k8s", "newrelic/infrastructure-bundle", "newrelic/k8s-events-forwarder"]).app(),
    product("Dynatrace OneAgent", Agent, &["dynatrace-oneagent"], &["dynatrace/oneagent", "dynatrace-oneagent"]).app(),
    product("Jaeger agent", Agent, &["jaeger-agent"], &["jaeger-agent"]).app(),
    product("SkyWalking satellite", Agent, &["skywalking-satellite"], &["skywalking-satellite"]).app(),
    product("AWS X-Ray daemon", Agent, &["xray-daemon", "aws-xray-daemon"], &["aws-xray-daemon"]).app(),
    product("CloudWatch agent", Agent, &["cloudwatch-agent"], &["cloudwatch-agent"]).app(),
    product("Google Cloud Ops agent", Agent, &["stackdriver-sidecar", "prometheus-to-sd"], &["prometheus-to-sd", "stackdriver-prometheus-sidecar"]),
    product("Telegraf", Agent, &["telegraf"], &["telegraf"]).app(),
    product("Metricbeat", Agent, &["metricbeat"], &["metricbeat", "metricbeat-oss", "metricbeat-wolfi"]).app(),
    product("Ray history collector", Agent, &["ray-history-collector"], &[]),
    product("Percona monitoring client", Agent, &["pmm-client"], &["pmm-client"]).app(),
    product("CrowdStrike Falcon", Agent, &["crowdstrike-falcon-container"], &["falcon-container", "falcon-container/*/release/falcon-sensor", "falcon-container/release/falcon-sensor"]),
    product("Prisma Cloud defender", Agent, &["twistlock-defender"], &["twistlock/defender"]).app(),
    product("Falco artifact follower", Reloader, &["falcoctl-artifact-follow"], &["falcosecurity/falcoctl"]),
    product("OpenTelemetry Go instrumentation", Agent, &["opentelemetry-auto-instrumentation"], &[]).one_shot(),
    product("kube-dns health probe", Exporter, &[], &["exechealthz", "exechealthz-*"]),
    product("Thanos sidecar", Exporter, &["thanos-sidecar"], &[]).reflects_app(),
    product("Prometheus exporter", Exporter, &["exporter", "*-exporter", "jmx-metrics", "frr-metrics", "frr-status"], &["*-exporter", "*_exporter", "*-exporter-rhel*"]),
    // Files and configuration
    product("git-sync", Reloader, &["git-sync", "git-sync-*", "*-git-sync"], &["git-sync"]).one_shot(),
    product("Config reloader", Reloader, &["config-reloader", "prometheus-config-reloader", "configmap-reload", "configmap-reloader", "config-reload", "reload", "reloader", "*-config-reloader", "*-config-reload", "*-configmap-reload", "*-configmap-reloader"], &["prometheus-config-reloader", "*-config-reloader", "configmap-reload", "*-configmap-reload*", "configmap-reloader", "config-reloader"]).one_shot(),
    product("k8s-sidecar of Grafana charts", Reloader, &["grafana-sc-*", "loki-sc-*"], &["k8s-sidecar"]).one_shot(),
    product("Certificate syncer", Reloader, &["*-cert-syncer"], &[]),
    product("Dashboard loader", Reloader, &["grafana-dashboard-loader"], &[]),
    product("NVIDIA configuration manager", Reloader, &["config-manager"], &[]).beside("nvidia-device-plugin*"),
    product("NVIDIA feature configuration", Reloader, &["config-manager"], &[]).beside("gpu-feature-discovery*"),
    product("CNI installer", Helper, &["install-cni"], &[]).one_shot(),
    product("Seldon rclone", Reloader, &[], &["seldon-rclone"]),
    product("Litestream", Helper, &["litestream"], &["litestream/litestream"]).one_shot(),
    // CSI drivers and volumes
    product("CSI driver registrar", CsiHelper, &["node-driver-registrar", "csi-node-driver-registrar", "driver-registrar", "csi-driver-registrar", "csi-registrar", "node-registrar", "registrar", "*-node-driver-registrar", "*-driver-registrar"], &["csi-node-driver-registrar", "node-driver-registrar", "*-csi-node-driver-registrar*", "driver-registrar"]),
    product("CSI liveness probe", CsiHelper, &["liveness-probe", "csi-liveness-probe", "csi-livenessprobe", "livenessprobe", "liveness-prometheus", "*-liveness-probe"], &["livenessprobe", "csi-livenessprobe", "*-livenessprobe", "*-csi-livenessprobe*"]),
    product("CSI provisioner", CsiHelper, &["csi-provisioner", "csi-external-provisioner", "external-provisioner", "*-csi-provisioner"], &["csi-provisioner", "csi-external-provisioner", "kubernetes-csi/external-provisioner", "*-csi-provisioner", "*-csi-external-provisioner*"]),
    product("CSI attacher", CsiHelper, &["csi-attacher", "csi-external-attacher", "external-attacher", "*-csi-attacher"], &["csi-attacher", "csi-external-attacher", "external-attacher", "*-csi-attacher", "*-csi-external-attacher*"]),
    product("CSI resizer", CsiHelper, &["csi-resizer", "csi-external-resizer", "external-resizer", "*-csi-resizer"], &["csi-resizer", "csi-external-resizer", "external-resizer", "*-csi-resizer", "*-csi-external-resizer*"]),
    product("CSI snapshotter", CsiHelper, &["csi-snapshotter", "csi-external-snapshotter", "external-snapshotter", "csi-snapshot-metadata", "*-csi-snapshotter"], &["csi-snapshotter", "csi-external-snapshotter", "*-csi-snapshotter", "*-csi-external-snapshotter*", "csi-snapshot-metadata"]),
    product("CSI health monitor", CsiHelper, &["csi-external-health-monitor-controller", "csi-health-monitor-controller", "csi-external-health-monitor-agent", "external-health-monitor-controller"], &["csi-external-health-monitor-controller", "csi-external-health-monitor-agent"]),
    product("CSI snapshot controller", CsiHelper, &["snapshot-controller"], &["snapshot-controller", "csi-snapshot-controller"]),
    product("CSI volume modifier", CsiHelper, &["volumemodifier"], &["volume-modifier-for-k8s"]),
    product("Dell CSI metadata retriever", CsiHelper, &["csi-metadata-retriever"], &["csi-metadata-retriever"]),
    product("Azure file share watchdog", CsiHelper, &["aznfswatchdog", "azfilesrefresh"], &[]),
    product("CSI addons", CsiHelper, &["csi-addons"], &["csiaddons/k8s-sidecar"]),
    product("CSI gRPC proxy", CsiHelper, &["csi-proxy"], &["csi-grpc-proxy"]),
    product("Cloud Storage FUSE", CsiHelper, &["gke-gcsfuse-sidecar", "gke-gcsfuse-metadata-prefetch"], &["gcs-fuse-csi-driver-sidecar-mounter", "gcs-fuse-csi-driver-metadata-prefetch"]),
    product("Fluid FUSE", CsiHelper, &["fluid-fuse", "fluid-fuse-*"], &[]),
    product("JuiceFS mount", CsiHelper, &["jfs-mount", "jfs-mount-*"], &[]),
    product("OpenShift control plane helper", Helper, &["kube-apiserver-cert-regeneration-controller", "kube-apiserver-insecure-readyz", "kube-apiserver-check-endpoints", "kube-controller-manager-recovery-controller", "kube-scheduler-recovery-controller"], &[]),
    product("OpenShift etcd helper", Helper, &["etcdctl", "etcd-metrics", "etcd-readyz", "etcd-rev", "healthz"], &[]).beside("etcd"),
    product("HyperShift readiness check", Helper, &["kas-readiness-check"], &[]),
    product("Longhorn image pull", Helper, &["pre-pull-share-manager-image"], &[]),
    // Builds, workflows and batches
    product("Script that ends sidecars", JobHelper, &["sidecar-controller"], &[]),
    product("Argo executor", JobHelper, &[], &["argoexec"]).app().outlives(),
    product("Tekton sidecar", JobHelper, &["sidecar-*"], &[]).beside("step-*"),
    product("GitLab runner helper", JobHelper, &[], &["gitlab-runner-helper"]),
    product("GitLab CI helper", JobHelper, &["helper"], &[]).beside("build"),
    product("GitLab CI service", JobHelper, &["svc-*"], &[]).beside("build"),
    product("Buildkite agent", JobHelper, &["agent"], &[]).beside("copy-agent").outlives(),
    product("Buildkite checkout", JobHelper, &["checkout"], &[]).beside("copy-agent"),
    product("Docker in Docker", JobHelper, &["dind", "dind-daemon"], &[]),
    product("Docker of a GitHub runner", JobHelper, &["docker"], &[]).beside("runner"),
    product("Ray autoscaler", JobHelper, &["autoscaler"], &[]).beside("ray-head"),
    // Databases and operators
    product("Crunchy Postgres helper", Helper, &["replication-cert-copy", "pgbackrest-config", "pgbouncer-config"], &[]),
    product("Crunchy Postgres backup", Helper, &["pgbackrest"], &[]).beside("database"),
    product("Crunchy Postgres collector", Agent, &["collector"], &[]).beside("replication-cert-copy"),
    product("Crunchy PgBouncer collector", Agent, &["collector"], &[]).beside("pgbouncer-config"),
    product("Barman Cloud plugin", Helper, &["plugin-barman-cloud"], &["plugin-barman-cloud-sidecar"]),
    product("MongoDB agent", Helper, &["mongodb-agent", "mongodb-agent-*"], &["mongodb-agent", "mongodb-agent-*"]),
    product("Percona backup agent", Helper, &["backup-agent"], &["percona-backup-mongodb"]),
    product("Percona cluster monitor", Helper, &["pxc-monit", "proxysql-monit", "mysql-monit"], &[]),
    product("Percona heartbeat", Helper, &["pt-heartbeat"], &[]),
    product("MariaDB agent", Helper, &["agent"], &[]).beside("mariadb"),
    product("VictoriaMetrics backup manager", Helper, &["vmbackuper"], &["vmbackupmanager"]),
    product("MySQL xtrabackup", Helper, &["xtrabackup"], &[]).beside("mysql"),
    product("Redis split-brain check", Helper, &["split-brain-fix"], &[]).beside("redis"),
    product("Ceph manager watcher", Helper, &["watch-active"], &[]).beside("mgr"),
    product("Medusa backup", Helper, &["medusa"], &[]).beside("cassandra"),
    product("ExternalDNS webhook provider", Helper, &["webhook"], &[]).beside("external-dns"),
    product("Argo CD plugin", Helper, &["cmp*", "avp*"], &[]).beside("argocd-repo-server"),
    product("KServe agent", Helper, &["agent"], &["kserve/agent"]).beside("kserve-container"),
    product("KServe model volume", Helper, &["modelcar", "modelcar-*"], &[]),
    product("KubeVirt image holder", Helper, &["virt-launcher-image-holder"], &[]),
    product("KubeVirt helper", Helper, &["guest-console-log", "hook-sidecar-*", "volume*", "virtiofs-*"], &[]).beside("compute"),
    // The name says it.
    product("sidecar", Helper, &[super::SIDECAR, "sidecar-container", "*-sidecar", "*-sidecar-0", "*-sidecar-1", "*-sidecar-2"], &[]),
];
