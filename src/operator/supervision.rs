//! Detects tasks that end although they must run as long as the process.
//!
//! tokio catches a panic in a task: the other tasks continue, and `/livez` still succeeds. So the process ends with the
//! error, and Kubernetes restarts it.

use std::{any::Any, fmt};

use tokio::task::JoinError;

/// Error of a task that ended although it must run as long as the process.
#[derive(Debug, thiserror::Error)]
#[error("the {task} task {cause}")]
pub struct TaskEnded {
    task: &'static str,
    cause: Cause,
}

#[derive(Debug)]
enum Cause {
    Panicked(String),
    Returned,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Panicked(message) => write!(f, "panicked: {message}"),
            Self::Returned => f.write_str("ended unexpectedly"),
        }
    }
}

impl TaskEnded {
    /// Creates the error of a task that returned or was aborted.
    pub(super) fn returned(task: &'static str) -> Self {
        let cause = Cause::Returned;
        Self { task, cause }
    }

    /// Creates the error of a task with this result.
    pub fn new<T>(task: &'static str, result: Result<T, JoinError>) -> Self {
        let panic = result.err().and_then(|error| error.try_into_panic().ok());
        let cause = panic.map_or(Cause::Returned, |payload| Cause::Panicked(message(&*payload)));
        Self { task, cause }
    }
}

/// Returns the message of a panic.
fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("no message").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_error_names_the_task_and_its_panic() {
        let panicked = tokio::spawn(async { panic!("index {}", 7) }).await;
        let error = TaskEnded::new::<()>("Events", panicked);
        assert_eq!(error.to_string(), "the Events task panicked: index 7");
        let returned = tokio::spawn(async {}).await;
        let error = TaskEnded::new("metrics", returned);
        assert_eq!(error.to_string(), "the metrics task ended unexpectedly");
    }
}
