//! `sidewatch explain`: how a Pod starts, what the failure of each probe leads to, how it stops, which role each container has
//! under each policy, and why each check reports something or not.
//!
//! [`source`] finds the Pod, [`order`] and [`probes`] describe it, [`report`] combines and writes the result.

mod order;
mod probes;
mod report;
mod source;

use std::{path::PathBuf, time::Duration};

use clap::Args;

use self::report::Report;
use super::Failure;
use crate::cli::{
    args::{ClusterArgs, OutputArgs, duration},
    block_on,
    cluster::Cluster,
    exit::Outcome,
    output::{notes, print_as},
    policies,
};

/// Flags of `sidewatch explain`.
#[derive(Clone, Debug, Args)]
pub(super) struct ExplainArgs {
    /// A Pod, or a workload such as deployment/web; with --record: a Pod of the recording
    #[arg(value_name = "POD|KIND/NAME", required_unless_present_any = ["file", "record"])]
    pub name: Option<String>,

    /// File with Pods or workloads to explain, instead of the cluster; - is standard input
    #[arg(long = "filename", short = 'f', value_name = "FILE", conflicts_with_all = ["record", "name"])]
    pub file: Option<PathBuf>,

    /// Recording with the Pod, instead of the cluster; - is standard input
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,

    /// File with the policies, instead of those of the cluster
    #[arg(long, short = 'p', value_name = "FILE")]
    pub policy: Option<PathBuf>,

    /// With --record: how long to evaluate; default: until the end of the recording
    #[arg(long = "for", value_name = "DURATION", value_parser = duration, requires = "record")]
    pub length: Option<Duration>,

    #[command(flatten)]
    pub cluster: ClusterArgs,

    #[command(flatten)]
    pub output: OutputArgs,
}

/// Explains one Pod, or each Pod of a file. Violations that fire are findings.
pub(super) fn execute(args: &ExplainArgs) -> Result<Outcome, Failure> {
    let files = args.policy.as_deref().map(policies::read).transpose()?;
    let subjects = match (&args.file, &args.record) {
        (Some(file), _) => source::of_file(file, args, files)?,
        (None, Some(record)) => vec![source::of_recording(record, args, files)?],
        (None, None) => vec![block_on(async {
            let cluster = Cluster::connect(&args.cluster)?;
            source::of_cluster(&cluster, args, files.as_deref()).await
        })?],
    };
    for subject in &subjects {
        notes(&subject.notes);
    }
    let reports: Vec<Report> = subjects.iter().map(Report::new).collect();
    let terminal = args.output.terminal();
    print_as(args.output.output, &reports, || {
        let texts: Vec<String> = reports.iter().map(|report| report.text(terminal)).collect();
        texts.join("\n")
    })?;
    Ok(Outcome::of(reports.iter().any(Report::is_firing)))
}
