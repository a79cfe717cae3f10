//! Commands of the test harness.

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, Parser, Subcommand};
use e2e::demo::{self, Kubelet};
use e2e::node::vm::{self, VmNode};
use e2e::node::{self, Node};
use e2e::observers::{Timing, page, unexplained};
use e2e::process::programs::{path_with, say};
use e2e::project::repository;
use e2e::scenario::Scenario;
use e2e::scenario::recorder;
use e2e::scenario::runner::{self, ScenarioCluster};
use e2e::tools::{self, KubernetesVersion, Tool};
use e2e::{ControlPlane, bench_scale, compat, images, soak};

/// Test harness of Sidewatch.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Find or build the tools of the tests, and the images if a node can run here; print the paths of the tools
    Tools,
    /// Start a control plane, print its kubeconfig, keep it up until Ctrl-C
    Up,
    /// Build the images of the tests and print the path of the archive
    Images,
    /// Start a control plane with a real node and run a command in its Linux namespaces
    Node {
        /// The command; kubectl is on the PATH and configured
        #[arg(required = true, trailing_var_arg = true)]
        command: Vec<OsString>,
    },
    /// Record what the kubelet of a real node reports in scenarios, in the format of tests/traces
    Record {
        /// Names of scenarios; without steps that need the operator or disturb the node
        #[arg(required = true)]
        scenarios: Vec<String>,
        /// Directory of the recordings
        #[arg(long, default_value = "target/recordings")]
        output: PathBuf,
        /// Length of each recording, in seconds
        #[arg(long, default_value_t = 200)]
        seconds: u64,
    },
    /// Run scenarios on a node with cgroup v2, in a virtual machine
    Cgroup2 {
        /// Names of scenarios; by default those whose outcome can depend on the version of cgroups
        scenarios: Vec<String>,
        /// Record what the kubelet reports, for this many seconds, instead of running the operator
        #[arg(long)]
        record: Option<u64>,
        /// Directory of the recordings
        #[arg(long, default_value = "target/recordings")]
        output: PathBuf,
    },
    /// Run the scenarios with the default policy, compare both sets of alerts, write docs/comparison.md
    Comparison,
    /// Measure the operator and kube-state-metrics on a cluster with many Pods, and write the table of docs/performance.md
    BenchScale {
        /// Number of Pods in the cluster
        #[arg(long, default_value_t = 50_000)]
        pods: u32,
        /// Number of runs per client
        #[arg(long, default_value_t = 3)]
        runs: usize,
        /// Number of status updates per run
        #[arg(long, default_value_t = 10_000)]
        updates: u32,
    },
    /// Measure the memory of the operator while many sidecars are unready, during abandoned and concurrent scrapes
    MassFault {
        /// Number of Pods in the cluster
        #[arg(long, default_value_t = 50_000)]
        pods: u32,
        /// Number of Pods whose sidecar is unready
        #[arg(long, default_value_t = 50_000)]
        faulty: u32,
    },
    /// Measure the memory of the commands on a cluster with many Pods, for the table of docs/performance.md
    Commands {
        /// Number of Pods in the cluster
        #[arg(long, default_value_t = 50_000)]
        pods: u32,
        /// Number of Pods whose sidecar is unready
        #[arg(long, default_value_t = 50_000)]
        faulty: u32,
    },
    /// Run tests with several versions of Kubernetes, and write docs/compatibility.md
    Compat {
        /// Versions such as 1.30; all of them by default
        versions: Vec<KubernetesVersion>,
        /// Test binary, such as operator or node; all of them by default
        #[arg(long = "test")]
        tests: Vec<String>,
    },
    /// Disturb two replicas beside an undisturbed operator, compare them, and print the memory, files and threads
    Soak(SoakArgs),
    /// Show the operator with six Pods, five of which fail
    Demo {
        /// The kubelet; by default a real one where it can run
        #[arg(long)]
        kubelet: Option<Kubelet>,
        /// Keep everything up at the end, until Ctrl-C
        #[arg(long)]
        hold: bool,
    },
}

fn main() -> ExitCode {
    match start(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(command: Command) -> Result<()> {
    match command {
        Command::Node { .. } | Command::Record { .. } => node::enter(&[])?,
        Command::Demo { kubelet, .. } => demo::enter(kubelet)?,
        Command::Comparison => node::enter(&Tool::RUNNER)?,
        Command::Cgroup2 { .. } => vm::enter(&[Tool::Helm])?,
        Command::Tools
        | Command::Up
        | Command::Images
        | Command::BenchScale { .. }
        | Command::MassFault { .. }
        | Command::Commands { .. }
        | Command::Compat { .. }
        | Command::Soak(_) => {}
    }
    tokio::runtime::Runtime::new()?.block_on(run(command))
}

#[derive(Args)]
struct SoakArgs {
    /// Minimum duration
    #[arg(long, default_value_t = 60)]
    minutes: u64,
    /// Determines the changes of Pods and the disturbances
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The first round; the rounds before only determine the state of the Pods at the start
    #[arg(long, default_value_t = 1)]
    first_round: u32,
}

impl From<SoakArgs> for soak::Options {
    fn from(args: SoakArgs) -> Self {
        Self {
            duration: Duration::from_mins(args.minutes),
            seed: args.seed,
            first_round: args.first_round,
        }
    }
}

async fn run(command: Command) -> Result<()> {
    let mut out = std::io::stdout();
    match command {
        Command::Tools => {
            let find = || {
                let paths = tools::ensure(&Tool::here())?;
                if node::unavailable().is_none() {
                    images::build()?;
                }
                anyhow::Ok(paths)
            };
            let paths = tokio::task::spawn_blocking(find).await??;
            for (tool, path) in paths.iter() {
                writeln!(out, "{:<24} {}", tool.name(), path.display())?;
            }
        }
        Command::Record {
            scenarios,
            output,
            seconds,
        } => {
            let scenarios = Scenario::named(&scenarios)?;
            let node = Node::start().await?;
            recorder::record(
                node.plane.cluster(),
                scenarios,
                &output,
                Duration::from_secs(seconds),
            )
            .await?;
        }
        Command::Cgroup2 {
            scenarios,
            record,
            output,
        } => cgroup2(&scenarios, record.map(Duration::from_secs), &output).await?,
        Command::Comparison => comparison().await?,
        Command::BenchScale { pods, runs, updates } => {
            let options = bench_scale::Options {
                pods,
                runs,
                updates,
                probes: 100,
                scrapes: 100,
            };
            let report = tokio::select! {
                report = Box::pin(bench_scale::run(options)) => report?,
                interrupted = tokio::signal::ctrl_c() => {
                    interrupted?;
                    bail!("interrupted");
                }
            };
            writeln!(out, "{}", report.table()?)?;
            if !report.write()? {
                writeln!(out, "docs/performance.md has no table for {pods} Pods")?;
            }
        }
        Command::MassFault { pods, faulty } => {
            let measured = Box::pin(bench_scale::mass_fault(pods, faulty)).await?;
            writeln!(out, "{}", measured.line())?;
        }
        Command::Commands { pods, faulty } => {
            let costs = Box::pin(bench_scale::commands(pods, faulty)).await?;
            write!(out, "{}", bench_scale::table(&costs))?;
        }
        Command::Compat { versions, tests } => {
            let versions = if versions.is_empty() {
                KubernetesVersion::ALL.to_vec()
            } else {
                versions
            };
            tokio::task::spawn_blocking(move || compat::run(&versions, &tests)).await??;
        }
        Command::Soak(args) => {
            let report = Box::pin(soak::run(args.into())).await?;
            writeln!(out, "{report}")?;
        }
        Command::Images => {
            let path = tokio::task::spawn_blocking(images::build).await??;
            writeln!(out, "{}", path.display())?;
        }
        Command::Demo { hold, .. } => Box::pin(demo::run(hold)).await?,
        Command::Up => {
            let plane = ControlPlane::start().await?;
            writeln!(out, "export KUBECONFIG={}", plane.kubeconfig_path().display())?;
            tokio::signal::ctrl_c().await?;
            plane.stop()?;
        }
        Command::Node { command } => in_node(command).await?,
    }
    Ok(())
}

/// Runs a command in the Linux namespaces of a node.
async fn in_node(command: Vec<OsString>) -> Result<()> {
    let node = Node::start().await?;
    let status = tokio::process::Command::new("bash")
        .args(["-c", "\"$@\"", "bash"])
        .args(command)
        .env("KUBECONFIG", node.plane.kubeconfig_path())
        .env("PATH", path_with(node.plane.kubectl_path())?)
        .status()
        .await?;
    if !status.success() {
        bail!("{status}");
    }
    Ok(())
}

/// Runs the scenarios with the default policy and writes docs/comparison.md.
async fn comparison() -> Result<()> {
    let cluster = ScenarioCluster::on_node(Node::start().await?, Timing::Real).await?;
    let runs = runner::run(&cluster, Scenario::all()?).await?;
    let observed = runner::observed(&cluster, &runs).await?;
    let (observed, alerts) = observed.context("no Prometheus")?;
    let page = page("make comparison", Timing::Real, &observed, &alerts)?;
    // The run takes long. Its result is kept even if a reason is missing.
    std::fs::write(repository().join("target/comparison.md"), &page)?;
    let unexplained = unexplained(&observed, &alerts);
    ensure!(
        unexplained.is_empty(),
        "no reason in `wrong.missed` of the scenario for missed faults: {}",
        unexplained.join(", ")
    );
    std::fs::write(repository().join("docs/comparison.md"), page)?;
    Ok(())
}

/// Runs or records scenarios in a virtual machine with cgroup v2.
async fn cgroup2(names: &[String], record: Option<Duration>, output: &Path) -> Result<()> {
    let scenarios = Scenario::on_cgroup2(names)?;
    let node = VmNode::start().await?;
    if let Some(length) = record {
        return recorder::record(node.plane.cluster(), scenarios, output, length).await;
    }
    let cluster = ScenarioCluster::on_slow_node(node.plane.kubeconfig_path()).await?;
    let runs = runner::run(&cluster, scenarios).await?;
    let failed: Vec<String> = runs
        .iter()
        .filter(|run| !run.errors.is_empty())
        .map(|run| format!("{}:\n{}", run.scenario.name, run.errors.join("\n")))
        .collect();
    ensure!(
        failed.is_empty(),
        "{} of {} scenarios failed\n{}",
        failed.len(),
        runs.len(),
        failed.join("\n")
    );
    say("cgroup2", &format!("{} scenarios passed", runs.len()));
    Ok(())
}
