//! Sidewatch: says when a sidecar lets its Pod down.

pub mod api;
pub mod domain;
pub mod wire;
