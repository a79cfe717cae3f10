//! The binary as a plugin of kubectl. The name of the file with which it was started decides what it does:
//!
//! | name | what it does |
//! | --- | --- |
//! | `sidewatch`, and every other name | the command |
//! | `kubectl-sidewatch` | the same; kubectl runs it for `kubectl sidewatch`, so the help shows that name |
//! | `kubectl_complete-sidewatch` | prints the completions of a command line (KEP-2379); kubectl runs it |

mod complete;
mod live;

use std::{
    ffi::{OsStr, OsString},
    path::Path,
};

use clap::{Command, CommandFactory};

pub(super) use self::complete::complete;
use super::Cli;

const COMMAND: &str = "sidewatch";
const PLUGIN: &str = "kubectl sidewatch";

/// The way in which the binary was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Invocation {
    /// As a command.
    Command,
    /// By kubectl.
    Plugin,
    /// By kubectl, for the completion of a command line.
    Completion,
}

impl Invocation {
    /// Examines the first argument of the process.
    pub(super) fn of(program: Option<&OsString>) -> Self {
        // Without the extension `.exe` of Windows.
        let name = program.and_then(|program| Path::new(program).file_stem());
        match name.and_then(OsStr::to_str) {
            Some("kubectl-sidewatch") => Self::Plugin,
            Some("kubectl_complete-sidewatch") => Self::Completion,
            _ => Self::Command,
        }
    }

    /// Returns the definition of the command line. The usage and the examples show the name with which the user started it.
    pub(super) fn command(self) -> Command {
        let command = Cli::command();
        if self == Self::Command {
            return command;
        }
        with_plugin_name(command)
            .bin_name(PLUGIN)
            .mut_subcommands(with_plugin_name)
    }
}

/// Replaces the name at the start of each example.
fn with_plugin_name(command: Command) -> Command {
    let Some(examples) = command.get_before_help().map(ToString::to_string) else {
        return command;
    };
    let lines = examples
        .lines()
        .map(|line| line.replace(&format!("  {COMMAND} "), &format!("  {PLUGIN} ")));
    command.before_help(lines.collect::<Vec<_>>().join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_the_file_decides() {
        let table = [
            ("sidewatch", Invocation::Command),
            ("/usr/local/bin/kubectl-sidewatch", Invocation::Plugin),
            ("kubectl-sidewatch.exe", Invocation::Plugin),
            ("bin/kubectl_complete-sidewatch", Invocation::Completion),
            ("kubectl-sidewatch-old", Invocation::Command),
            ("", Invocation::Command),
        ];
        for (program, expected) in table {
            assert_eq!(Invocation::of(Some(&program.into())), expected, "{program}");
        }
        assert_eq!(Invocation::of(None), Invocation::Command);
    }

    #[test]
    fn the_help_of_the_plugin_shows_the_name_of_the_plugin() {
        let help = |args: &[&str]| {
            let mut command = Invocation::Plugin.command();
            command.try_get_matches_from_mut(args).unwrap_err().to_string()
        };
        let table = [
            (
                &["kubectl-sidewatch", "--help"][..],
                "Usage: kubectl sidewatch <COMMAND>",
            ),
            (
                &["kubectl-sidewatch", "top", "--help"],
                "Usage: kubectl sidewatch top [OPTIONS]",
            ),
            (
                &["kubectl-sidewatch", "top", "--help"],
                "  kubectl sidewatch top -A ",
            ),
            (
                &["kubectl-sidewatch", "simulate"],
                "Usage: kubectl sidewatch simulate",
            ),
        ];
        for (args, expected) in table {
            let text = help(args);
            assert!(text.contains(expected), "{args:?}: {text}");
            assert!(!text.contains("  sidewatch "), "{args:?}: {text}");
        }
    }
}
