//! Sidewatch: a Kubernetes operator that reports when a sidecar container harms its Pod.
//!
//! `docs/architecture.md` has the drawing of the modules, what each may import, and the glossary.

pub mod api;
pub mod checkpoint;
pub mod cli;
pub mod clock;
pub mod commands;
pub mod domain;
pub mod http;
pub mod kubernetes;
pub mod lint;
pub mod operator;
pub mod sink;
pub mod telemetry;
