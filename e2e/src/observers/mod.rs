//! What people have who watch a cluster: kube-state-metrics, Prometheus, and alerts. Two sets of them, side by side.
//!
//! ```text
//! kube-state-metrics ─┐                 ┌─ the three common alerts          config/prometheus/tests/originals.yaml
//!                     ├─ Prometheus ────┤
//! Sidewatch's Pod ────┘                 └─ the alerts that we ship          config/prometheus/rules.yaml
//!                            │
//!              alerts()   every Alert, with the times at which it fired
//!                ├─ check_shipped()   errors, when ours are not what the scenarios expect
//!                └─ page()            Markdown that says who saw what
//! ```
//!
//! Input: a node on which Sidewatch is installed. Output: alerts, and what they mean. Must not: change the cluster.

mod alerts;
mod check;
mod comparison;
mod setup;
#[cfg(test)]
mod testing;
mod verdict;

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use jiff::Timestamp;
use serde::Deserialize;

use crate::control_plane::free_ports;
use crate::node::Node;
use crate::process::{Process, Spec};
use crate::prometheus::Prometheus;
use crate::scenario::Scenario;
use crate::tools::{self, Tool};
pub use alerts::{Alert, Source};
pub use check::check_shipped;
pub use comparison::page;

const KUBE_STATE_METRICS: &str = "kube-state-metrics";
const SIDEWATCH: &str = "sidewatch-system/sidewatch";
const CAUGHT_UP_WITHIN: Duration = Duration::from_mins(2);
const POLL: Duration = Duration::from_millis(200);

/// How fast the observers are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timing {
    /// The common alerts as they are published; a look every 5 s.
    Real,
    /// The durations in the common alerts are a twentieth, as in the policy of the scenarios; a look every second.
    Hurried,
}

impl Timing {
    /// How long it is between two scrapes, and between two evaluations.
    pub fn every(self) -> Duration {
        Duration::from_secs(match self {
            Self::Real => 5,
            Self::Hurried => 1,
        })
    }
}

/// A scenario that happened under their eyes.
#[derive(Debug, Clone, Copy)]
pub struct Played<'a> {
    /// Which.
    pub scenario: &'a Scenario,
    /// When its objects had been applied.
    pub began: Timestamp,
    /// When it was last looked at: what comes after is not held against anybody. [`Observers::catch_up`] returned it.
    pub until: Timestamp,
}

/// Something that Prometheus scrapes.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Target {
    labels: TargetLabels,
    health: String,
    last_scrape: Timestamp,
}

#[derive(Debug, Deserialize)]
struct TargetLabels {
    job: String,
}

/// A group of rules.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Group {
    #[expect(dead_code, reason = "for messages")]
    name: String,
    last_evaluation: Timestamp,
}

/// Running observers. Dropping them ends them.
#[derive(Debug)]
#[must_use]
pub struct Observers {
    prometheus: Prometheus,
    kube_state_metrics: Process,
    every: Duration,
}

impl Observers {
    /// Starts them, and returns when they have seen the Pods and the operator, which must be installed by now.
    pub async fn start(node: &Node, timing: Timing) -> Result<Self> {
        let (port, telemetry_port) = free_ports()?;
        let paths = tokio::task::spawn_blocking(|| tools::ensure(&[Tool::KubeStateMetrics])).await??;
        let command = Spec::new(paths.path(Tool::KubeStateMetrics)?)
            .arg(format!("--kubeconfig={}", node.plane.kubeconfig_path().display()))
            // all that the common alerts need
            .arg("--resources=pods")
            .arg(format!("--host={}", Ipv4Addr::LOCALHOST))
            .arg(format!("--port={port}"))
            .arg(format!("--telemetry-host={}", Ipv4Addr::LOCALHOST))
            .arg(format!("--telemetry-port={telemetry_port}"));
        let kube_state_metrics = Process::start(&command, &node.plane.dir().join("kube-state-metrics.log"))?;
        let scrape = [
            setup::kube_state_metrics(port),
            setup::operator(node.plane.kubeconfig_path()),
        ];
        let observers = Self {
            prometheus: Prometheus::start_with(&scrape, &setup::rules(timing)?, timing.every()).await?,
            kube_state_metrics,
            every: timing.every(),
        };
        observers.catch_up().await?;
        Ok(observers)
    }

    /// Waits until what is in the cluster now has been scraped and evaluated, and returns a time at which it had been.
    ///
    /// Call it before something ends that an alert must have been seen of, and before [`Self::alerts`]. The operator's Pod
    /// must be up, or come up within two minutes.
    pub async fn catch_up(&self) -> Result<Timestamp> {
        let asked = Timestamp::now();
        let deadline = Instant::now() + CAUGHT_UP_WITHIN;
        let scraped = loop {
            match self.scraped_since(asked).await {
                Ok(last) => break last,
                Err(error) => self.wait(error, deadline).await?,
            }
        };
        // An evaluation is made for a time up to two intervals before it begins.
        let due = scraped + 2 * self.every;
        while let Err(error) = self.evaluated_since(due).await {
            self.wait(error, deadline).await?;
        }
        Ok(Timestamp::now())
    }

    /// A moment for what has not come about yet.
    async fn wait(&self, awaited: anyhow::Error, deadline: Instant) -> Result<()> {
        if Instant::now() > deadline {
            let log = self.kube_state_metrics.log_tail();
            return Err(awaited.context(format!(
                "Prometheus does not catch up; the log of kube-state-metrics ends with:\n{log}\n"
            )));
        }
        tokio::time::sleep(POLL).await;
        Ok(())
    }

    /// The time of the last scrape, when everything has been scraped since then.
    async fn scraped_since(&self, time: Timestamp) -> Result<Timestamp> {
        let targets: Vec<Target> = self
            .prometheus
            .get("targets?state=active", "activeTargets")
            .await?;
        let mut last_scrape = time;
        for job in [KUBE_STATE_METRICS, SIDEWATCH] {
            let of_job: Vec<_> = targets.iter().filter(|target| target.labels.job == job).collect();
            ensure!(!of_job.is_empty(), "{job} is no target yet");
            for target in of_job {
                let scraped = target.health == "up" && target.last_scrape > time;
                ensure!(scraped, "not scraped: {target:?}");
                last_scrape = last_scrape.max(target.last_scrape);
            }
        }
        Ok(last_scrape)
    }

    async fn evaluated_since(&self, time: Timestamp) -> Result<()> {
        for group in self.prometheus.get::<Vec<Group>>("rules", "groups").await? {
            ensure!(group.last_evaluation > time, "not evaluated: {group:?}");
        }
        Ok(())
    }

    /// Every alert that was pending or fired between these times.
    pub async fn alerts(&self, from: Timestamp, to: Timestamp) -> Result<Vec<Alert>> {
        let step = Duration::from_secs(1);
        // In whole steps back from `to`, so that the last look is at `to` itself.
        let steps = to.duration_since(from).as_secs();
        let series = self
            .prometheus
            .query_range("ALERTS", to - Duration::from_secs(steps.unsigned_abs()), to, step)
            .await?;
        alerts::from_series(series, step)
    }
}
