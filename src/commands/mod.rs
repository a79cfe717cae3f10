//! The command line: one file per subcommand.
//!
//! Input: arguments and environment variables; each flag of `run` has a variable: `SIDEWATCH_` and its name, and
//! `POD_NAMESPACE` for the namespace of the operator. An invalid value is refused with the name of the flag and a correction,
//! and exit code 2. [`crate::cli::exit`] lists the exit codes.

mod completion;
mod crds;
mod doctor;
mod explain;
mod lint;
mod plugin;
mod record;
mod run;
mod simulate;
mod snooze;
mod top;
mod version;
mod versions;

use std::{ffi::OsString, io, process::ExitCode};

use clap::{FromArgMatches, Parser, Subcommand};

use self::{
    completion::CompletionArgs, doctor::DoctorArgs, explain::ExplainArgs, lint::LintArgs, plugin::Invocation,
    record::RecordArgs, run::RunArgs, simulate::SimulateArgs, snooze::SnoozeArgs, top::TopArgs,
    versions::VersionsArgs,
};
pub use crate::cli::exit::Failure;
use crate::cli::{
    exit::{FailureCode, Outcome, exit_code},
    safe_text::is_safe,
};

const EXAMPLES: &str = "\
Examples:
  sidewatch crds | kubectl apply -f -      install the CustomResourceDefinitions
  sidewatch run                            watch the whole cluster
  sidewatch run --namespace pay            watch one namespace
  sidewatch simulate -p policy.yaml -A     try a policy, without an operator
  sidewatch lint deploy/                   examine manifests, without a cluster
";

const LINT_EXAMPLES: &str = "\
Examples:
  sidewatch lint deploy/                           all manifests in a directory
  helm template . | sidewatch lint -               a rendered chart
  sidewatch lint --live -n shop                    the workloads of a cluster
  sidewatch lint -o sarif deploy/ > lint.sarif     for code scanning
  sidewatch lint --disable SC014 --fail-on error deploy/
";

const RUN_EXAMPLES: &str = "\
Examples:
  sidewatch run                                          in a cluster, or with $KUBECONFIG
  sidewatch run --kubeconfig dev.yaml --context kind     with a kubeconfig file and one of its contexts
  sidewatch run --namespace pay --namespace shop         only these namespaces
  SIDEWATCH_LOG_FORMAT=json sidewatch run                every flag has an environment variable
";

const SIMULATE_EXAMPLES: &str = "\
Examples:
  sidewatch simulate -p policy.yaml                        on the Pods of a namespace, as they are now
  sidewatch simulate -p policy.yaml -A --for 10m           on all Pods, while they change
  sidewatch simulate -p policy.yaml --record pods.jsonl    on a recording, without a cluster
  sidewatch simulate -p new.yaml --record pods.jsonl --against old.yaml
";

const EXPLAIN_EXAMPLES: &str = "\
Examples:
  sidewatch explain web-7d9f8c6b5-x2x7k -n shop
  sidewatch explain deployment/web -n shop
  sidewatch explain -f web.yaml                             without a cluster
  sidewatch explain web-7d9f8c6b5-x2x7k --record pods.jsonl
";

const TOP_EXAMPLES: &str = "\
Examples:
  sidewatch top -A                   all violations, by workload and container
  sidewatch top -A --by image        which images fail
  sidewatch top -n shop -p new.yaml  with the policies of a file
";

const RECORD_EXAMPLES: &str = "\
Examples:
  sidewatch record -n shop -o pods.jsonl              until Ctrl-C
  sidewatch record -A -l app=web --for 10m -o pods.jsonl
";

const VERSIONS_EXAMPLES: &str = "\
Examples:
  sidewatch versions -A                  which versions run, and who is behind
  sidewatch versions -f rendered.yaml    without a cluster
  sidewatch versions -A -o json
";

const SNOOZE_EXAMPLES: &str = "\
Examples:
  sidewatch snooze deployment/web -n shop --for 2h --reason \"the vendor fixes the image\"
  sidewatch snooze cronjob/report --until 2026-03-01T18:00:00Z --check JobHeldOpen --reason \"issue 42\"
  sidewatch snooze sts/db --for 30m --container exporter --reason maintenance --dry-run
";

const DOCTOR_EXAMPLES: &str = "\
Examples:
  sidewatch doctor                                       examine the installation
  sidewatch doctor --operator-namespace sidewatch-system
";

const COMPLETION_EXAMPLES: &str = "\
Examples:
  sidewatch completion bash > /etc/bash_completion.d/sidewatch
  sidewatch completion zsh > ~/.zfunc/_sidewatch
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
    Run(Box<RunArgs>),
    /// Find faults of sidecars in manifests, or in the workloads of a cluster
    #[command(before_help = LINT_EXAMPLES)]
    Lint(LintArgs),
    /// Show what a policy would report, on the cluster or on a recording
    #[command(before_help = SIMULATE_EXAMPLES)]
    Simulate(SimulateArgs),
    /// Explain how a Pod starts and stops, what a failing probe leads to, and why each check reports something or not
    #[command(before_help = EXPLAIN_EXAMPLES)]
    Explain(ExplainArgs),
    /// Show the present violations by workload, image or policy
    #[command(before_help = TOP_EXAMPLES)]
    Top(TopArgs),
    /// Show which versions of each sidecar's image run, and which workloads are behind
    #[command(before_help = VERSIONS_EXAMPLES)]
    Versions(VersionsArgs),
    /// Hide the violations of a workload until a time
    #[command(before_help = SNOOZE_EXAMPLES)]
    Snooze(SnoozeArgs),
    /// Examine whether the installation is complete and healthy
    #[command(before_help = DOCTOR_EXAMPLES)]
    Doctor(DoctorArgs),
    /// Record Pods for simulate and for bug reports
    #[command(before_help = RECORD_EXAMPLES)]
    Record(RecordArgs),
    /// Print the CustomResourceDefinitions as YAML
    Crds,
    /// Print a script that completes the command line in a shell
    #[command(before_help = COMPLETION_EXAMPLES)]
    Completion(CompletionArgs),
    /// Print the version
    Version,
}

/// Parses the arguments of the process, of which the first is the name of the program, and runs the subcommand. An invalid
/// command line ends the process.
pub fn run_with(args: Vec<OsString>) -> ExitCode {
    let invocation = Invocation::of(args.first());
    if invocation == Invocation::Completion {
        let words = args.get(1..).unwrap_or_default();
        let result = plugin::complete(words).map(|()| Outcome::Nothing);
        return exit_code(result, FailureCode::WithoutFindings, &mut io::stderr());
    }
    let mut command = invocation.command();
    let matches = command.try_get_matches_from_mut(args);
    match matches.and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => cli.execute(),
        // An invalid command line can contain what another program has written.
        Err(error) if error.use_stderr() && !is_safe(&error.render().to_string()) => {
            let failure = FailureCode::WithFindings;
            exit_code(Err(error.render().to_string().into()), failure, &mut io::stderr())
        }
        Err(error) => error.exit(),
    }
}

impl Cli {
    /// Runs the subcommand, and writes its error to standard error.
    fn execute(self) -> ExitCode {
        let failure = self.command.failure_code();
        exit_code(self.command.execute(), failure, &mut io::stderr())
    }
}

impl Command {
    fn failure_code(&self) -> FailureCode {
        match self {
            Self::Run(_) | Self::Crds | Self::Completion(_) | Self::Version => FailureCode::WithoutFindings,
            Self::Lint(_)
            | Self::Simulate(_)
            | Self::Explain(_)
            | Self::Top(_)
            | Self::Versions(_)
            | Self::Snooze(_)
            | Self::Doctor(_)
            | Self::Record(_) => FailureCode::WithFindings,
        }
    }

    fn execute(self) -> Result<Outcome, Failure> {
        match self {
            Self::Run(args) => run::execute(*args).map(|()| Outcome::Nothing),
            Self::Lint(args) => lint::execute(&args),
            Self::Simulate(args) => simulate::execute(&args),
            Self::Explain(args) => explain::execute(&args),
            Self::Top(args) => top::execute(&args),
            Self::Versions(args) => versions::execute(&args),
            Self::Snooze(args) => snooze::execute(&args).map(|()| Outcome::Nothing),
            Self::Doctor(args) => doctor::execute(&args),
            Self::Record(args) => record::execute(&args).map(|()| Outcome::Nothing),
            Self::Crds => crds::execute().map(|()| Outcome::Nothing),
            Self::Completion(args) => completion::execute(args).map(|()| Outcome::Nothing),
            Self::Version => version::execute().map(|()| Outcome::Nothing),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::address::ListenAddress;

    fn run(args: &[&str]) -> Result<RunArgs, clap::Error> {
        let args = ["sidewatch", "run"].iter().chain(args);
        Cli::try_parse_from(args).map(|cli| match cli.command {
            Command::Run(args) => *args,
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
            (["--lease-name", "Side"], "--lease-name", "a-z"),
            (["--operator-namespace", "a.b"], "--operator-namespace", "a-z"),
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
    fn leader_election_needs_the_namespace_of_the_operator() {
        let error = run(&["--leader-elect"]).unwrap_err().to_string();
        for flag in ["--leader-elect", "--operator-namespace"] {
            assert!(error.contains(flag), "{error}");
        }
        let args = run(&["--leader-elect", "--operator-namespace", "sidewatch-system"]).unwrap();
        assert!(args.leader_elect);
        assert_eq!(args.lease_name, "sidewatch");
        assert!(!run(&[]).unwrap().leader_elect, "off by default");
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
            // The name that Pods commonly use for their own namespace.
            let expected = match long.as_str() {
                "OPERATOR_NAMESPACE" => "POD_NAMESPACE".to_owned(),
                long => format!("SIDEWATCH_{long}"),
            };
            assert_eq!(variable, expected);
        }
    }
}
