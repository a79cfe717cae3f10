//! Test workload: a container that becomes ready, crashes, allocates memory or ignores SIGTERM as its arguments say
//! ([`command::USAGE`]). It prints a line for each action.
//!
//! The answers of its probes are stored in files ([`state::State`]), so that exec probes, which are separate processes, and
//! the HTTP server agree.

use std::env;
use std::io::{self, Write};
use std::process::ExitCode;

mod command;
mod http;
mod memory;
mod perform;
mod script;
mod signals;
mod state;

use command::{Command, USAGE};

/// Exit code after an error in the arguments.
const MISUSE: u8 = 2;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let command = match Command::parse(&arguments) {
        Ok(command) => command,
        Err(error) => return misuse(&format!("{error}\n{USAGE}")),
    };
    match perform::perform(command) {
        Ok(code) => ExitCode::from(code),
        Err(error) => misuse(&error),
    }
}

fn misuse(error: &str) -> ExitCode {
    let _ = writeln!(io::stderr(), "test-workload: {error}");
    ExitCode::from(MISUSE)
}

/// One line of standard output. A log that nobody reads any more is no reason to die.
fn say(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}
