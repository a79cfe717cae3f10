//! A real control plane on loopback, and access to it: clients, kubectl, kubeconfigs, tokens.

pub(crate) mod addresses;
mod audit;
mod control_plane;
mod controller_manager;
pub(crate) mod kubeconfig;
mod kubectl;
mod monitoring_crds;
mod permissions;
pub(crate) mod pki;
pub mod tokens;

pub use audit::AuditLog;
pub use control_plane::{Backup, ControlPlane, shared};
pub use kubectl::Cluster;
pub use permissions::{Permission, is_permitted};
pub use tokens::TokenKubeconfig;
