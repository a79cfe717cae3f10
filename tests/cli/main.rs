//! Tests of the built binary: exit codes, messages, recordings, files, and a scripted API server on loopback. Each run has
//! a time limit.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test panics where its expectation fails"
)]

mod cluster;
mod doctor;
mod exemptions;
mod explain;
mod explain_texts;
mod files;
mod hostile_text;
mod json_schema;
mod lint;
mod lint_live;
mod lint_pages;
mod pages;
mod plugin;
mod process;
#[cfg(target_os = "linux")]
mod pseudo_terminal;
mod sarif;
mod setup;
mod simulate;
#[cfg(target_os = "linux")]
mod supervision;
mod support;
#[cfg(target_os = "linux")]
mod terminal;
mod versions;
