//! Commands around the test cluster.

use std::io::Write;

use anyhow::Result;
use clap::{Parser, Subcommand};
use e2e::ControlPlane;
use e2e::tools::{self, Tool};

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
}

#[tokio::main]
async fn main() -> Result<()> {
    let mut out = std::io::stdout();
    match Cli::parse().command {
        Command::Tools => {
            let paths = tokio::task::spawn_blocking(|| tools::ensure(&Tool::ALL)).await??;
            for (tool, path) in paths.iter() {
                writeln!(out, "{:<15} {}", tool.name(), path.display())?;
            }
        }
        Command::Up => {
            let plane = ControlPlane::start().await?;
            writeln!(out, "export KUBECONFIG={}", plane.kubeconfig_path().display())?;
            tokio::signal::ctrl_c().await?;
            plane.stop()?;
        }
    }
    Ok(())
}
