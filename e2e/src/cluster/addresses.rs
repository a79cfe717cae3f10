//! Names and addresses that the certificates of a cluster contain.

use std::net::Ipv4Addr;

/// Name of the node.
pub(crate) const NODE_NAME: &str = "node-1";
/// Address of the node, and of the API server on it.
pub(crate) const NODE: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 1);
/// Service address of the API server, which the environment of every Pod contains.
pub(crate) const SERVICE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
/// Address of the virtual machine, in the network of [`NODE`].
pub(crate) const VM: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 2);
/// Network of the Pods.
pub(crate) const PODS: &str = "10.244.0.0/24";
