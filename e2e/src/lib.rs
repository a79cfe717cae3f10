//! A real Kubernetes control plane for Sidewatch's tests and demo, and Pods that do as they are told.
//!
//! [`ControlPlane`] runs etcd and kube-apiserver on loopback, from binaries that [`tools`] finds or builds.
//! [`simulated_kubelet`] plays scheduler and node: it writes the Pod statuses that a real kubelet would.
//! [`fault_proxy`] stands between the operator and the API server and does what networks do. [`node`] adds a real
//! node, which runs [`images`]; [`runner`] plays each [`scenario`] there, and [`observers`] look on as people's monitoring does.
//! Everything ends with the process that started it.

pub mod bench_scale;
pub mod compare;
pub mod control_plane;
mod controller_manager;
pub mod demo;
pub mod fault_env;
pub mod fault_proxy;
pub mod helm;
pub mod images;
pub mod installed;
mod kubeconfig;
mod kubectl;
mod monitoring;
pub mod node;
pub mod observers;
pub mod operator;
mod pki;
pub mod process;
pub mod programs;
pub mod prometheus;
pub mod runner;
pub mod scenario;
pub mod scratch;
pub mod simulated_kubelet;
pub mod tokens;
pub mod tools;

pub use control_plane::{ControlPlane, shared};
pub use kubectl::Cluster;
pub use tokens::TokenKubeconfig;
