//! Tests with a real API server, except those of the operator, the chart and the documentation: the harness itself, the
//! schemas of the policies, manifests, alerts and metrics.
//!
//! One binary, so that these tests share one link and one control plane.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what it expects by panicking"
)]
#![allow(
    missing_docs,
    unreachable_pub,
    reason = "a test binary has no readers of its interface"
)]

mod admission;
mod alert_rules;
mod cli;
mod control_plane;
mod dashboard;
mod doctor;
mod exemption_specs;
mod fault_proxy;
mod hidden;
mod image;
mod kustomize;
mod lease;
mod monitoring;
mod plugin;
mod pod_encodings;
mod policy_specs;
mod snooze;
