//! The network of the node, inside a network namespace that has nothing yet.
//!
//! Output: loopback, and a bridge with the node's address and the API server's Service address. Must not: lead anywhere else.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::{ADDRESS, SERVICE};

pub(super) fn set_up() -> Result<()> {
    ip("link set lo up")?;
    // Any interface would do that can be made without a driver of its own.
    ip("link add node0 type bridge")?;
    ip(&format!("addr add {ADDRESS}/24 dev node0"))?;
    ip(&format!("addr add {SERVICE}/32 dev node0"))?;
    ip("link set node0 up")?;
    // The kubelet takes the node's address from the interface of the default route.
    ip(&format!("route add default via {ADDRESS} dev node0"))?;
    fs::write("/proc/sys/net/ipv4/ip_forward", "1").context("let the node forward for its Pods")
}

fn ip(arguments: &str) -> Result<()> {
    let output = Command::new("ip")
        .args(arguments.split(' '))
        .output()
        .context("run ip")?;
    if !output.status.success() {
        bail!(
            "ip {arguments}: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}
