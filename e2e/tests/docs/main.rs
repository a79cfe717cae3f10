//! What the documentation says, held against what is there: links against files, example Pods and Events against the
//! evaluation, metrics against a running operator, YAML against the API server, the API reference against the schema.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what it expects by panicking"
)]

mod api_reference;
mod check_pages;
mod commands;
mod examples;
mod links;
mod markdown;
mod readme;
mod shell;
