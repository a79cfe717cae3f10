//! The `sidewatch` binary: parses the command line and maps the result to an exit code.
//!
//! 0: success, or a requested stop. 1: an error at run time. 2: an invalid command line.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::Parser;
use sidewatch::commands::Cli;

fn main() -> ExitCode {
    match Cli::parse().execute() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // If standard error is closed, there is nowhere to report the error.
            let _closed = writeln!(io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}
