//! The command line: subcommands and flags, every flag also an environment variable.
//!
//! Out: values that are checked already. What cannot be meant is refused here, with the flag's name and what would do,
//! and exit code 2.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::{
    http::address::ListenAddress,
    telemetry::logging::{Format, Level},
};

const EXAMPLES: &str = "\
Examples:
  sidewatch crds | kubectl apply -f -      install the two kinds of policy
  sidewatch run                            watch the whole cluster
  sidewatch run --namespace pay            watch one namespace
";

const RUN_EXAMPLES: &str = "\
Examples:
  sidewatch run                                          in a cluster, or with $KUBECONFIG
  sidewatch run --kubeconfig dev.yaml --context kind     on a desk
  sidewatch run --namespace pay --namespace shop         only these namespaces
  SIDEWATCH_LOG_FORMAT=json sidewatch run                every flag is also an environment variable
";

/// Watches sidecars and says, in Events, metrics and the policy's status, when one lets its Pod down.
#[derive(Debug, Parser)]
#[command(name = "sidewatch", version, before_help = EXAMPLES, disable_help_subcommand = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the operator until it is told to stop
    #[command(before_help = RUN_EXAMPLES)]
    Run(RunArgs),
    /// Print the CustomResourceDefinitions as YAML
    Crds,
    /// Print the version
    Version,
}

/// The flags of `run`.
#[derive(Clone, Debug, Args)]
pub struct RunArgs {
    /// The kubeconfig file; without it $KUBECONFIG, then the Pod's own ServiceAccount, then ~/.kube/config
    #[arg(long, env = "SIDEWATCH_KUBECONFIG", value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,

    /// The context of the kubeconfig; without it the current one
    #[arg(long, env = "SIDEWATCH_CONTEXT", value_name = "NAME")]
    pub context: Option<String>,

    /// Watch only this namespace, and no ClusterSidecarPolicies; may be given several times
    #[arg(
        long = "namespace",
        short = 'n',
        env = "SIDEWATCH_NAMESPACE",
        value_name = "NAME",
        value_delimiter = ',',
        value_parser = namespace
    )]
    pub namespaces: Vec<String>,

    /// Where /metrics is served
    #[arg(
        long,
        env = "SIDEWATCH_METRICS_ADDRESS",
        value_name = "[HOST]:PORT",
        default_value = ":8080"
    )]
    pub metrics_address: ListenAddress,

    /// Where /livez and /readyz are served
    #[arg(
        long,
        env = "SIDEWATCH_HEALTH_ADDRESS",
        value_name = "[HOST]:PORT",
        default_value = ":8081"
    )]
    pub health_address: ListenAddress,

    /// How log lines are written
    #[arg(long, env = "SIDEWATCH_LOG_FORMAT", value_enum, default_value_t)]
    pub log_format: Format,

    /// Which log lines are written
    #[arg(long, env = "SIDEWATCH_LOG_LEVEL", value_enum, default_value_t)]
    pub log_level: Level,
}

/// A namespace's name as the API server would accept it (an RFC 1123 label).
fn namespace(name: &str) -> Result<String, String> {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if name.is_empty()
        || name.len() > 63
        || !name.chars().all(inner)
        || name.starts_with('-')
        || name.ends_with('-')
    {
        return Err(
            "a namespace's name has 1 to 63 of a-z, 0-9 and '-', and neither starts nor ends with '-'"
                .to_owned(),
        );
    }
    Ok(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(args: &[&str]) -> Result<RunArgs, clap::Error> {
        let args = ["sidewatch", "run"].iter().chain(args);
        Cli::try_parse_from(args).map(|cli| match cli.command {
            Command::Run(args) => args,
            other => panic!("{other:?}"),
        })
    }

    #[test]
    fn the_definition_is_sound() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn defaults_need_no_flag() {
        let args = run(&[]).unwrap();
        assert_eq!(args.metrics_address, ListenAddress::Everywhere(8080));
        assert_eq!(args.health_address, ListenAddress::Everywhere(8081));
        assert!(args.namespaces.is_empty());
    }

    #[test]
    fn namespaces_repeat() {
        assert_eq!(
            run(&["--namespace", "a", "--namespace", "b"]).unwrap().namespaces,
            ["a", "b"]
        );
        assert_eq!(
            run(&["--namespace", "a,b"]).unwrap().namespaces,
            ["a", "b"],
            "as in the environment"
        );
    }

    #[test]
    fn bad_input_is_refused_with_the_flag_and_the_fix() {
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
    fn every_flag_is_an_environment_variable() {
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
