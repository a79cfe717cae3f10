//! Runs the asynchronous work of a subcommand.

use std::{future::Future, time::Duration};

use tokio::runtime::Builder;

use super::exit::Failure;

/// How long blocking work, such as the lookup of a host name, may delay the exit.
const EXIT_TIMEOUT: Duration = Duration::from_millis(100);

/// Runs a future on this thread until it is ready.
pub fn block_on<T>(future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(future);
    runtime.shutdown_timeout(EXIT_TIMEOUT);
    result
}
