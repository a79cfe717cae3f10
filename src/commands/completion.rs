//! `sidewatch completion`: prints a script that completes the command line in a shell.
//!
//! [`super::plugin`] completes the command line of the kubectl plugin.

use clap::{Args, CommandFactory};
use clap_complete::{Shell, generate};

use super::{Cli, Failure};
use crate::cli::output::print_raw;

/// Flags of `sidewatch completion`.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct CompletionArgs {
    /// The shell
    #[arg(value_enum, value_name = "SHELL")]
    pub shell: Shell,
}

/// Prints the script.
pub(super) fn execute(args: CompletionArgs) -> Result<(), Failure> {
    let mut script = Vec::new();
    generate(args.shell, &mut Cli::command(), "sidewatch", &mut script);
    print_raw(&String::from_utf8(script)?)
}
