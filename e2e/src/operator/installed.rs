//! The operator as users install it: by its chart, as a Deployment, in a namespace that enforces restricted Pod Security.
//!
//! The nodes of the cluster must have the [`images`](crate::images). All access goes through the API server, so it works on
//! any cluster. The release stays when the handle is dropped.

use std::fmt;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::ListParams;

use super::helm::{CHART, Helm, NAMESPACE, RELEASE};
use crate::Cluster;
use crate::images::OPERATOR;
use crate::metrics::value;
use crate::tools::Tool;

/// Port of `/metrics` in the chart.
pub(crate) const METRICS_PORT: u16 = 8080;

const RESTRICTED: &str = r"
apiVersion: v1
kind: Namespace
metadata:
  name: sidewatch-system
  labels:
    pod-security.kubernetes.io/enforce: restricted
";

/// A release of the chart whose Pod is ready.
#[derive(Debug)]
pub struct Installed {
    cluster: Cluster,
    ready_after: Duration,
}

/// Memory of the operator, in MiB.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Memory {
    /// `process_resident_memory_bytes`, which includes pages of the binary.
    pub resident: f64,
    /// `container_memory_working_set_bytes` of the kubelet, which counts against the limit; `None` before its first sample.
    pub working_set: Option<f64>,
}

impl Installed {
    /// Installs the chart with the image of this work tree, or upgrades an existing release, and waits until a new Pod is
    /// ready. There is one replica: scenarios and figures are about a single Pod.
    pub async fn by_helm(cluster: &Cluster) -> Result<Self> {
        Self::with_replicas(cluster, 1).await
    }

    /// The same with this number of replicas.
    pub async fn with_replicas(cluster: &Cluster, replicas: u32) -> Result<Self> {
        let helm = Helm::on(cluster, Tool::Helm).await?;
        cluster.apply(RESTRICTED).await?;
        let (repository, tag) = OPERATOR.rsplit_once(':').context("an image without a tag")?;
        // Forces a new Pod: the image of the tag may have changed.
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)?
            .as_millis();
        let values = format!(
            "image.repository={repository},image.tag={tag},image.pullPolicy=Never,replicas={replicas},\
             podAnnotations.installed=at-{now}"
        );
        let start = Instant::now();
        let upgrade = ["upgrade", "--install", RELEASE, CHART, "--namespace", NAMESPACE];
        helm.run(&[&upgrade[..], &["--set", &values]].concat()).await?;
        let mut installed = Self {
            cluster: cluster.clone(),
            ready_after: Duration::ZERO,
        };
        installed.wait_until_rolled_out().await?;
        installed.ready_after = start.elapsed();
        Ok(installed)
    }

    /// Upgrades the release with one changed value, such as `image.tag=next`, and waits until the new Pods have replaced the
    /// old ones.
    pub async fn upgrade(&self, value: &str) -> Result<()> {
        let helm = Helm::on(&self.cluster, Tool::Helm).await?;
        let upgrade = ["upgrade", RELEASE, CHART, "--namespace", NAMESPACE];
        helm.run(&[&upgrade[..], &["--reuse-values", "--set", value]].concat())
            .await?;
        self.wait_until_rolled_out().await
    }

    /// Waits until all replicas run the current template and are ready.
    pub async fn wait_until_rolled_out(&self) -> Result<()> {
        let status = format!("rollout status deployment/{RELEASE} --timeout=2m");
        match self.kubectl(&status).await {
            Ok(_) => Ok(()),
            Err(error) => Err(error).context(self.state().await),
        }
    }

    /// Time from the start of Helm until the Deployment was rolled out.
    pub fn ready_after(&self) -> Duration {
        self.ready_after
    }

    /// Name of the current Pod.
    pub async fn pod(&self) -> Result<String> {
        let pod = self.current().await?;
        pod.metadata.name.context("a Pod without a name")
    }

    /// Names of the Pods without a deletion timestamp.
    pub async fn pods(&self) -> Result<Vec<String>> {
        let pods = self.living().await?;
        Ok(pods.into_iter().filter_map(|pod| pod.metadata.name).collect())
    }

    /// `holderIdentity` of the Lease: the name of a Pod, `_`, and a part that each process chooses. `None` if the Lease is
    /// released.
    pub async fn lease_holder(&self) -> Result<Option<String>> {
        let leases: Api<Lease> = Api::namespaced(self.cluster.client().await?, NAMESPACE);
        let spec = leases.get(RELEASE).await?.spec.unwrap_or_default();
        Ok(spec.holder_identity.filter(|holder| !holder.is_empty()))
    }

    /// `HOST:PORT` of the metrics in the Pod network.
    pub async fn metrics_address(&self) -> Result<String> {
        let status = self.current().await?.status.unwrap_or_default();
        let ip = status.pod_ip.context("the Pod has no address")?;
        Ok(format!("{ip}:{METRICS_PORT}"))
    }

    /// Body of `/metrics`, through the API server. Rendered after the call, as in [`super::Operator::metrics`].
    pub async fn metrics(&self) -> Result<String> {
        tokio::time::sleep(super::PAGE_AGE).await;
        let pod = self.pod().await?;
        let path = format!("/api/v1/namespaces/{NAMESPACE}/pods/{pod}:{METRICS_PORT}/proxy/metrics");
        self.cluster.kubectl_line(&format!("get --raw {path}")).await
    }

    /// Log of the current Pod, in lines of JSON.
    pub async fn log(&self) -> Result<String> {
        self.kubectl(&format!("logs {}", self.pod().await?)).await
    }

    /// Current memory.
    pub async fn memory(&self) -> Result<Memory> {
        let resident = mebibytes(&self.metrics().await?, "process_resident_memory_bytes", &[])?;
        Ok(Memory {
            resident: resident.context("no process_resident_memory_bytes")?,
            working_set: self.working_set().await?,
        })
    }

    /// Working set of the container, as the kubelet reports it.
    async fn working_set(&self) -> Result<Option<f64>> {
        let pod = self.current().await?;
        let name = pod.metadata.name.context("a Pod without a name")?;
        let node = pod.spec.and_then(|spec| spec.node_name);
        let node = node.with_context(|| format!("Pod {name} is on no node"))?;
        let path = format!("/api/v1/nodes/{node}/proxy/metrics/resource");
        let metrics = self.cluster.kubectl_line(&format!("get --raw {path}")).await?;
        let labels = [
            ("container", "sidewatch"),
            ("namespace", NAMESPACE),
            ("pod", &name),
        ];
        mebibytes(&metrics, "container_memory_working_set_bytes", &labels)
    }

    /// A Pod without a deletion timestamp.
    async fn current(&self) -> Result<Pod> {
        let living = self.living().await?.into_iter().next();
        living.context("the operator has no Pod")
    }

    /// The Pods without a deletion timestamp.
    async fn living(&self) -> Result<Vec<Pod>> {
        let pods: Api<Pod> = Api::namespaced(self.cluster.client().await?, NAMESPACE);
        let ours = ListParams::default().labels(&format!("app.kubernetes.io/instance={RELEASE}"));
        let pods = pods.list(&ours).await?;
        let is_living = |pod: &Pod| pod.metadata.deletion_timestamp.is_none();
        Ok(pods.into_iter().filter(is_living).collect())
    }

    /// Pods, Events and log, for an error message.
    async fn state(&self) -> String {
        let mut state = String::from("the operator does not become ready");
        let logs = format!("logs deployment/{RELEASE} --tail=20");
        for line in ["get pods,events", &logs] {
            let printed = self.kubectl(line).await.unwrap_or_else(|error| error.to_string());
            state = format!("{state}\n{}", printed.trim());
        }
        state
    }

    async fn kubectl(&self, line: &str) -> Result<String> {
        let line = format!("{line} --namespace {NAMESPACE}");
        self.cluster.kubectl_line(&line).await
    }
}

impl Memory {
    /// The larger of the two.
    pub fn most(&self) -> f64 {
        self.resident.max(self.working_set.unwrap_or_default())
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1} MiB resident, ", self.resident)?;
        match self.working_set {
            Some(mebibytes) => write!(f, "{mebibytes:.1} MiB working set"),
            None => f.write_str("working set unknown"),
        }
    }
}

/// Value of a series in bytes, converted to MiB.
fn mebibytes(metrics: &str, metric: &str, labels: &[(&str, &str)]) -> Result<Option<f64>> {
    let bytes = value(metrics, metric, labels)?;
    Ok(bytes.map(|bytes| bytes / f64::from(1 << 20)))
}
