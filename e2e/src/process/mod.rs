//! Child processes that never outlive the process that started them.
//!
//! A [`Process`] can be frozen, resumed, terminated, killed and waited for. It runs in its own process group. Dropping the
//! handle kills the group, also when a test panics. If this process is killed by SIGKILL, a *watchdog* kills the group: a
//! shell that waits for the end of a pipe whose other end this process holds. The parent-death signal of Linux does not
//! work here: it is bound to the *thread* that started the child, and a test harness ends its threads.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};

mod cgroup;
pub mod programs;
mod scratch;
pub(crate) mod stats;

pub use cgroup::MemoryCgroup;
pub use scratch::{Scratch, copy_directory};

/// Runs the command after a line of input, which is sent when the watchdog runs. If this process dies before, `read` fails.
const WAIT_FOR_WATCHDOG: &str = r#"read -r _ && exec "$@" </dev/null"#;
/// Kills the process group `$1` at the end of its input.
const WATCHDOG: &str = r#"read -r _; kill -s KILL -- "-$1""#;
const POLL: Duration = Duration::from_millis(20);
/// Maximum time between SIGSTOP and the stop of the last thread, which may be in a system call that cannot be interrupted.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// A command: program, arguments, changes to the environment.
#[derive(Debug, Clone)]
#[must_use]
pub struct Spec {
    name: String,
    program: PathBuf,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    unset: Vec<OsString>,
    dir: Option<PathBuf>,
}

impl Spec {
    /// A program without arguments. Messages call it by its file name.
    pub fn new(program: impl Into<PathBuf>) -> Self {
        let program = program.into();
        let name = program
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        Self {
            name,
            program,
            args: Vec::new(),
            env: Vec::new(),
            unset: Vec::new(),
            dir: None,
        }
    }

    /// Adds one argument.
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Adds several arguments.
    pub fn args(mut self, args: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets an environment variable.
    pub fn env(mut self, key: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((key.into(), value.into()));
        self
    }

    /// Removes environment variables.
    pub fn unset(mut self, names: impl IntoIterator<Item = OsString>) -> Self {
        self.unset.extend(names);
        self
    }

    /// Runs it in a control group, from its start.
    pub fn in_cgroup(self, group: &MemoryCgroup) -> Self {
        let enter = ["-c", r#"echo $$ >"$1" && shift && exec "$@""#, "sh"].map(OsString::from);
        let mut args = Vec::from(enter);
        args.extend([group.processes().into(), self.program.into()]);
        args.extend(self.args);
        Self {
            program: "/bin/sh".into(),
            args,
            ..self
        }
    }

    /// Sets the working directory; the default is that of this process.
    pub fn dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.dir = Some(dir.into());
        self
    }
}

/// A running (or ended) child process. Dropping it kills it and its whole process group.
#[derive(Debug)]
#[must_use]
pub struct Process {
    name: String,
    child: Child,
    watchdog: Option<Watchdog>,
    log: PathBuf,
    status: Option<ExitStatus>,
}

impl Process {
    /// Starts the command with standard output and error going to the end of `log`.
    pub fn start(spec: &Spec, log: &Path) -> Result<Self> {
        if !spec.program.is_file() {
            bail!("cannot start {}: no file {}", spec.name, spec.program.display());
        }
        let out = File::options()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("open {}", log.display()))?;
        let mut command = shell(WAIT_FOR_WATCHDOG, [spec.program.as_os_str()]);
        for name in &spec.unset {
            command.env_remove(name);
        }
        let mut child = command
            .args(&spec.args)
            .envs(spec.env.iter().map(|(key, value)| (key, value)))
            .current_dir(spec.dir.as_deref().unwrap_or(Path::new(".")))
            .stdout(out.try_clone()?)
            .stderr(out)
            .spawn()
            .with_context(|| format!("start {}", spec.name))?;
        let stdin = child.stdin.take();
        // From here on, dropping the handle cleans up after any failure.
        let mut process = Self {
            name: spec.name.clone(),
            child,
            watchdog: None,
            log: log.to_owned(),
            status: None,
        };
        process.watchdog = Some(Watchdog::start(WATCHDOG, OsStr::new(&process.id().to_string()))?);
        stdin
            .context("no pipe to the child")?
            .write_all(b"\n")
            .with_context(|| format!("start {}", spec.name))?;
        Ok(process)
    }

    /// Process id, which is also the id of the process group.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Path of the file with its output.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// The last lines of its output, for messages.
    pub fn log_tail(&self) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        last_lines(&String::from_utf8_lossy(&text), 25)
    }

    /// The exit status, or `None` while it runs.
    pub fn try_wait(&mut self) -> Result<Option<ExitStatus>> {
        if self.status.is_some() {
            return Ok(self.status);
        }
        // Do not reap: a zombie keeps its id, so the group can still be killed by id.
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        match rustix::process::waitid(WaitId::Pid(self.pid()?), look)? {
            None => Ok(None),
            Some(_) => self.kill().map(Some),
        }
    }

    /// Waits until it exits.
    pub async fn wait(&mut self, timeout: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(status) = self.try_wait()? {
                return Ok(status);
            }
            if Instant::now() >= deadline {
                bail!(
                    "{} still runs after {timeout:?}; its log ends with:\n{}",
                    self.name,
                    self.log_tail()
                );
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Sends SIGTERM and waits; an error if it does not exit in time.
    pub async fn terminate(&mut self, timeout: Duration) -> Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        self.wait(timeout).await
    }

    /// Sends SIGINT to the process group, as Ctrl-C in a terminal does.
    pub fn interrupt(&mut self) -> Result<()> {
        rustix::process::kill_process_group(self.pid()?, Signal::INT)
            .with_context(|| format!("interrupt {}", self.name))
    }

    /// Sends SIGSTOP and waits until all threads are stopped: connections stay open and nothing answers.
    pub fn freeze(&mut self) -> Result<()> {
        self.signal(Signal::STOP)?;
        self.wait_until_stopped(Instant::now() + STOP_TIMEOUT)
    }

    /// Waits for the stop of the last thread. The kernel stops each thread when it next returns to user space, and
    /// reports the process as stopped after the last one.
    fn wait_until_stopped(&self, deadline: Instant) -> Result<()> {
        let look =
            WaitIdOptions::EXITED | WaitIdOptions::STOPPED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        loop {
            match rustix::process::waitid(WaitId::Pid(self.pid()?), look)? {
                Some(status) if status.stopped() => return Ok(()),
                Some(_) => bail!(
                    "{} ended before it stopped; its log ends with:\n{}",
                    self.name,
                    self.log_tail()
                ),
                None if Instant::now() >= deadline => {
                    bail!("{} still runs {STOP_TIMEOUT:?} after SIGSTOP", self.name)
                }
                None => std::thread::sleep(Duration::from_millis(1)),
            }
        }
    }

    /// Sends SIGCONT to a frozen process.
    pub fn thaw(&mut self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    /// Kills the process group and waits for the exit. No effect on a process that has exited.
    pub fn kill(&mut self) -> Result<ExitStatus> {
        if let Some(status) = self.status {
            return Ok(status);
        }
        match rustix::process::kill_process_group(self.pid()?, Signal::KILL) {
            // The group has only zombies.
            Ok(()) | Err(rustix::io::Errno::SRCH | rustix::io::Errno::PERM) => {}
            Err(error) => return Err(error).with_context(|| format!("kill {}", self.name)),
        }
        // The watchdog kills by group id, so it must end before the kernel reuses the id.
        drop(self.watchdog.take());
        let status = self
            .child
            .wait()
            .with_context(|| format!("wait for {}", self.name))?;
        self.status = Some(status);
        Ok(status)
    }

    fn signal(&mut self, signal: Signal) -> Result<()> {
        if let Some(status) = self.try_wait()? {
            bail!(
                "{} has ended ({status}); its log ends with:\n{}",
                self.name,
                self.log_tail()
            );
        }
        rustix::process::kill_process(self.pid()?, signal).with_context(|| format!("signal {}", self.name))
    }

    fn pid(&self) -> Result<Pid> {
        i32::try_from(self.child.id())
            .ok()
            .and_then(Pid::from_raw)
            .context("process id out of range")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Err(error) = self.kill() {
            let _ = writeln!(io::stderr(), "{error:#}");
        }
    }
}

/// Waits until `probe` succeeds and returns its value. Fails when one of the processes exits or the time is over; the error
/// quotes the log of the last process.
pub async fn wait_until_ready<T, F>(
    processes: &mut [&mut Process],
    timeout: Duration,
    mut probe: impl FnMut() -> F,
) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let deadline = Instant::now() + timeout;
    loop {
        for process in processes.iter_mut() {
            if let Some(status) = process.try_wait()? {
                let (name, log) = (&process.name, process.log_tail());
                bail!("{name} exited ({status}) before it was ready; its log ends with:\n{log}");
            }
        }
        match probe().await {
            Ok(value) => return Ok(value),
            Err(error) if Instant::now() > deadline => {
                let last = processes.last().context("no process")?;
                let (name, log) = (&last.name, last.log_tail());
                bail!("{name} is not ready after {timeout:?}: {error:#}; its log ends with:\n{log}");
            }
            Err(_) => tokio::time::sleep(POLL).await,
        }
    }
}

/// The last `count` lines of a text.
pub fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let from = lines.len().saturating_sub(count);
    lines.get(from..).unwrap_or_default().join("\n")
}

/// Two different ports that are free on loopback now. Another process may take one before it is used.
pub(crate) fn free_ports() -> Result<(u16, u16)> {
    let listen = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("find a free port");
    let (one, two) = (listen()?, listen()?);
    Ok((one.local_addr()?.port(), two.local_addr()?.port()))
}

/// A shell that acts when its input closes: when this handle is dropped or this process dies.
#[derive(Debug)]
pub(crate) struct Watchdog(Child);

impl Watchdog {
    /// Starts `script`, which must wait for the end of its input (`read -r _`) and then act on `$1`.
    pub(crate) fn start(script: &str, argument: &OsStr) -> Result<Self> {
        let child = shell(script, [argument])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Ok(Self(child.context("start a watchdog (sh)")?))
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// A shell in its own process group, so that Ctrl-C in the terminal does not reach it.
fn shell<'a>(script: &str, args: impl IntoIterator<Item = &'a OsStr>) -> Command {
    let mut command = Command::new("sh");
    command
        .args(["-c", script, "sh"])
        .args(args)
        .stdin(Stdio::piped())
        .process_group(0);
    command
}

#[cfg(test)]
mod tests;
