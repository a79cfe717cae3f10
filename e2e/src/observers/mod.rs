//! kube-state-metrics, Prometheus and two sets of alerts on a node with Sidewatch.
//!
//! ```text
//! kube-state-metrics ─┐                 ┌─ the three common alerts          config/prometheus/tests/originals.yaml
//!                     ├─ Prometheus ────┤
//! Sidewatch's Pod ────┘                 └─ the alerts that we ship          config/prometheus/rules.yaml
//!                            │
//!              alerts()   every Alert and when it fired
//!                ├─ check_shipped()   differences between the shipped alerts and the scenarios
//!                └─ page()            Markdown that compares both sets
//! ```
//!
//! Does not change the cluster.

mod alerts;
mod check;
mod comparison;
mod outcome;
pub mod prometheus;
mod setup;
#[cfg(test)]
mod testing;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use serde::Deserialize;

use crate::kube_state_metrics;
use crate::node::Node;
use crate::poll::eventually;
use crate::process::Process;
use crate::scenario::Scenario;
pub use alerts::{Alert, Series, Source};
pub use check::check_shipped;
pub use comparison::{page, unexplained};
use prometheus::Prometheus;

const KUBE_STATE_METRICS: &str = "kube-state-metrics";
const SIDEWATCH: &str = "sidewatch-system/sidewatch";
/// Interval of the samples of [`Observers::alerts`] and [`Observers::series`].
const STEP: Duration = Duration::from_secs(1);
const CAUGHT_UP_WITHIN: Duration = Duration::from_mins(2);

/// Durations of the alerts and intervals of Prometheus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timing {
    /// Alerts as published; scrapes and evaluations every 5 s.
    Real,
    /// Durations of the common alerts divided by 20, as in the policy of the scenarios; scrapes and evaluations every second.
    Fast,
}

impl Timing {
    /// Interval of scrapes and evaluations.
    pub fn interval(self) -> Duration {
        Duration::from_secs(match self {
            Self::Real => 5,
            Self::Fast => 1,
        })
    }
}

/// A scenario and the time in which alerts count.
#[derive(Debug, Clone, Copy)]
pub struct ObservedRun<'a> {
    /// The scenario.
    pub scenario: &'a Scenario,
    /// When its objects were applied.
    pub started: Timestamp,
    /// Alerts after this time do not count. A result of [`Observers::catch_up`].
    pub ended: Timestamp,
}

/// A scrape target.
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

/// A rule group.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Group {
    #[expect(dead_code, reason = "for messages")]
    name: String,
    last_evaluation: Timestamp,
}

/// Running observers. Dropping the handle stops them.
#[derive(Debug)]
#[must_use]
pub struct Observers {
    prometheus: Prometheus,
    kube_state_metrics: Process,
    interval: Duration,
}

impl Observers {
    /// Starts them and waits until they have scraped the Pods and the operator, which must be installed.
    pub async fn start(node: &Node, timing: Timing) -> Result<Self> {
        let log = node.plane.dir().join("kube-state-metrics.log");
        let kubeconfig = node.plane.kubeconfig_path();
        let (kube_state_metrics, port) = kube_state_metrics::start(kubeconfig, &[], &log).await?;
        let scrape = [setup::kube_state_metrics(port), setup::operator(kubeconfig)];
        let observers = Self {
            prometheus: Prometheus::start_with(&scrape, &setup::rules(timing)?, timing.interval()).await?,
            kube_state_metrics,
            interval: timing.interval(),
        };
        observers.catch_up().await?;
        Ok(observers)
    }

    /// Waits until the current state of the cluster has been scraped and evaluated, and returns a time after that.
    ///
    /// Call it before something ends for which an alert must have fired, and before [`Self::alerts`]. The Pod of the operator
    /// must be running, or start within two minutes.
    pub async fn catch_up(&self) -> Result<Timestamp> {
        let now = Timestamp::now();
        let caught_up = async {
            // Not in one step: every attempt would require the evaluation of another scrape.
            let scraped = eventually(CAUGHT_UP_WITHIN, || self.scraped_since(now)).await?;
            // An evaluation uses a time up to two intervals before it starts.
            let due = scraped + 2 * self.interval;
            eventually(CAUGHT_UP_WITHIN, || self.evaluated_since(due)).await
        };
        caught_up.await.with_context(|| {
            let log = self.kube_state_metrics.log_tail();
            format!("Prometheus does not catch up; the log of kube-state-metrics ends with:\n{log}\n")
        })?;
        Ok(Timestamp::now())
    }

    /// Time of the last scrape; an error until all targets have been scraped after `time`.
    async fn scraped_since(&self, time: Timestamp) -> Result<Timestamp> {
        let targets: Vec<Target> = self
            .prometheus
            .get("targets?state=active", "activeTargets")
            .await?;
        let mut last_scrape = time;
        for job in [KUBE_STATE_METRICS, SIDEWATCH] {
            let of_job: Vec<_> = targets.iter().filter(|target| target.labels.job == job).collect();
            ensure!(!of_job.is_empty(), "{job} is not a target");
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

    /// The series of an expression, with a sample for each second from `from` to `to`.
    pub async fn series(&self, expression: &str, from: Timestamp, to: Timestamp) -> Result<Vec<Series>> {
        self.prometheus.query_range(expression, from, to, STEP).await
    }

    /// All alerts that were pending or fired between these times.
    pub async fn alerts(&self, from: Timestamp, to: Timestamp) -> Result<Vec<Alert>> {
        // In whole steps back from `to`, so that the last sample is at `to`.
        let steps = to.duration_since(from).as_secs();
        let series = self
            .prometheus
            .query_range("ALERTS", to - Duration::from_secs(steps.unsigned_abs()), to, STEP)
            .await?;
        alerts::from_series(series, STEP)
    }
}
