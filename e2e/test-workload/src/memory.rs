//! Allocates memory until the kernel kills a process.

use std::hint::black_box;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::{env, fs};

use crate::say;

const MIB: usize = 1 << 20;
/// Maximum in MiB, so that a container without a memory limit does not exhaust the node.
const ENOUGH: usize = 512;

/// Returns only if it is not killed.
pub(crate) fn eat() -> Result<u8, String> {
    let mut eaten = Vec::new();
    while eaten.len() < ENOUGH {
        // The kernel allocates a page only when it is written.
        eaten.push(black_box(vec![1_u8; MIB]));
    }
    Err(format!(
        "eat: not killed after {} MiB: does the container have a memory limit?",
        eaten.len()
    ))
}

/// Returns when the child is killed.
pub(crate) fn eat_in_child() -> Result<(), String> {
    let failed = |error| format!("eat in a child: {error}");
    let program = env::current_exe().map_err(failed)?;
    let mut child = Command::new(program)
        .arg("eat")
        .stdin(Stdio::null())
        .spawn()
        .map_err(failed)?;
    // The kernel must select the child, not this process.
    let _ = fs::write(format!("/proc/{}/oom_score_adj", child.id()), "1000");
    let status = child.wait().map_err(failed)?;
    match status.signal() {
        Some(signal) => say(&format!("the child was killed by signal {signal}")),
        None => return Err(format!("eat in a child: not killed: {status}")),
    }
    Ok(())
}
