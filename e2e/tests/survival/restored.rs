//! A restore of etcd, after which all resource versions are lower than before. The operator watches with streaming lists and
//! in the whole cluster, without a proxy.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::metrics::samples;
use e2e::operator::Operator;
use e2e::poll::eventually;
use e2e::process::last_lines;
use e2e::simulated_kubelet::{Container, PodSpec, SimulatedKubelet, SimulatedPod, Step};
use e2e::{ControlPlane, TokenKubeconfig};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::{Api, Client};
use libtest_mimic::Trial;
use serde_json::{Value, json};
use sidewatch::api::{ClusterSidecarPolicy, SidecarPolicy};

use super::{outage, test};

/// From a change until metrics and statuses show it: the back-off after the outage, and the shortest time between two
/// writes of a status. It is shorter than a watch, whose end would not repair anything.
const SOON: Duration = Duration::from_secs(45);
/// Writes between the backup and the restore, so that the versions of the restored cluster stay lower for the whole test.
const WRITES: usize = 500;

pub(crate) fn tests() -> Vec<Trial> {
    vec![test("etcd_restored_from_a_backup", restored)]
}

/// From the backup on, policies, namespaces and Pods change. After the restore they are as in the backup, and change again.
async fn restored() -> Result<()> {
    let mut setup = Setup::start().await?;
    let mut recovers = setup.unready("recovers").await?;
    let stays = setup.unready("stays").await?;
    setup.local_policy("Warning").await?;
    setup.team_policy().await?;
    setup.label("old").await?;
    let before = [
        "local recovers warning",
        "local stays warning",
        "team recovers info",
        "team stays info",
    ];
    setup.shows(&before).await?;
    let backup = setup.plane.back_up()?;

    recovers.step(Step::Ready("proxy")).await?;
    stays.remove_now().await?;
    setup.unready("new").await?;
    setup.local_policy("Critical").await?;
    setup.shows(&["local new critical", "team new info"]).await?;
    setup.label("none").await?;
    setup.shows(&["local new critical"]).await?;
    let highest = setup.write_often().await?;

    setup.plane.restore(&backup).await?;
    setup.shows(&before).await?;

    // The versions of these changes are lower than those before the restore.
    setup.unready("later").await?;
    recovers
        .together(&[Step::Unready("proxy"), Step::Ready("proxy")])
        .await?;
    setup
        .shows(&[
            "local later warning",
            "local stays warning",
            "team later info",
            "team stays info",
        ])
        .await?;
    setup.local_policy("Info").await?;
    setup.label("none").await?;
    setup.shows(&["local later info", "local stays info"]).await?;
    let policies: Api<SidecarPolicy> = Api::namespaced(setup.client.clone(), &setup.namespace);
    policies.delete("local", &DeleteParams::default()).await?;
    setup.shows(&[]).await?;
    let version = setup.write().await?;
    ensure!(version < highest, "version {version} is not below {highest}");
    setup.plane.stop()
}

struct Setup {
    plane: ControlPlane,
    operator: Operator,
    _kubeconfig: TokenKubeconfig,
    client: Client,
    kubelet: SimulatedKubelet,
    namespace: String,
}

impl Setup {
    async fn start() -> Result<Self> {
        let plane = outage::start().await?;
        let (operator, kubeconfig) = Operator::install(&plane).await?;
        let client = plane.client().await?;
        Ok(Self {
            namespace: plane.namespace("restored").await?,
            kubelet: SimulatedKubelet::new(client.clone()),
            plane,
            operator,
            _kubeconfig: kubeconfig,
            client,
        })
    }

    /// Creates a Pod with an unready sidecar.
    async fn unready(&self, name: &str) -> Result<SimulatedPod> {
        let spec = PodSpec::new(name)
            .container(Container::native("proxy").readiness_probe())
            .container(Container::regular("app").readiness_probe())
            .on_node("node-1");
        let mut pod = self.kubelet.create(&self.namespace, spec.clone()).await?;
        pod.together(&spec.healthy_start()).await?;
        pod.step(Step::Unready("proxy")).await?;
        Ok(pod)
    }

    async fn local_policy(&self, severity: &str) -> Result<()> {
        let policy = json!({
            "apiVersion": "sidewatch.dev/v1alpha1", "kind": "SidecarPolicy",
            "metadata": {"name": "local", "namespace": self.namespace}, "spec": {"checks": checks(severity)},
        });
        self.plane.apply(&policy.to_string()).await
    }

    /// A policy for the namespaces with the label `tier: old`.
    async fn team_policy(&self) -> Result<()> {
        let selector = json!({"matchLabels": {"tier": "old"}});
        let policy = json!({
            "apiVersion": "sidewatch.dev/v1alpha1", "kind": "ClusterSidecarPolicy", "metadata": {"name": "team"},
            "spec": {"namespaceSelector": selector, "checks": checks("Info")},
        });
        self.plane.apply(&policy.to_string()).await
    }

    async fn label(&self, tier: &str) -> Result<()> {
        let label = format!("label namespace {} tier={tier} --overwrite", self.namespace);
        self.plane.kubectl_line(&label).await.map(drop)
    }

    /// Writes an object, and returns its version.
    async fn write(&self) -> Result<u64> {
        let maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), &self.namespace);
        let map = json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "counter"},
            "data": {"now": Timestamp::now().to_string()},
        });
        let params = PatchParams::apply("e2e").force();
        let written = maps.patch("counter", &params, &Patch::Apply(map)).await?;
        let version = written.metadata.resource_version.context("no version")?;
        Ok(version.parse()?)
    }

    /// Writes many times, and returns the last version.
    async fn write_often(&self) -> Result<u64> {
        for _ in 1..WRITES {
            self.write().await?;
        }
        self.write().await
    }

    /// Waits until metrics and statuses show exactly these violations, as policy, Pod and severity.
    async fn shows(&self, expected: &[&str]) -> Result<()> {
        let shown = eventually(SOON, async || {
            let metrics = self.operator.metrics().await?;
            let mut found: Vec<String> = samples(&metrics)?
                .into_iter()
                .filter(|sample| sample.matches("sidewatch_violation", &[]))
                .map(|sample| {
                    ["policy", "pod", "severity"]
                        .map(|label| sample.label(label))
                        .join(" ")
                })
                .collect();
            found.sort_unstable();
            ensure!(found == expected, "the metrics show {found:?}, not {expected:?}");
            let statuses = self.statuses().await?;
            ensure!(
                statuses == expected,
                "the statuses show {statuses:?}, not {expected:?}"
            );
            Ok(())
        });
        shown.await.with_context(|| {
            let log = self.operator.log().unwrap_or_default();
            format!("the log ends with:\n{}\n", last_lines(&log, 40))
        })
    }

    /// The violations in the statuses of both policies.
    async fn statuses(&self) -> Result<Vec<String>> {
        let local: Api<SidecarPolicy> = Api::namespaced(self.client.clone(), &self.namespace);
        let team: Api<ClusterSidecarPolicy> = Api::all(self.client.clone());
        let local = local.get_opt("local").await?.and_then(|policy| policy.status);
        let team = team.get_opt("team").await?.and_then(|policy| policy.status);
        let mut found = Vec::new();
        for (policy, status) in [("local", local), ("team", team)] {
            let violations = status.map(|status| status.violations).unwrap_or_default();
            found.extend(violations.into_iter().map(|violation| {
                let severity = format!("{:?}", violation.severity).to_lowercase();
                format!("{policy} {} {severity}", violation.pod)
            }));
        }
        found.sort_unstable();
        Ok(found)
    }
}

/// Only NotReady.
fn checks(severity: &str) -> Value {
    json!({
        "notReady": {"for": "1s", "keepFiringFor": "0s", "severity": severity},
        "mainReadySidecarNotReady": {"mode": "Off"},
        "flapping": {"mode": "Off"},
    })
}
