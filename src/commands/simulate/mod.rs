//! `sidewatch simulate`: what policies in files would report, on the cluster or on a recording, compared with the policies
//! in force.
//!
//! [`compare`] computes the difference, [`report`] writes it, and [`events`] writes the Events.

mod compare;
mod events;
mod report;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;

use self::{
    compare::{Comparison, Policies},
    report::Report,
};
use super::Failure;
use crate::cli::{
    args::{ClusterArgs, OutputArgs, duration},
    block_on,
    cluster::{Cluster, InForce},
    evaluation::Evaluation,
    exit::Outcome,
    output::{notes, print_as},
    policies::{self, PolicyFile},
    recording::{Replay, replay},
};

/// The note about the facts that one list does not show.
const ONE_LIST: &str = "one list shows only the present: restarts before the latest one and changes of readiness are not \
     known, so FrequentRestarts and Flapping can be missing; --for 10m also watches";

/// Flags of `sidewatch simulate`.
#[derive(Clone, Debug, Args)]
pub(super) struct SimulateArgs {
    /// File with the policies to try; - is standard input
    #[arg(long, short = 'p', alias = "filename", value_name = "FILE")]
    pub policy: PathBuf,

    /// Recording to evaluate instead of the cluster; - is standard input
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,

    /// File with the policies to compare with, instead of those of the cluster
    #[arg(long, value_name = "FILE")]
    pub against: Option<PathBuf>,

    /// How long to watch the cluster, such as 10m; with --record: the length of the evaluation
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    pub length: Option<Duration>,

    /// Print the Events that the operator would write, instead of the violations
    #[arg(long)]
    pub events: bool,

    #[command(flatten)]
    pub cluster: ClusterArgs,

    #[command(flatten)]
    pub output: OutputArgs,
}

/// Evaluates and prints the difference. The policies that report something are findings.
pub(super) fn execute(args: &SimulateArgs) -> Result<Outcome, Failure> {
    let candidates = policies::read(&args.policy)?;
    let against = args.against.as_deref().map(policies::read).transpose()?;
    let report = match &args.record {
        Some(path) => of_recording(path, args, &candidates, against.as_deref())?,
        None => block_on(of_cluster(args, &candidates, against.as_deref()))?,
    };
    notes(&report.notes);
    let terminal = args.output.terminal();
    if args.events {
        print_as(args.output.output, &report.events, || {
            report.events_text(terminal)
        })?;
    } else {
        print_as(args.output.output, &report, || report.text(terminal))?;
    }
    Ok(Outcome::of(report.has_findings()))
}

fn of_recording(
    path: &Path,
    args: &SimulateArgs,
    candidates: &[PolicyFile],
    against: Option<&[PolicyFile]>,
) -> Result<Report, Failure> {
    let mut notes = Vec::new();
    let mut known = Policies::default();
    let Replay {
        start,
        end,
        evaluation,
    } = replay(path, args.length, |first| {
        let namespace = args.cluster.namespace.as_deref().unwrap_or(first);
        notes.extend(assumed_namespace(candidates, namespace));
        let in_force = policies::updates(against.unwrap_or_default(), namespace)?;
        known = Policies::new(policies::updates(candidates, namespace)?, in_force);
        Ok(known.all())
    })?;
    let comparison = Comparison::new(&known, &evaluation);
    Ok(Report::new(
        &known,
        comparison,
        &evaluation,
        (start, end),
        path.display().to_string(),
        notes,
    ))
}

async fn of_cluster(
    args: &SimulateArgs,
    candidates: &[PolicyFile],
    against: Option<&[PolicyFile]>,
) -> Result<Report, Failure> {
    let cluster = Cluster::connect(&args.cluster)?;
    let InForce {
        policies: in_force,
        namespaces,
        // The notes name them.
        undecodable: _,
        mut notes,
        // simulate shows what a policy reports, hidden or not.
        exemptions: _,
    } = cluster.in_force_or(against).await?;
    let namespace = cluster.namespace();
    notes.extend(assumed_namespace(candidates, namespace));
    let known = Policies::new(policies::updates(candidates, namespace)?, in_force);
    let start = cluster.now();
    let mut evaluation = Evaluation::new(known.all(), namespaces, start).keeping_reports();
    cluster.evaluate(&mut evaluation, args.length).await?;
    if args.length.is_none() {
        notes.push(ONE_LIST.to_owned());
    }
    let comparison = Comparison::new(&known, &evaluation);
    let times = (start, cluster.now());
    Ok(Report::new(
        &known,
        comparison,
        &evaluation,
        times,
        "the cluster".to_owned(),
        notes,
    ))
}

/// Returns a note if a policy has no namespace.
fn assumed_namespace(candidates: &[PolicyFile], namespace: &str) -> Option<String> {
    let lacks = |file: &PolicyFile| file.is_namespaced() && file.namespace().is_none();
    candidates
        .iter()
        .any(lacks)
        .then(|| format!("a SidecarPolicy without metadata.namespace is evaluated in namespace {namespace}"))
}
