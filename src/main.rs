//! The `sidewatch` binary: reads the command line, installs telemetry, runs, and maps errors to exit codes: 0 after a
//! stop that was asked for, 1 for what went wrong at run time, 2 for a command line that cannot be meant.

use std::{
    io::{self, Write},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use clap::Parser;
use sidewatch::{
    api::crds,
    clock::SystemClock,
    commands::{Cli, Command, RunArgs},
    http::server::{Limits, listen},
    kubernetes::client::{self, Clients},
    kubernetes::inputs::WatchScope,
    operator::{Operator, serve_in_background},
    telemetry::logging,
};
use tokio::signal::unix::{SignalKind, signal};

/// Why the process ends with exit code 1.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// How long blocking work may hold up the exit.
const EXIT: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Run(args) => run(args),
        Command::Crds => print(crds::yaml().map_err(Failure::from)),
        Command::Version => print(Ok(format!("sidewatch {}\n", env!("CARGO_PKG_VERSION")))),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Standard error may be closed; there is nowhere left to say so.
            let _unsaid = writeln!(io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn print(text: Result<String, Failure>) -> Result<(), Failure> {
    match io::stdout().write_all(text?.as_bytes()) {
        // `sidewatch crds | head` is no failure.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => Ok(result?),
    }
}

fn run(args: RunArgs) -> Result<(), Failure> {
    logging::install(args.log_format, args.log_level)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(operate(args));
    runtime.shutdown_timeout(EXIT);
    result
}

async fn operate(args: RunArgs) -> Result<(), Failure> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let metrics = listen(args.metrics_address)
        .await
        .map_err(|error| format!("--metrics-address: {error}"))?;
    let health = listen(args.health_address)
        .await
        .map_err(|error| format!("--health-address: {error}"))?;
    let config = client::config(args.kubeconfig.as_deref(), args.context.as_deref()).await?;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), server = %config.cluster_url, "starting");

    let mut namespaces: Vec<Arc<str>> = args.namespaces.iter().map(|name| name.as_str().into()).collect();
    namespaces.sort_unstable();
    namespaces.dedup();
    let operator = Operator::new(
        Clients::new(config)?,
        &WatchScope { namespaces },
        Arc::new(SystemClock::default()),
    )?;
    serve_in_background("metrics", metrics, operator.metrics(), Limits::default());
    let uncached = Limits {
        page_age: Duration::ZERO,
        ..Limits::default()
    };
    serve_in_background("health", health, operator.health(), uncached);
    operator
        .run(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        })
        .await;
    Ok(())
}
