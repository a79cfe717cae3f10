//! Programs of this machine: where they are, and those that take minutes, with a word now and then.
//!
//! Input: names, or commands. Output: paths, and how a command ended.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::thread::sleep;
use std::time::{Duration, Instant};
use std::{env, fs};

use anyhow::{Context, Result};

use crate::process::{Process, Spec};

/// The program of this name on the PATH.
pub(crate) fn on_path(name: &str) -> Option<PathBuf> {
    let paths = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&paths)
        .map(|dir| dir.join(name))
        .find(|path| path.is_file())
}

/// The PATH, with the directory of a program in front.
pub fn path_with(program: &Path) -> Result<OsString> {
    let path = env::var_os("PATH").unwrap_or_default();
    let first = program.parent().map(Path::to_owned);
    Ok(env::join_paths(first.into_iter().chain(env::split_paths(&path)))?)
}

/// A command that has ended.
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    /// The end of its output.
    pub(crate) log_tail: String,
    pub(crate) took: Duration,
    /// Whether it took so long that somebody was told.
    pub(crate) was_announced: bool,
}

/// Runs a command to its end, with its output in a new `log`. Every 15 seconds `announce` gets how many they are by now.
pub(crate) fn run_patiently(command: &Spec, log: &Path, announce: impl Fn(u64)) -> Result<Ended> {
    const EVERY: Duration = Duration::from_secs(15);
    fs::write(log, "").with_context(|| format!("write {}", log.display()))?;
    let start = Instant::now();
    let mut process = Process::start(command, log)?;
    let mut next = EVERY;
    let status = loop {
        if let Some(status) = process.try_wait()? {
            break status;
        }
        if start.elapsed() >= next {
            announce(next.as_secs());
            next += EVERY;
        }
        sleep(Duration::from_millis(100));
    };
    Ok(Ended {
        status,
        log_tail: process.log_tail(),
        took: start.elapsed(),
        was_announced: next > EVERY,
    })
}

/// Straight to standard error: the test harness would keep what `eprintln!` says from the person who waits.
pub(crate) fn say(topic: &str, message: &str) {
    let _ = writeln!(io::stderr(), "{topic}: {message}");
}
