//! The Helm charts with Helm 3 and Helm 4: rendering, validation by a real API server, installation, upgrade, uninstallation.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what it expects by panicking"
)]

mod aggregation;
mod audit;
mod files;
mod gitops;
mod helm;
mod install;
mod prometheus;
mod protected;
mod readme;
mod release;
mod render;
mod rights;
mod settings;
mod values;
