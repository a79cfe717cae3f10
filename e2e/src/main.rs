//! Commands around the test cluster.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use e2e::tools::{self, Tool};
use e2e::{ControlPlane, demo};

/// The test cluster of Sidewatch.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Find or build the programs of the test cluster, and print where they are
    Tools,
    /// Start a control plane, print its kubeconfig, and keep it up until Ctrl-C
    Up,
    /// Show the operator at work on Pods that go bad
    Demo {
        /// Keep everything up at the end, until Ctrl-C
        #[arg(long)]
        hold: bool,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Cli::parse().command).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The causes in one line; a backtrace of this tool would help nobody.
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> Result<()> {
    let mut out = std::io::stdout();
    match command {
        Command::Tools => {
            let paths = tokio::task::spawn_blocking(|| tools::ensure(&Tool::ALL)).await??;
            for (tool, path) in paths.iter() {
                writeln!(out, "{:<15} {}", tool.name(), path.display())?;
            }
        }
        Command::Demo { hold } => Box::pin(demo::run(hold)).await?,
        Command::Up => {
            let plane = ControlPlane::start().await?;
            writeln!(out, "export KUBECONFIG={}", plane.kubeconfig_path().display())?;
            tokio::signal::ctrl_c().await?;
            plane.stop()?;
        }
    }
    Ok(())
}
