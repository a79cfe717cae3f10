//! The API server as a source of facts: clients, watches, and the decoding of what they bring.
//!
//! Input: a kubeconfig or the service account, and the scope to watch. Output: one stream of [`inputs::Input`] values that
//! name no Kubernetes type.

pub mod backoff;
pub mod client;
pub mod decode;
pub mod failure;
pub mod inputs;
pub mod watch;
