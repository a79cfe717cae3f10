//! Takes memory until the kernel kills somebody for it.

use std::hint::black_box;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::{env, fs};

use crate::say;

const MIB: usize = 1 << 20;
/// Nobody gives a test workload more; a container without a memory limit must not take its node down.
const ENOUGH: usize = 512;

/// Returns only when nobody kills it.
pub(crate) fn eat() -> Result<u8, String> {
    let mut eaten = Vec::new();
    while eaten.len() < ENOUGH {
        // written to, or the kernel would only promise it
        eaten.push(black_box(vec![1_u8; MIB]));
    }
    Err(format!(
        "eat: {} MiB, and nobody killed me: does the container have a memory limit?",
        eaten.len()
    ))
}

/// Returns when the child was killed.
pub(crate) fn eat_in_child() -> Result<(), String> {
    let failed = |error| format!("eat in a child: {error}");
    let program = env::current_exe().map_err(failed)?;
    let mut child = Command::new(program)
        .arg("eat")
        .stdin(Stdio::null())
        .spawn()
        .map_err(failed)?;
    // of the two processes in the container, this one
    let _ = fs::write(format!("/proc/{}/oom_score_adj", child.id()), "1000");
    let status = child.wait().map_err(failed)?;
    match status.signal() {
        Some(signal) => say(&format!("the child was killed by signal {signal}")),
        None => return Err(format!("eat in a child: it was not killed: {status}")),
    }
    Ok(())
}
