//! The signals that a container runtime sends.
//!
//! To block a signal and wait for it is the one way that works for the first process of a container as well: the kernel
//! drops a signal to it that has its default action, but keeps one that is blocked.

use std::process;
use std::thread::{self, sleep};

use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::command::OnTerm;
use crate::say;

/// To be called before any other thread is there: threads inherit what is blocked.
pub(crate) fn on_term(reaction: OnTerm) -> Result<(), String> {
    let signals = block(&[Signal::SIGTERM])?;
    thread::spawn(move || {
        while signals.wait().is_ok() {
            match reaction {
                OnTerm::Ignore => say("SIGTERM: ignored"),
                OnTerm::Exit(code) => {
                    say(&format!("SIGTERM: exit {code}"));
                    process::exit(code.into());
                }
                OnTerm::After(delay, code) => {
                    say(&format!("SIGTERM: exit {code} after {delay:?}"));
                    sleep(delay);
                    say(&format!("drained: exit {code}"));
                    process::exit(code.into());
                }
            }
        }
    });
    Ok(())
}

/// Holds the namespaces of a Pod until it is told to end. Where containers share a PID namespace it is the first process
/// there, and inherits the orphans of all.
pub(crate) fn pause() -> Result<u8, String> {
    let signals = block(&[Signal::SIGTERM, Signal::SIGINT, Signal::SIGCHLD])?;
    say("pause");
    // those that ended before the signal was blocked
    reap();
    loop {
        match signals.wait() {
            Ok(Signal::SIGCHLD) => reap(),
            Ok(signal) => {
                say(&format!("{signal}: exit 0"));
                return Ok(0);
            }
            Err(error) => return Err(format!("wait for signals: {error}")),
        }
    }
}

/// Several children that end at once are one signal.
fn reap() {
    loop {
        match waitpid(None::<Pid>, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return,
            Ok(status) => say(&format!("reaped: {status:?}")),
            Err(error) => return say(&format!("reap: {error}")),
        }
    }
}

fn block(signals: &[Signal]) -> Result<SigSet, String> {
    let signals: SigSet = signals.iter().copied().collect();
    signals
        .thread_block()
        .map_err(|error| format!("block signals: {error}"))?;
    Ok(signals)
}
