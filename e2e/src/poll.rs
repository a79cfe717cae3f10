//! Polling with a timeout.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

const POLL: Duration = Duration::from_millis(50);

/// Calls `probe` until it succeeds and returns its value, or its last error after `timeout`.
pub async fn eventually<T, F>(timeout: Duration, mut probe: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let deadline = Instant::now() + timeout;
    loop {
        match probe().await {
            Err(_) if Instant::now() < deadline => tokio::time::sleep(POLL).await,
            result => return result.with_context(|| format!("after {timeout:?}")),
        }
    }
}
