//! The documentation: links, example Pods and Events, commands, YAML, queries, metrics and the API reference are correct.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what it expects by panicking"
)]

mod api_reference;
mod check_pages;
mod commands;
mod comparison;
mod compatibility;
mod examples;
mod links;
mod markdown;
mod readme;
mod shell;
mod threats;
