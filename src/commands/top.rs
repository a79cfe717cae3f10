//! `sidewatch top`: the violations of the present, grouped by workload, image or policy.
//!
//! It always evaluates the Pods, with the violations that the statuses of the policies list as a start. It never reads
//! metrics, so it needs no operator. Violations that exemptions hide are counted separately: the operator does not report
//! them.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap},
    path::PathBuf,
    sync::Arc,
};

use clap::{Args, ValueEnum};
use jiff::Timestamp;
use serde::Serialize;

use super::Failure;
use crate::{
    cli::{
        args::{ClusterArgs, OutputArgs},
        block_on,
        cluster::{Cluster, InForce},
        evaluation::Evaluation,
        exit::Outcome,
        output::{self, note, print_as},
        policies::{self, PolicyFile},
        table::{Cell, Table},
        terminal::{Style, Terminal},
    },
    domain::{
        index::Index,
        policy::PolicyKind,
        time::Human,
        violation::{Subject, Violation},
    },
};

/// Flags of `sidewatch top`.
#[derive(Clone, Debug, Args)]
pub(super) struct TopArgs {
    /// How violations are grouped
    #[arg(long, value_enum, default_value_t, value_name = "GROUP")]
    pub by: Group,

    /// File with the policies, instead of those of the cluster
    #[arg(long, short = 'p', value_name = "FILE")]
    pub policy: Option<PathBuf>,

    #[command(flatten)]
    pub cluster: ClusterArgs,

    #[command(flatten)]
    pub output: OutputArgs,
}

/// How violations are grouped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Group {
    /// By workload and container
    #[default]
    Workload,
    /// By the image of the container
    Image,
    /// By policy
    Policy,
}

/// The violations of one check in one group.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    group: String,
    check: &'static str,
    /// The number of violations that fire and are reported.
    firing: usize,
    /// The number of violations that are pending and not hidden.
    pending: usize,
    /// The number of violations, firing or pending, that exemptions hide.
    hidden: usize,
    workloads: usize,
    pods: usize,
    /// The start of the oldest fault; that of a hidden one only if all are hidden.
    oldest: Timestamp,
    /// Whether that fault can have started later, because nothing shows when.
    at_most: bool,
    /// The cause of that fault.
    cause: String,
}

impl Row {
    fn new(group: String, check: &'static str, found: &[Found<'_>], evaluation: &Evaluation) -> Option<Self> {
        // A hidden violation is the oldest only if all of them are hidden.
        let oldest = found.iter().min_by_key(|of| (of.is_hidden, of.since()))?;
        let count = |is_hidden, firing| {
            let counted = found.iter();
            let counted = counted.filter(|of| of.is_hidden == is_hidden && of.violation.firing == firing);
            counted.count()
        };
        let subjects = || found.iter().map(|of| &of.violation.subject);
        let with_workload = subjects().filter(|of| of.image().is_empty());
        let workloads: BTreeSet<_> = with_workload.map(|of| (of.namespace(), of.workload())).collect();
        let pods = subjects().filter_map(Subject::as_container);
        let pods: BTreeSet<_> = pods.map(|of| &of.uid).collect();
        Some(Self {
            group,
            check,
            firing: count(false, true),
            pending: count(false, false),
            hidden: count(true, true) + count(true, false),
            workloads: workloads.len(),
            pods: pods.len(),
            oldest: oldest.since(),
            at_most: oldest.earliest.is_some(),
            cause: evaluation.index().cause(oldest.violation).unwrap_or_default(),
        })
    }

    /// Returns the time since the start of the oldest fault.
    fn since(&self, at: Timestamp) -> String {
        let since = Human(at.duration_since(self.oldest));
        if self.at_most {
            format!("at most {since}")
        } else {
            since.to_string()
        }
    }

    fn style(&self) -> Style {
        match self {
            Self { firing: 1.., .. } => Style::Red,
            Self { pending: 1.., .. } => Style::Yellow,
            _ => Style::Dim,
        }
    }
}

/// A violation, and whether an exemption hides it.
#[derive(Clone, Copy, Debug)]
struct Found<'a> {
    violation: &'a Violation,
    is_hidden: bool,
    /// The earliest onset that the Pod allows, if the onset is not known.
    earliest: Option<Timestamp>,
}

impl<'a> Found<'a> {
    fn new(index: &Index, violation: &'a Violation, is_hidden: bool) -> Self {
        Self {
            violation,
            is_hidden,
            earliest: index.earliest_onset(violation),
        }
    }

    fn since(&self) -> Timestamp {
        self.earliest.unwrap_or(self.violation.onset)
    }
}

/// The violations of all groups.
#[derive(Debug, Serialize)]
struct Report {
    at: Timestamp,
    pods: usize,
    groups: Vec<Row>,
}

/// Evaluates the Pods and prints the groups. Violations that fire and are not hidden are findings.
pub(super) fn execute(args: &TopArgs) -> Result<Outcome, Failure> {
    let files = args.policy.as_deref().map(policies::read).transpose()?;
    let report = block_on(evaluate(args, files.as_deref()))?;
    let terminal = args.output.terminal();
    print_as(args.output.output, &report, || report.text(args.by, terminal))?;
    Ok(Outcome::of(report.groups.iter().any(|row| row.firing > 0)))
}

async fn evaluate(args: &TopArgs, files: Option<&[PolicyFile]>) -> Result<Report, Failure> {
    let cluster = Cluster::connect(&args.cluster)?;
    let InForce {
        mut policies,
        exemptions,
        namespaces,
        // The notes name them.
        undecodable: _,
        notes,
    } = cluster.in_force_with_exemptions(files).await?;
    output::notes(&notes);
    if files.is_none() && policies.is_empty() {
        note("there are no policies: this is what a ClusterSidecarPolicy with all defaults reports");
        let file = PolicyFile::with_defaults(PolicyKind::ClusterSidecarPolicy);
        policies.push(file.update(cluster.namespace())?);
    }
    let now = cluster.now();
    let mut evaluation = Evaluation::new(policies, namespaces, now).with_exemptions(exemptions, now);
    cluster.evaluate(&mut evaluation, None).await?;
    Ok(Report::new(&evaluation, args.by, cluster.now()))
}

impl Report {
    fn new(evaluation: &Evaluation, by: Group, at: Timestamp) -> Self {
        let index = evaluation.index();
        let hidden: Vec<Violation> = index.hidden_violations().collect();
        let found = |is_hidden| move |violation| Found::new(index, violation, is_hidden);
        let reported = index.violations().map(found(false));
        let violations: Vec<Found<'_>> = reported.chain(hidden.iter().map(found(true))).collect();
        let images = images(evaluation, &violations);
        let mut groups: BTreeMap<(String, &'static str), Vec<Found<'_>>> = BTreeMap::new();
        for found in violations {
            let Violation {
                policy,
                check,
                subject,
                ..
            } = found.violation;
            let group = match by {
                Group::Workload | Group::Image if !subject.image().is_empty() => subject.image().to_owned(),
                Group::Workload => {
                    let (workload, container) = (subject.workload(), subject.container());
                    format!("{}/{workload} {container}", subject.namespace())
                }
                Group::Image => images
                    .get(&(subject.uid(), &**subject.container()))
                    .map(ToString::to_string)
                    .unwrap_or_default(),
                Group::Policy => policy.to_string(),
            };
            groups.entry((group, check.as_str())).or_default().push(found);
        }
        let rows = groups.into_iter();
        let rows = rows.filter_map(|((group, check), found)| Row::new(group, check, &found, evaluation));
        let mut rows: Vec<Row> = rows.collect();
        rows.sort_by_key(|row| {
            let [firing, pending, hidden] = [row.firing, row.pending, row.hidden].map(Reverse);
            (firing, pending, hidden, row.oldest)
        });
        Self {
            at,
            pods: evaluation.pods(),
            groups: rows,
        }
    }

    fn text(&self, by: Group, terminal: Terminal) -> String {
        let sum = |of: fn(&Row) -> usize| self.groups.iter().map(of).sum::<usize>();
        let mut text = format!(
            "{} Pods, {} violations fire, {} are pending, {} are hidden\n",
            self.pods,
            sum(|row| row.firing),
            sum(|row| row.pending),
            sum(|row| row.hidden)
        );
        if self.groups.is_empty() {
            return text;
        }
        let heading = match by {
            Group::Workload => "WORKLOAD AND CONTAINER",
            Group::Image => "IMAGE",
            Group::Policy => "POLICY",
        };
        let headings = [
            heading, "CHECK", "FIRING", "PENDING", "HIDDEN", "PODS", "SINCE", "CAUSE",
        ];
        let mut table = Table::new(headings).with_text();
        for row in &self.groups {
            table.push([
                row.group.as_str().into(),
                Cell::styled(row.check, row.style()),
                row.firing.to_string().into(),
                row.pending.to_string().into(),
                row.hidden.to_string().into(),
                row.pods.to_string().into(),
                row.since(self.at).into(),
                row.cause.as_str().into(),
            ]);
        }
        text.push('\n');
        text.push_str(&table.render(terminal));
        text
    }
}

/// Returns the image of each container in violation, by the UID of its Pod and its name.
fn images<'a>(
    evaluation: &'a Evaluation,
    violations: &[Found<'_>],
) -> HashMap<(&'a str, &'a str), &'a Arc<str>> {
    let failing: BTreeSet<&str> = violations.iter().map(|of| of.violation.subject.uid()).collect();
    let pods = evaluation.index().matched_pods();
    let failing = pods.filter(|matched| failing.contains(&*matched.pod.uid));
    failing
        .flat_map(|matched| {
            let uid = &*matched.pod.uid;
            let containers = matched.pod.shape.containers.iter();
            containers.map(move |container| ((uid, &*container.name), &container.image))
        })
        .collect()
}
