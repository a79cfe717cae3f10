//! What the tests, the benchmarks and the fuzz targets share.
//!
//! * [`api_server`]: an API server that answers each request as the test tells it to, with or without virtual time;
//! * [`kubelet`]: a Pod that changes as a kubelet changes it;
//! * [`pods`], [`fleet`]: Pods as large as in real clusters, one or many thousand;
//! * [`policies`]: policies as the watch delivers them;
//! * [`protobuf`]: an encoder from JSON to protobuf;
//! * [`recordings`]: what real kubelets reported, and what must be found in it;
//! * [`fuzzing`]: the bodies of the fuzz targets;
//! * [`rng`]: random choices that a seed decides.

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
pub mod kubelet;
pub mod pods;
pub mod policies;
pub mod protobuf;
pub mod recordings;
pub mod rng;
