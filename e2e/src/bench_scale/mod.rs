//! Benchmark of the operator and kube-state-metrics on a cluster with many Pods.
//!
//! ```text
//! pods ─ template ─▶ seed ─▶ etcd          Pods that no client had to create
//!                              │
//!                        kube-apiserver ◀── status_updates
//!                              │
//!                     client (one at a time)
//!                              │
//!        process::stats, api_server_stats ─▶ measure ─▶ figures ─▶ report
//! ```
//!
//! Input: [`Options`]. Output: a [`Report`] with every figure of every run, and a table of the medians.
//! Each client runs alone, the clients alternate. Everything is on loopback and ends with the future of [`run`].

mod api_server_stats;
mod client;
mod commands;
mod etcd;
mod figures;
mod latency;
mod mass_fault;
mod measure;
mod pods;
mod population;
mod report;
mod seed;
mod status_updates;
mod template;

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::operator::{Operator, binary, install_crds};
use crate::process::programs::say;
use crate::{ControlPlane, tools};
pub use client::ClientKind;
pub use commands::{CommandCost, commands, table};
pub use figures::{Figure, Run};
pub use mass_fault::{MassFault, mass_fault};
pub use report::{Report, Versions};

const TOPIC: &str = "bench-scale";
const EMPTY_STARTS: usize = 5;
/// The policy that the operator evaluates during the whole benchmark.
const POLICY: &str =
    "{apiVersion: sidewatch.dev/v1alpha1, kind: ClusterSidecarPolicy, metadata: {name: all}, spec: {}}";

/// Size and length of the benchmark.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Number of Pods in the cluster.
    pub pods: u32,
    /// Number of runs per client.
    pub runs: usize,
    /// Number of status updates per run.
    pub updates: u32,
    /// Number of status changes per run whose latency is measured.
    pub probes: u32,
    /// Number of scrapes per run.
    pub scrapes: usize,
}

/// Seeds the cluster, measures each client in turn, and returns the figures. Prints each run as one line of JSON.
pub async fn run(options: Options) -> Result<Report> {
    let binary = binary().await?;
    let tools = [tools::Tool::KubeStateMetrics];
    tokio::task::spawn_blocking(move || tools::ensure(&tools)).await??;
    let mut plane = ControlPlane::start().await?;
    install_crds(&plane).await?;
    plane.apply(POLICY).await?;
    let versions = Versions::collect(&plane, binary).await?;

    let mut empty_starts = Vec::new();
    for _ in 0..EMPTY_STARTS {
        empty_starts.push(empty_start(&plane).await?);
    }
    let started = Instant::now();
    let seeded = seed::seed(&mut plane, options.pods, 0).await?;
    say(
        TOPIC,
        &format!(
            "seeded {} Pods of {} bytes of JSON on average in {:.0} s",
            options.pods,
            seeded.json_bytes,
            started.elapsed().as_secs_f64()
        ),
    );
    let mut updates = status_updates::StatusUpdates::new(plane.client().await?, seeded.population);
    let mut runs = Vec::new();
    for _ in 0..options.runs {
        for client in ClientKind::ALL {
            let run = measure::measure(&plane, client, options, &mut updates)
                .await
                .with_context(|| format!("measure {}", client.name()))?;
            println!("{}", run.to_json());
            runs.push(run);
        }
    }
    plane.stop()?;
    Ok(Report {
        options,
        versions,
        pod_json_bytes: seeded.json_bytes,
        empty_starts,
        runs,
    })
}

/// The time from the start of the operator's process until it is ready, on a cluster without Pods.
async fn empty_start(plane: &ControlPlane) -> Result<Duration> {
    let started = Instant::now();
    let mut operator = Operator::start(plane, plane.kubeconfig_path(), &["--log-level=warn"]).await?;
    client::wait_until_ready(&mut operator, Duration::from_millis(2)).await?;
    let took = started.elapsed();
    operator.stop().await?;
    Ok(took)
}
