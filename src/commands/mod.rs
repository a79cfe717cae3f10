//! The command line: one file per subcommand.
//!
//! Input: arguments and environment variables; each flag has a variable. An invalid value is refused with the name of the
//! flag and a correction, and exit code 2. A subcommand that fails returns a [`Failure`], and the exit code is 1.

mod crds;
mod run;
mod version;

use std::io::{self, Write};

use clap::{Parser, Subcommand};

use self::run::RunArgs;

/// An error that ends the process.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

const EXAMPLES: &str = "\
Examples:
  sidewatch crds | kubectl apply -f -      install the CustomResourceDefinitions
  sidewatch run                            watch the whole cluster
  sidewatch run --namespace pay            watch one namespace
";

const RUN_EXAMPLES: &str = "\
Examples:
  sidewatch run                                          in a cluster, or with $KUBECONFIG
  sidewatch run --kubeconfig dev.yaml --context kind     with a kubeconfig file and one of its contexts
  sidewatch run --namespace pay --namespace shop         only these namespaces
  SIDEWATCH_LOG_FORMAT=json sidewatch run                every flag has an environment variable
";

/// Reports sidecars that fail or block their Pod, in Events, metrics and the statuses of policies
#[derive(Debug, Parser)]
#[command(name = "sidewatch", version, before_help = EXAMPLES, disable_help_subcommand = true)]
pub struct Cli {
    /// The subcommand.
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the operator until SIGTERM or SIGINT
    #[command(before_help = RUN_EXAMPLES)]
    Run(RunArgs),
    /// Print the CustomResourceDefinitions as YAML
    Crds,
    /// Print the version
    Version,
}

impl Cli {
    /// Runs the subcommand.
    pub fn execute(self) -> Result<(), Failure> {
        match self.command {
            Command::Run(args) => run::execute(args),
            Command::Crds => crds::execute(),
            Command::Version => version::execute(),
        }
    }
}

/// Writes text to standard output. A closed pipe is not an error: `sidewatch crds | head` succeeds.
fn print(text: &str) -> Result<(), Failure> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => Ok(result?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::address::ListenAddress;

    fn run(args: &[&str]) -> Result<RunArgs, clap::Error> {
        let args = ["sidewatch", "run"].iter().chain(args);
        Cli::try_parse_from(args).map(|cli| match cli.command {
            Command::Run(args) => args,
            other => panic!("{other:?}"),
        })
    }

    #[test]
    fn the_command_line_definition_is_valid() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn run_has_defaults_for_all_flags() {
        let args = run(&[]).unwrap();
        assert_eq!(args.metrics_address, ListenAddress::Everywhere(8080));
        assert_eq!(args.health_address, ListenAddress::Everywhere(8081));
        assert!(args.namespaces.is_empty());
    }

    #[test]
    fn namespace_flag_can_be_repeated() {
        assert_eq!(
            run(&["--namespace", "a", "--namespace", "b"]).unwrap().namespaces,
            ["a", "b"]
        );
        assert_eq!(
            run(&["--namespace", "a,b"]).unwrap().namespaces,
            ["a", "b"],
            "a comma separates names, as in the environment variable"
        );
    }

    #[test]
    fn an_invalid_value_is_refused_with_the_flag_and_a_correction() {
        let table = [
            (
                ["--metrics-address", "8080"],
                "--metrics-address",
                "such as :8080",
            ),
            (
                ["--health-address", "localhost:8081"],
                "--health-address",
                "127.0.0.1:8080",
            ),
            (["--metrics-address", ":99999"], "--metrics-address", ":PORT"),
            (["--namespace", "Pay"], "--namespace", "a-z"),
            (["--namespace", ""], "--namespace", "1 to 63"),
            (["--log-format", "xml"], "--log-format", "text, json"),
            (["--log-level", "loud"], "--log-level", "info"),
            (
                ["--max-policies-per-namespace", "0"],
                "--max-policies-per-namespace",
                "non-zero",
            ),
            (
                ["--max-tenant-severity", "critical"],
                "--max-tenant-severity",
                "Info, Warning, Critical",
            ),
        ];
        for (args, flag, fix) in table {
            let error = run(&args).unwrap_err();
            let text = error.to_string();
            assert!(text.contains(flag) && text.contains(fix), "{args:?}: {text}");
            assert_eq!(error.exit_code(), 2, "{args:?}");
        }
    }

    #[test]
    fn help_starts_with_examples() {
        for args in [&["sidewatch", "--help"][..], &["sidewatch", "run", "--help"][..]] {
            let help = Cli::try_parse_from(args).unwrap_err().to_string();
            assert!(help.starts_with("Examples:\n"), "{help}");
        }
    }

    #[test]
    fn every_flag_has_an_environment_variable() {
        use clap::CommandFactory;
        let command = Cli::command();
        let run = command.find_subcommand("run").unwrap();
        for flag in run.get_arguments().filter(|flag| flag.get_id() != "help") {
            let long = flag.get_long().unwrap().to_uppercase().replace('-', "_");
            let variable = flag
                .get_env()
                .unwrap_or_else(|| panic!("{long} has none"))
                .to_str()
                .unwrap();
            assert_eq!(variable, format!("SIDEWATCH_{long}"));
        }
    }
}
