//! Parts that the subcommands share: flags, exit codes, output for people and for programs, files, clusters, recordings and the
//! evaluation of Pods.
//!
//! Input: flags, files, recordings, the API server. Output: values for the subcommands, and text on standard output.
//! Nothing here decides whether a Pod has a fault: [`evaluation`] calls the operator's own index.

pub mod args;
pub mod cluster;
pub mod evaluation;
pub mod exit;
pub mod files;
pub mod hints;
pub mod manifests;
pub mod output;
pub mod policies;
pub mod recording;
pub mod roles;
mod runtime;
pub mod safe_text;
pub mod table;
pub mod terminal;

pub use self::runtime::{block_on, stop_signal};
