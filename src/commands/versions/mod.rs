//! `sidewatch versions`: which versions of each sidecar's image run, and which workloads are behind.
//!
//! [`inventory`] counts, [`report`] writes the result. [`crate::domain::image_version`] defines what a version is.

mod inventory;
mod report;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use clap::Args;

use self::{inventory::Inventory, report::Report};
use super::Failure;
use crate::{
    cli::{
        args::{ClusterArgs, OutputArgs, duration},
        block_on,
        cluster::{Cluster, InForce},
        evaluation::Evaluation,
        exit::Outcome,
        manifests::{self, Manifest},
        output::{self, print_as},
        policies::{self, PolicyFile},
        recording::{Replay, replay},
    },
    clock::{Clock, SystemClock},
    domain::{
        observation::{Observation, Workload},
        policy::{Policy, PolicyKind},
    },
    kubernetes::watch::WatchEvent,
};

/// Flags of `sidewatch versions`.
#[derive(Clone, Debug, Args)]
pub(super) struct VersionsArgs {
    /// File with Pods or workloads, instead of the cluster; - is standard input
    #[arg(
        long = "filename",
        short = 'f',
        value_name = "FILE",
        conflicts_with = "record"
    )]
    pub file: Option<PathBuf>,

    /// Recording, instead of the cluster; - is standard input
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,

    /// With --record: the time of the Pods; default: the end of the recording
    #[arg(long = "for", value_name = "DURATION", value_parser = duration, requires = "record")]
    pub length: Option<Duration>,

    /// File with the policies that define the sidecars, instead of those of the cluster
    #[arg(long, short = 'p', value_name = "FILE")]
    pub policy: Option<PathBuf>,

    #[command(flatten)]
    pub cluster: ClusterArgs,

    #[command(flatten)]
    pub output: OutputArgs,
}

/// Counts the images of the sidecars and prints them. More than one version of a sidecar is a finding.
pub(super) fn execute(args: &VersionsArgs) -> Result<Outcome, Failure> {
    let files = args.policy.as_deref().map(policies::read).transpose()?;
    let evaluation = match (&args.file, &args.record) {
        (Some(file), _) => of_file(file, args, files.as_deref())?,
        (None, Some(record)) => of_recording(record, args, files.as_deref())?,
        (None, None) => block_on(of_cluster(args, files.as_deref()))?,
    };
    let report = Report::new(Inventory::of(&evaluation, &defaults()?));
    let terminal = args.output.terminal();
    print_as(args.output.output, &report, || report.text(terminal))?;
    Ok(Outcome::of(report.has_differences()))
}

/// Returns the rules for Pods that no policy selects.
fn defaults() -> Result<Policy, Failure> {
    let update = PolicyFile::with_defaults(PolicyKind::ClusterSidecarPolicy).update("")?;
    Ok(update.spec?)
}

async fn of_cluster(args: &VersionsArgs, files: Option<&[PolicyFile]>) -> Result<Evaluation, Failure> {
    let cluster = Cluster::connect(&args.cluster)?;
    let InForce {
        policies,
        namespaces,
        notes,
        ..
    } = cluster.in_force_or(files).await?;
    output::notes(&notes);
    let mut evaluation = Evaluation::new(policies, namespaces, cluster.now());
    cluster.evaluate(&mut evaluation, None).await?;
    Ok(evaluation)
}

fn of_recording(
    path: &Path,
    args: &VersionsArgs,
    policies: Option<&[PolicyFile]>,
) -> Result<Evaluation, Failure> {
    let Replay { evaluation, .. } = replay(path, args.length, |first| {
        let namespace = args.cluster.namespace.as_deref().unwrap_or(first);
        policies::updates(policies.unwrap_or_default(), namespace)
    })?;
    Ok(evaluation)
}

fn of_file(path: &Path, args: &VersionsArgs, policies: Option<&[PolicyFile]>) -> Result<Evaluation, Failure> {
    let manifests = manifests::read(path, args.cluster.namespace.as_deref(), "versions -f -")?;
    let now = SystemClock::default().now();
    let namespace = manifests
        .first()
        .map(|manifest| Arc::clone(&manifest.observation.namespace));
    let policies = policies::updates(policies.unwrap_or_default(), &namespace.unwrap_or_default())?;
    let mut evaluation = Evaluation::new(policies, None, now);
    evaluation.begin_without_pods(now);
    for (number, manifest) in manifests.into_iter().enumerate() {
        evaluation.apply(WatchEvent::Applied(one_pod(manifest, number)), now);
    }
    Ok(evaluation)
}

/// Returns one Pod of a workload in a file, with an identity of its own.
fn one_pod(manifest: Manifest, number: usize) -> Observation {
    let Manifest {
        kind,
        name,
        observation,
        ..
    } = manifest;
    let workload = if kind == "Pod" {
        Arc::clone(&observation.workload)
    } else {
        Arc::new(Workload {
            kind: kind.into(),
            name: name.into(),
        })
    };
    Observation {
        uid: format!("file-{number}").into(),
        workload,
        ..observation
    }
}
