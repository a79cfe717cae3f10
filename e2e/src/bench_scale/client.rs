//! The clients under test: the operator and kube-state-metrics.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use hyper::body::Bytes;
use tokio::time::sleep;

use super::population::Population;
use crate::ControlPlane;
use crate::http;
use crate::kube_state_metrics;
use crate::metrics;
use crate::operator::{Answer, Operator};
use crate::process::Process;
use crate::process::stats::cpu_seconds;

const IN_SYNC_WITHIN: Duration = Duration::from_mins(10);
const STOP_WITHIN: Duration = Duration::from_secs(30);
/// How the replicas of one installation are started.
const ELECTION: [&str; 2] = ["--leader-elect", "--operator-namespace=default"];
/// The metrics that the usual alerts about sidecars need.
const ALLOWED_METRICS: [&str; 5] = [
    "kube_pod_container_status_ready",
    "kube_pod_container_status_restarts_total",
    "kube_pod_init_container_status_ready",
    "kube_pod_init_container_status_restarts_total",
    "kube_pod_init_container_info",
];

/// A client under test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientKind {
    /// The operator.
    Sidewatch,
    /// The second replica of the operator, beside a leader that is in sync.
    Standby,
    /// kube-state-metrics, with Pods and five metrics only.
    KubeStateMetrics,
}

impl ClientKind {
    /// All, in the order in which they run.
    pub const ALL: [Self; 3] = [Self::Sidewatch, Self::Standby, Self::KubeStateMetrics];

    /// The name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sidewatch => "Sidewatch",
            Self::Standby => "second replica",
            Self::KubeStateMetrics => "kube-state-metrics",
        }
    }
}

/// A running client. Dropping it kills it.
pub(super) enum RunningClient {
    Sidewatch(Operator),
    KubeStateMetrics { process: Process, address: String },
}

/// One scrape.
pub(super) struct Scrape {
    pub(super) body: Bytes,
    pub(super) began: Instant,
    pub(super) ended: Instant,
}

impl Scrape {
    pub(super) fn text(&self) -> Result<&str> {
        Ok(std::str::from_utf8(&self.body)?)
    }
}

/// When a client was in sync.
pub(super) struct InSync {
    pub(super) at: Instant,
    /// CPU seconds of the client until then.
    pub(super) cpu: f64,
    /// The first scrape with all series.
    pub(super) scrape: Scrape,
}

impl RunningClient {
    /// Starts the client. All use the same kubeconfig.
    pub(super) async fn start(plane: &ControlPlane, kind: ClientKind) -> Result<Self> {
        match kind {
            ClientKind::Sidewatch => start_operator(plane, &[]).await.map(Self::Sidewatch),
            ClientKind::Standby => start_operator(plane, &ELECTION).await.map(Self::Sidewatch),
            ClientKind::KubeStateMetrics => start_kube_state_metrics(plane).await,
        }
    }

    pub(super) fn pid(&mut self) -> u32 {
        match self {
            Self::Sidewatch(operator) => operator.process().id(),
            Self::KubeStateMetrics { process, .. } => process.id(),
        }
    }

    pub(super) async fn scrape(&self) -> Result<Scrape> {
        let address = match self {
            Self::Sidewatch(operator) => operator.metrics_address(),
            Self::KubeStateMetrics { address, .. } => address,
        };
        let began = Instant::now();
        let body = http::get_bytes(address, "/metrics").await?;
        Ok(Scrape {
            body,
            began,
            ended: Instant::now(),
        })
    }

    /// Waits until the client has all Pods.
    ///
    /// The operator reports this itself. kube-state-metrics does not: it is in sync when it used its last CPU time before
    /// the first scrape that has all series, as scrapes in between would cost it CPU time.
    pub(super) async fn wait_until_in_sync(&mut self, population: Population) -> Result<InSync> {
        let pid = self.pid();
        match self {
            Self::Sidewatch(operator) => {
                wait_until_ready(operator, Duration::from_millis(20)).await?;
                let at = Instant::now();
                let cpu = cpu_seconds(pid)?;
                let scrape = self.scrape().await?;
                let tracked = metrics::value(scrape.text()?, "sidewatch_tracked_pods", &[])?;
                ensure!(
                    tracked == Some(f64::from(population.pods)),
                    "the operator is ready, and tracks {tracked:?} Pods"
                );
                Ok(InSync { at, cpu, scrape })
            }
            Self::KubeStateMetrics { .. } => {
                let deadline = Instant::now() + IN_SYNC_WITHIN;
                loop {
                    let (at, cpu) = self.wait_until_quiet(deadline).await?;
                    let scrape = self.scrape().await?;
                    if metrics::samples(scrape.text()?)?.len() >= population.kube_state_metrics_series() {
                        return Ok(InSync { at, cpu, scrape });
                    }
                }
            }
        }
    }

    /// Waits until the client uses no CPU time for a moment; returns when it used the last, and how much it used in all.
    async fn wait_until_quiet(&mut self, deadline: Instant) -> Result<(Instant, f64)> {
        const INTERVAL: Duration = Duration::from_millis(100);
        let (mut at, mut cpu, mut quiet) = (Instant::now(), 0.0, 0);
        while quiet < 4 {
            if Instant::now() > deadline {
                bail!("not in sync within {IN_SYNC_WITHIN:?}");
            }
            sleep(INTERVAL).await;
            let now = cpu_seconds(self.pid())?;
            if now - cpu > 0.01 {
                (at, quiet) = (Instant::now(), 0);
            } else if now > 0.1 {
                quiet += 1;
            }
            cpu = now;
        }
        Ok((at, cpu))
    }

    /// Ends the client (SIGTERM).
    pub(super) async fn stop(self) -> Result<()> {
        match self {
            Self::Sidewatch(operator) => operator.stop().await.map(drop),
            Self::KubeStateMetrics { mut process, .. } => process.terminate(STOP_WITHIN).await.map(drop),
        }
    }
}

/// Starts the leader that a client of this kind needs, and waits until it is in sync.
pub(super) async fn start_leader(plane: &ControlPlane, kind: ClientKind) -> Result<Option<Operator>> {
    if kind != ClientKind::Standby {
        return Ok(None);
    }
    let mut leader = start_operator(plane, &ELECTION).await?;
    wait_until_ready(&mut leader, Duration::from_millis(100)).await?;
    Ok(Some(leader))
}

async fn start_operator(plane: &ControlPlane, flags: &[&str]) -> Result<Operator> {
    let flags = [&["--log-level=warn"], flags].concat();
    // Each scrape is rendered, as kube-state-metrics does.
    let env = [("SIDEWATCH_PAGE_AGE_MS", "0")];
    Operator::start_with_env(plane, plane.kubeconfig_path(), &flags, &env).await
}

async fn start_kube_state_metrics(plane: &ControlPlane) -> Result<RunningClient> {
    let allowed = ALLOWED_METRICS.map(|metric| format!("^{metric}$")).join(",");
    let log = plane
        .dir()
        .join(format!("{}.log", plane.unique("kube-state-metrics")));
    let flags = [format!("--metric-allowlist={allowed}")];
    let (process, port) = kube_state_metrics::start(plane.kubeconfig_path(), &flags, &log).await?;
    Ok(RunningClient::KubeStateMetrics {
        process,
        address: format!("127.0.0.1:{port}"),
    })
}

/// Waits until `/readyz` answers 200, and asks at this interval.
pub(super) async fn wait_until_ready(operator: &mut Operator, interval: Duration) -> Result<()> {
    let deadline = Instant::now() + IN_SYNC_WITHIN;
    while !matches!(operator.readyz().await, Ok(Answer { status: 200, .. })) {
        let process = operator.process();
        if let Some(status) = process.try_wait()? {
            bail!("the operator ended ({status}):\n{}", process.log_tail());
        }
        if Instant::now() > deadline {
            bail!(
                "the operator is not ready within {IN_SYNC_WITHIN:?}:\n{}",
                process.log_tail()
            );
        }
        sleep(interval).await;
    }
    Ok(())
}
