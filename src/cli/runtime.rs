//! Runs the asynchronous work of a subcommand, and waits for the signals that end the operator.

use std::{future::Future, io, time::Duration};

use tokio::runtime::Builder;

use super::exit::Failure;

/// Limit of the time for which blocking work, such as the lookup of a host name, delays the exit.
const EXIT_TIMEOUT: Duration = Duration::from_millis(100);

/// Runs a future on this thread until it is ready.
pub fn block_on<T>(future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(future);
    runtime.shutdown_timeout(EXIT_TIMEOUT);
    result
}

/// Returns a future that is ready after SIGTERM or SIGINT. The signals are observed from this call on. Must be called in a
/// runtime.
#[cfg(unix)]
pub fn stop_signal() -> io::Result<impl Future<Output = ()> + Send + use<>> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// Returns a future that is ready after Ctrl-C.
#[cfg(not(unix))]
pub fn stop_signal() -> io::Result<impl Future<Output = ()> + Send + use<>> {
    Ok(async {
        // An error means that Ctrl-C is not observed: then only the end of the process stops the operator.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    })
}
