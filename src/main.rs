//! The `sidewatch` binary: parses the command line and runs the subcommand.

use std::process::ExitCode;

use clap::Parser;
use sidewatch::commands::Cli;

fn main() -> ExitCode {
    Cli::parse().execute()
}
