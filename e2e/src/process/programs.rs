//! Programs on the PATH, and commands that run to their end.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};
use std::{env, fs};

use anyhow::{Context, Result, bail};

use crate::process::{Process, Spec};

/// Path of the program with this name on the PATH.
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

/// Runs a command and returns its standard output. The error of a command that fails contains both outputs.
pub(crate) fn stdout_of(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output();
    stdout(
        command,
        &output.with_context(|| format!("run {}", command.get_program().display()))?,
    )
}

/// The same for an asynchronous command, which is killed when the future is dropped.
pub(crate) async fn stdout_of_async(command: &mut tokio::process::Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output().await;
    let command = command.as_std();
    stdout(
        command,
        &output.with_context(|| format!("run {}", command.get_program().display()))?,
    )
}

/// Standard output of a command that has ended.
pub(crate) fn stdout(command: &Command, output: &Output) -> Result<String> {
    let printed = String::from_utf8_lossy(&output.stdout);
    if output.status.success() {
        return Ok(printed.into_owned());
    }
    let name = Path::new(command.get_program()).file_name().unwrap_or_default();
    let args: Vec<_> = command.get_args().map(|arg| arg.to_string_lossy()).collect();
    bail!(
        "{} {} ({}): {}{}",
        name.display(),
        args.join(" "),
        output.status,
        printed.trim(),
        String::from_utf8_lossy(&output.stderr).trim()
    )
}

/// A command that has ended.
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    /// The last lines of its output.
    pub(crate) log_tail: String,
    pub(crate) took: Duration,
    /// Whether `progress` was called.
    pub(crate) was_reported: bool,
}

/// Runs a command to its end, with its output in a new `log`. Calls `progress` every 15 seconds with the elapsed seconds.
pub(crate) fn run_with_progress(command: &Spec, log: &Path, progress: impl Fn(u64)) -> Result<Ended> {
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
            progress(next.as_secs());
            next += EVERY;
        }
        sleep(Duration::from_millis(100));
    };
    Ok(Ended {
        status,
        log_tail: process.log_tail(),
        took: start.elapsed(),
        was_reported: next > EVERY,
    })
}

/// Writes to standard error, which the test harness captures from `eprintln!` but not from this.
pub fn say(topic: &str, message: &str) {
    let _ = writeln!(io::stderr(), "{topic}: {message}");
}
