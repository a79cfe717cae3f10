//! The `sidewatch` binary: parses the command line and runs the subcommand.

use std::{env::args_os, process::ExitCode};

fn main() -> ExitCode {
    sidewatch::commands::run_with(args_os().collect())
}
