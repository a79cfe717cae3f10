//! Shared helpers of the tests, the benchmarks and the fuzz targets.
//!
//! * [`api_server`]: a scripted API server, with or without virtual time;
//! * [`kubelet`]: a simulated kubelet: Pods on their nodes, and the statuses that a real kubelet writes;
//! * [`lint_fixtures`]: Pod specs with and without faults that rules of lint find;
//! * [`pods`], [`fleet`]: one Pod or many thousand Pods, as large as in real clusters;
//! * [`policies`]: policies as the watch delivers them;
//! * [`protobuf`]: an encoder from JSON to protobuf;
//! * [`recordings`]: recorded updates of real kubelets, and the expected violations;
//! * [`fuzzing`]: the bodies of the fuzz targets;
//! * [`mod@glob`] for globs;
//! * [`rng`]: random choices from a seed.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    reason = "a helper of a test panics where its expectation fails"
)]

pub mod api_server;
pub mod fleet;
pub mod fuzzing;
pub mod glob;
pub mod kubelet;
pub mod lint_fixtures;
pub mod pods;
pub mod policies;
pub mod protobuf;
pub mod recordings;
pub mod rng;
