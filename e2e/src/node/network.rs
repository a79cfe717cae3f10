//! Network of the node, in a new network namespace: loopback, and a bridge with the address of the node and the Service
//! address of the API server. No route leads out.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result};

use crate::cluster::addresses::{NODE, SERVICE};
use crate::process::programs::stdout_of;

pub(super) fn set_up() -> Result<()> {
    ip("link set lo up")?;
    // Any interface that needs no driver works.
    ip("link add node0 type bridge")?;
    ip(&format!("addr add {NODE}/24 dev node0"))?;
    ip(&format!("addr add {SERVICE}/32 dev node0"))?;
    ip("link set node0 up")?;
    // The kubelet reads the address of the node from the interface of the default route.
    ip(&format!("route add default via {NODE} dev node0"))?;
    fs::write("/proc/sys/net/ipv4/ip_forward", "1").context("enable IP forwarding")
}

pub(super) fn ip(arguments: &str) -> Result<()> {
    stdout_of(Command::new("ip").args(arguments.split(' '))).map(drop)
}
