//! Child processes that never outlive the process that started them.
//!
//! Input: a command and a log file. Output: a [`Process`] that can be frozen, thawed, asked to end, killed and waited for.
//! Each runs in a process group of its own and is killed, with everything it started, when its handle is dropped, also
//! when a test panics. And when this whole process dies without a word (SIGKILL), a *watchdog* does it: a shell that
//! waits for the end of a pipe whose other end only we hold. The parent-death signal of Linux is no help here: it is
//! bound to the *thread* that started the child, and a test harness ends its threads.
//!
//! Must not: know what it runs.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};

/// Runs the command only after it was told to: by then its watchdog is there. When we die before that, `read` fails.
const WAIT_FOR_WATCHDOG: &str = r#"read -r _ && exec "$@" </dev/null"#;
/// Kills the process group `$1` at the end of its input.
const WATCHDOG: &str = r#"read -r _; kill -s KILL -- "-$1""#;
const POLL: Duration = Duration::from_millis(20);

/// What to run: program, arguments, environment on top of ours.
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
    /// A program without arguments; the file's name becomes the name in messages.
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

    /// Leaves these variables of our environment out.
    pub fn unset(mut self, names: impl IntoIterator<Item = OsString>) -> Self {
        self.unset.extend(names);
        self
    }

    /// Sets the working directory; without it, ours.
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
        // From here on the handle's drop cleans up, whatever fails.
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

    /// The process id, which is also the id of its process group.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Where its output goes.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// The end of its output, for messages.
    pub fn log_tail(&self) -> String {
        const LINES: usize = 25;
        let text = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines
            .get(lines.len().saturating_sub(LINES)..)
            .unwrap_or_default()
            .join("\n")
    }

    /// The exit status when it has ended, `None` while it lives.
    pub fn try_wait(&mut self) -> Result<Option<ExitStatus>> {
        if self.status.is_some() {
            return Ok(self.status);
        }
        // Look without reaping: as long as it is a zombie its id belongs to it, so that the group can still be killed by id.
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        match rustix::process::waitid(WaitId::Pid(self.pid()?), look)? {
            None => Ok(None),
            Some(_) => self.kill().map(Some),
        }
    }

    /// Waits until it ends by itself.
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

    /// Asks it to end (SIGTERM) and waits; an error when it does not end in time.
    pub async fn terminate(&mut self, timeout: Duration) -> Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        self.wait(timeout).await
    }

    /// Ctrl-C at its terminal: SIGINT to it and to everything it started.
    pub fn interrupt(&mut self) -> Result<()> {
        rustix::process::kill_process_group(self.pid()?, Signal::INT)
            .with_context(|| format!("interrupt {}", self.name))
    }

    /// Stops it from doing anything (SIGSTOP): connections stay open and nothing answers.
    pub fn freeze(&mut self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// Lets a frozen process go on (SIGCONT).
    pub fn thaw(&mut self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    /// Kills it and everything it started, and waits for its end. Harmless when it has ended.
    pub fn kill(&mut self) -> Result<ExitStatus> {
        if let Some(status) = self.status {
            return Ok(status);
        }
        match rustix::process::kill_process_group(self.pid()?, Signal::KILL) {
            // A group of zombies only may be gone already.
            Ok(()) | Err(rustix::io::Errno::SRCH | rustix::io::Errno::PERM) => {}
            Err(error) => return Err(error).with_context(|| format!("kill {}", self.name)),
        }
        // The watchdog knows the group by its id, so it ends before that id is given back.
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

/// A shell that acts when our end of its input closes: when it is dropped, or when this process is gone.
#[derive(Debug)]
pub(crate) struct Watchdog(Child);

impl Watchdog {
    /// `script` must wait for the end of its input (`read -r _`) and then act on `$1`.
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

/// A shell in its own process group, so that Ctrl-C at the terminal reaches us and not it.
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
mod tests {
    use super::*;

    fn sh(script: &str) -> (tempfile::TempDir, Process) {
        let dir = tempfile::tempdir().unwrap();
        let spec = Spec::new("/bin/sh")
            .args(["-c", script])
            .env("GREETING", "hello")
            .dir(dir.path());
        let process = Process::start(&spec, &dir.path().join("log")).unwrap();
        (dir, process)
    }

    async fn logged(process: &Process, text: &str) -> String {
        for _ in 0..500 {
            let log = process.log_tail();
            if log.contains(text) {
                return log;
            }
            tokio::time::sleep(POLL).await;
        }
        panic!("never said {text:?}: {:?}", process.log_tail());
    }

    fn alive(pid: &str) -> bool {
        let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        !status.is_empty() && !status.contains(") Z ")
    }

    #[tokio::test]
    async fn it_reports_output_and_exit_code() {
        let (dir, mut process) = sh("echo $GREETING; pwd; echo oops >&2; exit 3");
        let status = process.wait(Duration::from_secs(10)).await.unwrap();
        assert_eq!(status.code(), Some(3));
        let log = process.log_tail();
        assert!(log.contains("hello\n") && log.contains("oops"), "{log}");
        assert!(
            log.contains(dir.path().file_name().unwrap().to_str().unwrap()),
            "its directory: {log}"
        );
        assert_eq!(
            process.kill().unwrap().code(),
            Some(3),
            "killing what has ended changes nothing"
        );
    }

    #[tokio::test]
    async fn dropping_it_kills_what_it_started() {
        let (_dir, process) = sh("sleep 1000 & echo child $!; wait");
        let log = logged(&process, "child ").await;
        let child = log.trim().rsplit(' ').next().unwrap().to_owned();
        assert!(alive(&child), "the grandchild runs");
        drop(process);
        for _ in 0..100 {
            if !alive(&child) {
                return;
            }
            tokio::time::sleep(POLL).await;
        }
        panic!("the grandchild {child} survived");
    }

    #[tokio::test]
    async fn it_ends_in_peace_when_asked() {
        let (_dir, mut process) =
            sh("trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.05; done");
        logged(&process, "ready").await;
        assert!(
            process
                .terminate(Duration::from_secs(10))
                .await
                .unwrap()
                .success()
        );
        logged(&process, "bye").await;
    }

    #[tokio::test]
    async fn frozen_it_does_nothing_until_thawed() {
        let (_dir, mut process) = sh("trap 'exit 0' TERM; echo ready; while :; do sleep 0.05; done");
        logged(&process, "ready").await;
        process.freeze().unwrap();
        let error = process
            .terminate(Duration::from_millis(300))
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains("still runs"), "{error}");
        process.thaw().unwrap();
        assert!(process.wait(Duration::from_secs(10)).await.unwrap().success());
        process.freeze().expect_err("there is nothing to freeze");
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = Process::start(&Spec::new("/no/such/program"), Path::new("/dev/null")).unwrap_err();
        assert!(error.to_string().contains("/no/such/program"), "{error}");
    }
}
