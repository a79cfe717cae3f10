//! Flags that several subcommands have, with the names that `kubectl` uses.

use std::path::PathBuf;

use clap::Args;

use super::{
    output::Format,
    terminal::{ColorWhen, Terminal},
};
use crate::{
    api::{Duration, InvalidDuration},
    kubernetes::names::is_label,
};

/// The cluster, and the objects in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
#[command(next_help_heading = "Cluster")]
pub struct ClusterArgs {
    /// Kubeconfig file; default: $KUBECONFIG, then the ServiceAccount of the Pod, then ~/.kube/config
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,

    /// Context of the kubeconfig; default: its current context
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,

    /// Namespace; default: the namespace of the context
    #[arg(long, short, value_name = "NAME", value_parser = namespace)]
    pub namespace: Option<String>,

    /// All namespaces
    #[arg(long, short = 'A', conflicts_with = "namespace")]
    pub all_namespaces: bool,

    /// Label selector, such as app=web,tier!=cache
    #[arg(long, short = 'l', value_name = "SELECTOR")]
    pub selector: Option<String>,
}

/// How the result is written.
#[derive(Clone, Copy, Debug, Default, Args)]
#[command(next_help_heading = "Output")]
pub struct OutputArgs {
    /// Format of the result
    #[arg(long, short, value_enum, default_value_t, value_name = "FORMAT")]
    pub output: Format,

    /// When to use colours
    #[arg(long, value_enum, default_value_t, value_name = "WHEN")]
    pub color: ColorWhen,
}

impl OutputArgs {
    /// Examines the terminal.
    pub fn terminal(self) -> Terminal {
        Terminal::stdout(self.color)
    }
}

/// Accepts an RFC 1123 label, the form that the API server requires for the name of a namespace.
pub fn namespace(name: &str) -> Result<String, InvalidNamespace> {
    if is_label(name) {
        Ok(name.to_owned())
    } else {
        Err(InvalidNamespace)
    }
}

/// A text that is not the name of a namespace.
#[derive(Debug, thiserror::Error)]
#[error("the name of a namespace has 1 to 63 of a-z, 0-9 and '-', and does not start or end with '-'")]
pub struct InvalidNamespace;

/// Accepts a duration as in a policy, such as `90s` or `1h30m`.
pub fn duration(text: &str) -> Result<std::time::Duration, InvalidDuration> {
    Duration::new(text).parse()
}

/// Returns the kind of a workload from the names that `kubectl` accepts, such as `deploy`. `None` for another kind.
pub fn workload_kind(text: &str) -> Option<&'static str> {
    Some(match &*text.to_ascii_lowercase() {
        "po" | "pod" | "pods" => "Pod",
        "deploy" | "deployment" | "deployments" => "Deployment",
        "sts" | "statefulset" | "statefulsets" => "StatefulSet",
        "ds" | "daemonset" | "daemonsets" => "DaemonSet",
        "rs" | "replicaset" | "replicasets" => "ReplicaSet",
        "job" | "jobs" => "Job",
        "cj" | "cronjob" | "cronjobs" => "CronJob",
        _ => return None,
    })
}
