//! Signals that a container runtime sends.
//!
//! The kernel drops a signal to the first process of a container unless the process handles it, so the handlers must be
//! installed before anything else.

use std::process;
use std::thread::{self, sleep};

use rustix::io::Errno;
use rustix::process::{WaitOptions, wait};
use signal_hook::consts::{SIGCHLD, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::signal_name;

use crate::command::OnTerm;
use crate::say;

/// Installs the reaction to SIGTERM.
pub(crate) fn on_term(reaction: OnTerm) -> Result<(), String> {
    let mut signals = listen(&[SIGTERM])?;
    thread::spawn(move || {
        for _ in signals.forever() {
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

/// Holds the namespaces of a Pod until a signal ends it. If the containers share a PID namespace, it is the first process
/// there and reaps orphans.
pub(crate) fn pause() -> Result<u8, String> {
    let mut signals = listen(&[SIGTERM, SIGINT, SIGCHLD])?;
    say("pause");
    // children that exited before the handler was installed
    reap();
    for signal in signals.forever() {
        if signal == SIGCHLD {
            reap();
        } else {
            say(&format!("{}: exit 0", signal_name(signal).unwrap_or("signal")));
            break;
        }
    }
    Ok(0)
}

/// Reaps all exited children. Several children that exit at the same time cause one signal.
fn reap() {
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(None) | Err(Errno::CHILD) => return,
            Ok(Some((_, status))) => say(&format!("reaped: exit {:?}", status.exit_status())),
            Err(error) => return say(&format!("reap: {error}")),
        }
    }
}

fn listen(signals: &[i32]) -> Result<Signals, String> {
    Signals::new(signals).map_err(|error| format!("handle signals: {error}"))
}
