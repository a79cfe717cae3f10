//! Memory and time of the commands on a cluster with many Pods.

use std::fmt::Write;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tokio::process::Command;

use super::population::{Identity, namespace};
use super::{POLICY, seed};
use crate::ControlPlane;
use crate::operator::binary;
use crate::process::Scratch;
use crate::process::stats::{cpu_seconds, peak_resident_mb};

/// How often the memory is read. The kernel keeps the peak, so only what is added in the last moment is missed.
const SAMPLE_PERIOD: Duration = Duration::from_millis(2);
const ENDS_WITHIN: Duration = Duration::from_mins(5);

/// The cost of one command.
#[derive(Debug, Clone, PartialEq)]
pub struct CommandCost {
    /// The command line, without the names of files.
    pub command: String,
    /// The largest RSS in MB.
    pub peak_rss: f64,
    /// CPU seconds, user and system.
    pub cpu: f64,
    /// Time until it ended, in seconds.
    pub seconds: f64,
    /// Bytes of the result.
    pub bytes: u64,
}

/// Runs each command on a cluster in which the sidecars of the first `faulty` Pods are not ready.
pub async fn commands(pods: u32, faulty: u32) -> Result<Vec<CommandCost>> {
    let plane = seed::faulty_cluster(pods, faulty).await?;
    let scratch = Scratch::new()?;
    let file = |name: &str| scratch.path().join(name).display().to_string();
    let (policy, recording) = (file("policy.yaml"), file("pods.jsonl"));
    std::fs::write(&policy, POLICY)?;
    let first = Identity::of(0);
    let deployment = format!("deployment/checkout-{}", first.workload);
    let of_namespace = namespace(0);
    let table: [&[&str]; 9] = [
        &["top", "-A"],
        &["top", "-A", "--by", "image", "-o", "json"],
        &["versions", "-A"],
        &["simulate", "-A", "-p", &policy],
        &["simulate", "-A", "-o", "json", "-p", &policy],
        &["lint", "--live", "-A"],
        &["explain", &deployment, "-n", &of_namespace],
        &["doctor", "-A"],
        &["record", "-A", "--for", "30s", "-o", &recording],
    ];
    let mut costs = Vec::new();
    for args in table {
        let is_file = |arg: &str| arg.starts_with('/');
        let shown: Vec<&str> = args
            .iter()
            .map(|arg| if is_file(arg) { "FILE" } else { arg })
            .collect();
        let output = scratch.path().join("stdout");
        let cost = measure(&plane, args, &output).await;
        let (peak_rss, cpu, seconds) = cost.with_context(|| shown.join(" "))?;
        let result = if args.contains(&"record") {
            Path::new(&recording)
        } else {
            &output
        };
        costs.push(CommandCost {
            command: shown.join(" "),
            peak_rss,
            cpu,
            seconds,
            bytes: std::fs::metadata(result)?.len(),
        });
    }
    plane.stop()?;
    Ok(costs)
}

/// Runs a command with its output in a file. Returns the peak of the RSS, the CPU seconds and the seconds.
async fn measure(plane: &ControlPlane, args: &[&str], output: &Path) -> Result<(f64, f64, f64)> {
    let errors = output.with_extension("stderr");
    let started = Instant::now();
    let mut child = Command::new(binary().await?)
        .args(args)
        .arg("--kubeconfig")
        .arg(plane.kubeconfig_path())
        .stdin(Stdio::null())
        .stdout(std::fs::File::create(output)?)
        .stderr(std::fs::File::create(&errors)?)
        .kill_on_drop(true)
        .spawn()?;
    let pid = child.id().context("the command has ended")?;
    let (mut peak, mut cpu) = (0.0, 0.0);
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        // A process that has ended has no memory.
        if let (Ok(now), Ok(used)) = (peak_resident_mb(pid), cpu_seconds(pid)) {
            (peak, cpu) = (now, used);
        }
        ensure!(started.elapsed() < ENDS_WITHIN, "it does not end");
        tokio::time::sleep(SAMPLE_PERIOD).await;
    };
    let errors = std::fs::read_to_string(&errors)?;
    ensure!(matches!(status.code(), Some(0 | 1)), "{status}: {errors}");
    Ok((peak, cpu, started.elapsed().as_secs_f64()))
}

/// The costs as a table of `docs/performance.md`.
pub fn table(costs: &[CommandCost]) -> String {
    let mut text = "| command | peak RSS, MB | CPU, s | time, s † | bytes of the result |\n| --- | --- | --- | --- | --- |\n".to_owned();
    for cost in costs {
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "| `{}` | **{:.0}** | {:.1} | {:.1} | {} |",
            cost.command, cost.peak_rss, cost.cpu, cost.seconds, cost.bytes
        );
    }
    text
}
