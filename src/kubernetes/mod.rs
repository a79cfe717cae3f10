//! Reads from the API server: clients, watches and the decoding of objects. Also reads and writes the Lease of the leader
//! election and the ConfigMap of the checkpoint, and permits writes.
//!
//! Input: a kubeconfig or the ServiceAccount, and the namespaces to watch. Output: one stream of [`inputs::Input`] values
//! that contain no Kubernetes type. [`failure`] and [`backoff`] are shared with the writes in `sink`.

pub mod backoff;
mod body;
pub mod checkpoint_map;
pub mod client;
pub mod decode;
pub mod failure;
pub mod fence;
pub mod inputs;
pub mod installation;
mod invalid_objects;
pub mod json;
mod kubeconfig;
pub mod lease;
pub mod list;
mod list_watch;
pub mod named_object;
pub mod names;
mod panics;
pub mod protobuf;
mod proxy;
pub(crate) mod recovery;
pub mod schema;
mod transport;
pub mod watch;
pub mod workloads;
pub mod written_exemption;
