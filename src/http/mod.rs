//! What the operator serves: metrics and health pages, and the HTTP server that limits what a client may cost.

pub mod address;
pub mod health;
pub mod metrics;
pub mod server;
