//! The operator against a scripted API server: its requests, their order, and its reaction to every kind of response.
//!
//! Time is virtual: requests do not pass a network, so waits end at once.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a helper of a test panics where its expectation fails"
)]

mod access;
mod checkpoint;
mod cuts;
mod events;
mod exemptions;
mod leadership;
mod restored;
mod stale;
mod start;
mod status;
mod streaming;
mod supervision;
mod watching;

use std::time::Duration;

use testkit::api_server::Exchange;

/// Whether all watches of Pods are in sync.
const PODS_SYNCED: &str = r#"sidewatch_watch_synced{resource="pods"}"#;
/// The number of Pods in the index.
const TRACKED: &str = "sidewatch_tracked_pods";

const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// The series that says whether all watches of a resource are in sync.
fn synced(resource: &str) -> String {
    format!(r#"sidewatch_watch_synced{{resource="{resource}"}}"#)
}

/// The series that counts the failed lists and watches of a resource.
fn watch_errors(resource: &str, reason: &str) -> String {
    format!(r#"sidewatch_watch_errors_total{{reason="{reason}",resource="{resource}"}}"#)
}

/// The series that counts the writes of Events or statuses.
fn api_writes(kind: &str, outcome: &str) -> String {
    format!(r#"sidewatch_api_writes_total{{kind="{kind}",outcome="{outcome}"}}"#)
}

#[track_caller]
fn assert_list(request: &Exchange) {
    assert!(!request.is_watch(), "not a list: {}", request.query);
}

#[track_caller]
fn assert_watch(request: &Exchange) {
    assert!(request.is_watch(), "not a watch: {}", request.query);
}
