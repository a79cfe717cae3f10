//! The HTTP server and its pages: metrics and health.

pub mod address;
mod connections;
pub mod health;
pub mod metrics;
mod page;
mod page_cache;
pub mod server;
