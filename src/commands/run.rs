//! `sidewatch run`: runs the operator until SIGTERM or SIGINT.
//!
//! Lists, watches, decoding, evaluation and writes share one thread: passing the bytes of a connection from thread to
//! thread costs more than a third of the CPU time. The HTTP servers have a thread of their own, so that a scrape does not
//! wait for a list.

use std::{
    hash::{BuildHasher, RandomState},
    num::NonZeroUsize,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use clap::Args;
use kube::Config;
use tokio::runtime::{Builder, Handle};
use tracing::info;

use super::Failure;
use crate::{
    cli::{args::namespace, stop_signal},
    clock::{SystemClock, SystemLeaseClock},
    domain::{
        index::series::SeriesLimits,
        policy::{PolicyLimits, Severity},
    },
    http::{
        address::ListenAddress,
        auth::Authorizer,
        server::{Limits, Protection, listen},
        tls::Tls,
    },
    kubernetes::{
        client::{self, Clients},
        inputs::WatchScope,
        installation::Installation,
        names::is_subdomain,
    },
    operator::{
        Operator, TaskEnded, checkpoint::CheckpointLocation, leadership::Candidate, serve_in_background,
    },
    sink,
    telemetry::{
        logging::{self, Format, Level},
        metrics::Metrics,
    },
};

/// Limit of the time for which blocking work delays the exit.
const EXIT_TIMEOUT: Duration = Duration::from_secs(1);

/// Maximum length of the part of an identity that names the Pod. With the suffix, the identity is also valid as the name of a
/// field manager.
const MAX_INSTANCE: usize = 100;
/// Maximum length of the name of a Lease.
const MAX_LEASE_NAME: usize = 200;

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

    /// Directory with tls.crt and tls.key, such as a mounted Secret: /metrics is served over TLS with this certificate.
    /// It is read again when it changes
    #[arg(long, env = "SIDEWATCH_METRICS_TLS", value_name = "DIRECTORY")]
    pub metrics_tls: Option<PathBuf>,

    /// Serve /metrics only to bearer tokens whose user may get the nonResourceURL /metrics; requires --metrics-tls
    #[arg(long, env = "SIDEWATCH_METRICS_AUTH")]
    pub metrics_auth: bool,

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

    /// Number of SidecarPolicies of a namespace that are evaluated: the oldest. The condition Ready of the others is False
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

    /// Take part in a leader election, so that one of several replicas writes Events and statuses
    #[arg(long, env = "SIDEWATCH_LEADER_ELECT", requires = "operator_namespace")]
    pub leader_elect: bool,

    /// Namespace of the operator, which contains the checkpoint and the Lease of the leader election
    #[arg(long, env = "POD_NAMESPACE", value_name = "NAME", value_parser = namespace)]
    pub operator_namespace: Option<String>,

    /// Name of the Lease of the leader election
    #[arg(
        long,
        env = "SIDEWATCH_LEASE_NAME",
        value_name = "NAME",
        default_value = "sidewatch",
        value_parser = lease_name
    )]
    pub lease_name: String,

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

/// Runs the operator until SIGTERM or SIGINT.
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
    let stop = stop_signal()?;
    let metrics = http
        .spawn(listen(args.metrics_address))
        .await?
        .map_err(|error| format!("--metrics-address: {error}"))?;
    let health = http
        .spawn(listen(args.health_address))
        .await?
        .map_err(|error| format!("--health-address: {error}"))?;
    let config = client::config(args.kubeconfig.as_deref(), args.context.as_deref())?;
    info!(version = env!("CARGO_PKG_VERSION"), server = %config.cluster_url, "starting");

    let review_config = config.clone();
    let mut namespaces: Vec<Arc<str>> = args.namespaces.iter().map(|name| name.as_str().into()).collect();
    namespaces.sort_unstable();
    namespaces.dedup();
    let identity = identity(&sink::instance());
    let candidate = candidate(&args, &identity);
    let mut operator = Operator::new(
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
        installation(&args),
        candidate.as_ref(),
    )?;
    if let Some(namespace) = args.operator_namespace.clone() {
        operator = operator.with_checkpoint(&CheckpointLocation {
            namespace,
            lease: args.lease_name.clone(),
        });
    }
    let limits = |page_age| Limits {
        page_age,
        ..Limits::default()
    };
    let page_age = Duration::from_millis(args.page_age_ms);
    let (mut metrics, mut health) = {
        let _http = http.enter();
        let protection = protection(&args, review_config, operator.counters())?;
        (
            serve_in_background(
                "metrics",
                metrics,
                operator.metrics(),
                limits(page_age),
                protection,
            ),
            serve_in_background(
                "health",
                health,
                operator.health(),
                limits(Duration::ZERO),
                Protection::default(),
            ),
        )
    };
    tokio::select! {
        result = operator.run(stop) => result?,
        result = &mut metrics => return Err(TaskEnded::new("metrics", result).into()),
        result = &mut health => return Err(TaskEnded::new("health", result).into()),
    }
    Ok(())
}

/// Returns the protection of /metrics that the flags require. Must be called in the runtime of the HTTP servers.
fn protection(args: &RunArgs, config: Config, counters: Arc<Metrics>) -> Result<Protection, Failure> {
    if args.metrics_auth && args.metrics_tls.is_none() {
        return Err(
            "--metrics-auth requires --metrics-tls: bearer tokens must not be sent in clear text".into(),
        );
    }
    let tls = args.metrics_tls.as_deref().map(|directory| {
        Tls::new(directory, Arc::clone(&counters)).map_err(|error| format!("--metrics-tls: {error}"))
    });
    let tls = tls.transpose()?;
    let authorizer = args.metrics_auth.then(|| -> Result<_, Failure> {
        Ok(Arc::new(Authorizer::new(
            client::review_client(config)?,
            counters,
        )?))
    });
    Ok(Protection {
        tls,
        authorizer: authorizer.transpose()?,
    })
}

/// Returns the installation to which this process belongs.
fn installation(args: &RunArgs) -> Installation {
    match &args.operator_namespace {
        Some(namespace) => Installation::with_lease(namespace, &args.lease_name),
        None => Installation::on_host(&sink::instance()),
    }
}

/// Returns the candidate of the leader election, or `None` without leader election.
fn candidate(args: &RunArgs, identity: &str) -> Option<Candidate> {
    let namespace = args.operator_namespace.clone().filter(|_| args.leader_elect)?;
    Some(Candidate {
        namespace,
        lease: args.lease_name.clone(),
        identity: identity.to_owned(),
        clock: Arc::new(SystemLeaseClock),
    })
}

/// Returns the identity of this process in the leader election: the name of its Pod, and a random suffix, because a container
/// that restarts in the same Pod is another process.
fn identity(instance: &str) -> String {
    let instance = instance
        .get(..instance.floor_char_boundary(MAX_INSTANCE))
        .unwrap_or_default();
    let suffix = RandomState::new().hash_one(std::process::id());
    format!("{instance}_{suffix:016x}")
}

/// Accepts an RFC 1123 subdomain, the form that the API server requires for the name of a Lease, with room for the suffix of
/// the names that are derived from it.
fn lease_name(name: &str) -> Result<String, InvalidLeaseName> {
    if name.len() <= MAX_LEASE_NAME && is_subdomain(name) {
        Ok(name.to_owned())
    } else {
        Err(InvalidLeaseName)
    }
}

/// A text that is not the name of a Lease.
#[derive(Debug, thiserror::Error)]
#[error(
    "the name of a Lease has 1 to 200 of a-z, 0-9, '-' and '.', and its parts do not start or end with '-'"
)]
struct InvalidLeaseName;

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: RunArgs,
    }

    #[test]
    fn the_identity_of_a_process_is_unique_and_short() {
        let name = "p".repeat(128);
        let (one, other) = (identity(&name), identity(&name));
        assert_ne!(one, other);
        assert!(one.len() <= 128 && one.starts_with("ppp"), "{one}");
    }

    #[test]
    fn tokens_in_clear_text_are_refused() {
        let refusal = |flags: &[&str]| {
            let args = Cli::parse_from(["run"].iter().chain(flags)).args;
            let config = Config::new("http://127.0.0.1:1".parse().unwrap());
            let counters = Arc::new(Metrics::new().unwrap());
            protection(&args, config, counters)
                .map(drop)
                .unwrap_err()
                .to_string()
        };
        let error = refusal(&["--metrics-auth"]);
        assert!(error.contains("--metrics-auth requires --metrics-tls"), "{error}");
        let error = refusal(&["--metrics-auth", "--metrics-tls", "/nonexistent"]);
        assert!(
            error.contains("--metrics-tls: cannot read /nonexistent/tls.crt"),
            "{error}"
        );
    }
}
