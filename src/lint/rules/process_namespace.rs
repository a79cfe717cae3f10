//! SC014: shareProcessNamespace in a Pod with sidecars
//!
//! Default severity: Info.
//!
//! ## Reason
//!
//! With a shared process namespace, a sidecar sees the processes of the app with their arguments and environment, can read its
//! files through `/proc/PID/root`, and can send signals to it. The app does not have the process ID 1. Some sidecars need the shared
//! namespace, for example a config reloader that sends a signal to the app; the help names it.
//!
//! ## Bad
//!
//! ```yaml
//! kind: Pod
//! spec:
//!   shareProcessNamespace: true
//!   containers:
//!   - name: app
//!     image: shop/app:1.0
//!   - name: fluent-bit
//!     image: fluent/fluent-bit:4.0.7
//! ```
//!
//! ## Good
//!
//! ```yaml
//! kind: Pod
//! spec:
//!   containers:
//!   - name: app
//!     image: shop/app:1.0
//!   - name: fluent-bit
//!     image: fluent/fluent-bit:4.0.7
//! ```
//!
//! ## Source
//!
//! [Share process namespace](https://kubernetes.io/docs/tasks/configure-pod-container/share-process-namespace/)

use super::{Draft, Rule};
use crate::{
    domain::catalogue::Class,
    lint::{
        finding::Severity,
        pod::{Container, Pod},
    },
};

pub(super) const RULE: Rule = Rule {
    code: "SC014",
    title: "shareProcessNamespace in a Pod with sidecars",
    severity: Severity::Info,
    check,
};

fn check(pod: &Pod<'_>) -> Vec<Draft> {
    let shared = pod
        .spec
        .get("shareProcessNamespace")
        .filter(|field| field.is_true() && pod.sidecars().next().is_some());
    shared
        .map(|field| {
            Draft::pod(
                &field,
                "the containers share their processes: a sidecar can see the environment of the app and end it, and no process has the ID 1"
                    .to_owned(),
                &help(pod),
            )
        })
        .into_iter()
        .collect()
}

/// The advice. Many config reloaders send a signal to the app.
fn help(pod: &Pod<'_>) -> String {
    let reloads = |sidecar: &&Container<'_>| sidecar.class() == Some(Class::Reloader);
    match pod.sidecars().find(reloads) {
        Some(reloader) => format!(
            "keep it if {} reloads the app with a signal; otherwise remove it",
            reloader.name
        ),
        None => "remove it, unless a sidecar sends signals to the app".to_owned(),
    }
}
