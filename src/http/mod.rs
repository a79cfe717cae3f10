//! The HTTP server and its pages: metrics and health. The metrics can be protected by TLS and bearer tokens.

pub mod address;
pub mod auth;
mod connections;
pub mod health;
pub mod metrics;
mod page;
mod page_cache;
pub mod server;
pub mod tls;

#[cfg(test)]
mod testing;
