//! `sidewatch run`: runs the operator until SIGTERM or SIGINT.
//!
//! Lists, watches, decoding, evaluation and writes share one thread: passing the bytes of a connection from thread to
//! thread costs more than a third of the CPU time. The HTTP servers have a thread of their own, so that a scrape does not
//! wait for a list.

use std::{num::NonZeroUsize, path::PathBuf, sync::Arc, time::Duration};

use clap::Args;
use tokio::{
    runtime::{Builder, Handle},
    signal::unix::{SignalKind, signal},
};
use tracing::info;

use super::Failure;
use crate::{
    clock::SystemClock,
    domain::{
        index::series::SeriesLimits,
        policy::{PolicyLimits, Severity},
    },
    http::{
        address::ListenAddress,
        server::{Limits, listen},
    },
    kubernetes::{
        client::{self, Clients},
        inputs::WatchScope,
    },
    operator::{Operator, TaskEnded, serve_in_background},
    telemetry::logging::{self, Format, Level},
};

/// How long blocking work may delay the exit.
const EXIT_TIMEOUT: Duration = Duration::from_secs(1);

/// Flags of `sidewatch run`.
#[derive(Clone, Debug, Args)]
pub(super) struct RunArgs {
    /// Kubeconfig file; default: $KUBECONFIG, then the ServiceAccount of the Pod, then ~/.kube/config
    #[arg(long, env = "SIDEWATCH_KUBECONFIG", value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,

    /// Context of the kubeconfig; default: its current context
    #[arg(long, env = "SIDEWATCH_CONTEXT", value_name = "NAME")]
    pub context: Option<String>,

    /// Watch only this namespace, without ClusterSidecarPolicies; repeat for several namespaces
    #[arg(
        long = "namespace",
        short = 'n',
        env = "SIDEWATCH_NAMESPACE",
        value_name = "NAME",
        value_delimiter = ',',
        value_parser = namespace
    )]
    pub namespaces: Vec<String>,

    /// Address that serves /metrics
    #[arg(
        long,
        env = "SIDEWATCH_METRICS_ADDRESS",
        value_name = "[HOST]:PORT",
        default_value = ":8080"
    )]
    pub metrics_address: ListenAddress,

    /// Address that serves /livez and /readyz
    #[arg(
        long,
        env = "SIDEWATCH_HEALTH_ADDRESS",
        value_name = "[HOST]:PORT",
        default_value = ":8081"
    )]
    pub health_address: ListenAddress,

    /// Limit of firing violations with their own series in /metrics; series of workloads are always complete
    #[arg(
        long,
        env = "SIDEWATCH_MAX_POD_SERIES",
        value_name = "NUMBER",
        default_value_t = SeriesLimits::default().pods
    )]
    pub max_pod_series: usize,

    /// Number of SidecarPolicies of a namespace that are evaluated: the oldest. The others have a condition
    #[arg(
        long,
        env = "SIDEWATCH_MAX_POLICIES_PER_NAMESPACE",
        value_name = "NUMBER",
        default_value_t = PolicyLimits::default().per_namespace
    )]
    pub max_policies_per_namespace: NonZeroUsize,

    /// Highest severity of violations under a SidecarPolicy; a higher severity in a policy is lowered to it
    #[arg(long, env = "SIDEWATCH_MAX_TENANT_SEVERITY", value_enum, default_value_t)]
    pub max_tenant_severity: MaxSeverity,

    /// Format of log lines
    #[arg(long, env = "SIDEWATCH_LOG_FORMAT", value_enum, default_value_t)]
    pub log_format: Format,

    /// Lowest level of log lines; up to the level info at most 10 lines are written per second
    #[arg(long, env = "SIDEWATCH_LOG_LEVEL", value_enum, default_value_t)]
    pub log_level: Level,

    /// Time for which requests share a rendered metrics page, in milliseconds; for benchmarks
    #[arg(
        long,
        env = "SIDEWATCH_PAGE_AGE_MS",
        value_name = "MILLISECONDS",
        default_value_t = 1000,
        hide = true
    )]
    pub page_age_ms: u64,
}

/// A severity as the API spells it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
#[value(rename_all = "PascalCase")]
pub(super) enum MaxSeverity {
    /// Informational
    Info,
    /// To be examined during working hours
    Warning,
    /// To be examined immediately
    #[default]
    Critical,
}

impl From<MaxSeverity> for Severity {
    fn from(severity: MaxSeverity) -> Self {
        match severity {
            MaxSeverity::Info => Self::Info,
            MaxSeverity::Warning => Self::Warning,
            MaxSeverity::Critical => Self::Critical,
        }
    }
}

/// Runs the operator until it is asked to stop.
pub(super) fn execute(args: RunArgs) -> Result<(), Failure> {
    logging::install(args.log_format, args.log_level)?;
    let http = Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("http")
        .enable_all()
        .build()?;
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let http_handle = http.handle().clone();
    // A spawned task, because a runtime polls the network after each wake-up of the future of `block_on`, which is one
    // system call for each piece of a list.
    let result = runtime.block_on(async { tokio::spawn(operate(args, http_handle)).await });
    runtime.shutdown_timeout(EXIT_TIMEOUT);
    http.shutdown_background();
    result?
}

/// Runs the operator on this runtime, and the HTTP servers on `http`.
async fn operate(args: RunArgs, http: Handle) -> Result<(), Failure> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let metrics = http
        .spawn(listen(args.metrics_address))
        .await?
        .map_err(|error| format!("--metrics-address: {error}"))?;
    let health = http
        .spawn(listen(args.health_address))
        .await?
        .map_err(|error| format!("--health-address: {error}"))?;
    let config = client::config(args.kubeconfig.as_deref(), args.context.as_deref()).await?;
    info!(version = env!("CARGO_PKG_VERSION"), server = %config.cluster_url, "starting");

    let mut namespaces: Vec<Arc<str>> = args.namespaces.iter().map(|name| name.as_str().into()).collect();
    namespaces.sort_unstable();
    namespaces.dedup();
    let operator = Operator::new(
        Clients::new(config)?,
        &WatchScope { namespaces },
        PolicyLimits {
            per_namespace: args.max_policies_per_namespace,
            severity: args.max_tenant_severity.into(),
        },
        SeriesLimits {
            pods: args.max_pod_series,
            ..SeriesLimits::default()
        },
        Arc::new(SystemClock::default()),
    )?;
    let limits = |page_age| Limits {
        page_age,
        ..Limits::default()
    };
    let page_age = Duration::from_millis(args.page_age_ms);
    let (mut metrics, mut health) = {
        let _http = http.enter();
        (
            serve_in_background("metrics", metrics, operator.metrics(), limits(page_age)),
            serve_in_background("health", health, operator.health(), limits(Duration::ZERO)),
        )
    };
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    tokio::select! {
        result = operator.run(stop) => result?,
        result = &mut metrics => return Err(TaskEnded::new("metrics", result).into()),
        result = &mut health => return Err(TaskEnded::new("health", result).into()),
    }
    Ok(())
}

/// Accepts an RFC 1123 label, the form that the API server requires for the name of a namespace.
fn namespace(name: &str) -> Result<String, InvalidNamespace> {
    let is_allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let is_label = (1..=63).contains(&name.len())
        && name.chars().all(is_allowed)
        && !name.starts_with('-')
        && !name.ends_with('-');
    if is_label {
        Ok(name.to_owned())
    } else {
        Err(InvalidNamespace)
    }
}

/// A text that is not the name of a namespace.
#[derive(Debug, thiserror::Error)]
#[error("the name of a namespace has 1 to 63 of a-z, 0-9 and '-', and does not start or end with '-'")]
struct InvalidNamespace;
