//! Plays a container on command: it becomes ready, dies, eats memory or ignores SIGTERM when its arguments say so.
//!
//! Input: the arguments ([`command::USAGE`]). Output: an exit code, and one line on standard output for each thing it does.
//! What its probes answer is kept in files ([`state::State`]), so that an exec probe, which is a process of its own, and
//! the HTTP server say the same.
//!
//! It runs as the first process of a container, for which the kernel drops every signal that nobody asked for. So SIGTERM
//! is blocked here and waited for by a thread ([`signals`]).

use std::env;
use std::io::{self, Write};
use std::process::ExitCode;

mod command;
mod http;
mod memory;
mod play;
mod script;
mod signals;
mod state;

use command::{Command, USAGE};

/// The exit code for a mistake of whoever wrote the arguments.
const MISUSE: u8 = 2;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let command = match Command::parse(&arguments) {
        Ok(command) => command,
        Err(error) => return misuse(&format!("{error}\n{USAGE}")),
    };
    match play::perform(command) {
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
