//! Namespaces in which a program may be root of a machine of its own.
//!
//! Input: this program. Output: the same program again, in new network, process and mount namespaces, with a fresh `/run` for
//! all its files. Whatever it leaves ends with it, but for cgroups, which are not part of any of these: they are made here,
//! outside, under one name, and removed when the program has ended. Those of programs that were killed are removed by the next.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, process, thread};

use anyhow::{Context, Result, bail};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::process::Watchdog;
use crate::programs::on_path;

/// Set inside: the cgroup that everything is to be under, from the root of each hierarchy.
const CGROUP: &str = "SIDEWATCH_NODE_CGROUP";
/// Set inside: the process outside that has these namespaces, for `nsenter`.
const TARGET: &str = "SIDEWATCH_NODE_TARGET";
const PREFIX: &str = "sidewatch-node-";
/// The first process inside. It stays, and waits for orphans, whose zombies would otherwise pile up.
const FIRST: &str = r#"mount -t tmpfs tmpfs /run && "$@"; exit $?"#;
const KILL_GROUP: &str = r#"read -r _; kill -s KILL -- "-$1""#;
const NAMESPACES: [&str; 6] = [
    "--net",
    "--pid",
    "--mount",
    "--fork",
    "--kill-child",
    "--mount-proc",
];
const GONE_WITHIN: Duration = Duration::from_secs(5);

/// Why a node cannot run here, or `None` when it can. A missing runc is installed first where we may do that.
pub fn unavailable() -> Option<String> {
    if !cfg!(target_os = "linux") {
        return Some("a node needs Linux".into());
    }
    if !rustix::process::geteuid().is_root() {
        return Some(
            "a node needs root: put `sudo --preserve-env env \"PATH=$PATH\"` before the command".into(),
        );
    }
    let needed = [("runc", "runc"), ("ip", "iproute2"), ("unshare", "util-linux")];
    for (program, package) in needed {
        if is_installed(program) {
            continue;
        }
        if !is_installed("apt-get") {
            return Some(format!(
                "a node needs {program}: install the package {package} of your distribution"
            ));
        }
        if let Err(error) = install(package) {
            return Some(format!(
                "a node needs {program}, and `apt-get install {package}` fails: {error:#}"
            ));
        }
    }
    // In a container, for example, root may not do everything.
    let mut unshare = Command::new("unshare");
    unshare
        .args(NAMESPACES)
        .args(["mount", "-t", "tmpfs", "tmpfs", "/run"]);
    match unshare.stdin(Stdio::null()).output() {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(format!(
            "a node needs namespaces of its own (a container: `--privileged`): {}",
            String::from_utf8_lossy(&output.stderr).trim()
        )),
        Err(error) => Some(format!("a node needs unshare: {error}")),
    }
}

/// Runs this program again inside, and ends with its exit code.
pub(super) fn run_inside() -> Result<()> {
    remove_stale();
    let name = format!("{PREFIX}{}", process::id());
    make(&name)?;
    let code = run(&name);
    remove(&name)?;
    process::exit(code?);
}

/// Whether this program runs inside.
pub fn is_inside() -> bool {
    env::var_os(CGROUP).is_some()
}

/// Inside: what stands before a command that shall run here too when it is typed outside.
pub fn way_in() -> Result<String> {
    let target = env::var(TARGET).context("node::enter was not called")?;
    Ok(format!("nsenter --target {target} --net --mount "))
}

/// The cgroup that everything inside is to be under.
pub(super) fn cgroup() -> Result<String> {
    let name = env::var(CGROUP).context("node::enter was not called")?;
    Ok(format!("/{name}"))
}

/// Runs this program inside, and returns its exit code. What asks this program to end ends those inside.
fn run(name: &str) -> Result<i32> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut signals = Signals::listen()?;
        let mut child = command(name)?.spawn().context("run unshare")?;
        let id = child.id().context("unshare has no id")?;
        // When this program is killed, those inside are too.
        let watchdog = Watchdog::start(KILL_GROUP, OsStr::new(&id.to_string()))?;
        let status = tokio::select! {
            status = child.wait() => status.context("wait for unshare")?,
            signal = signals.next() => {
                drop(watchdog);
                child.wait().await.context("wait for unshare")?;
                return Ok(128 + signal.as_raw_value());
            }
        };
        Ok(status
            .code()
            .unwrap_or_else(|| 128 + status.signal().unwrap_or(0)))
    })
}

fn command(name: &str) -> Result<tokio::process::Command> {
    let unshare = format!(r#"{TARGET}=$$ exec unshare "$@""#);
    let mut command = tokio::process::Command::new("sh");
    command
        .args(["-c", &unshare, "sh"])
        .args(NAMESPACES)
        .args(["sh", "-c", FIRST, "sh"])
        .arg(env::current_exe()?)
        .args(env::args_os().skip(1))
        .env(CGROUP, name)
        // Temporary files go away with the mount.
        .env("TMPDIR", "/run")
        .stdin(Stdio::null())
        .process_group(0);
    Ok(command)
}

/// The signals that ask a program to end.
struct Signals([Signal; 3]);

impl Signals {
    fn listen() -> Result<Self> {
        let listen = || {
            anyhow::Ok(Self([
                signal(SignalKind::hangup())?,
                signal(SignalKind::interrupt())?,
                signal(SignalKind::terminate())?,
            ]))
        };
        listen().context("listen to signals")
    }

    async fn next(&mut self) -> SignalKind {
        let Self([hangup, interrupt, terminate]) = self;
        tokio::select! {
            _ = hangup.recv() => SignalKind::hangup(),
            _ = interrupt.recv() => SignalKind::interrupt(),
            _ = terminate.recv() => SignalKind::terminate(),
        }
    }
}

fn is_installed(program: &str) -> bool {
    // Where distributions put what only root uses.
    let more = ["/usr/sbin", "/sbin"].map(Path::new);
    on_path(program).is_some() || more.iter().any(|dir| dir.join(program).is_file())
}

fn install(package: &str) -> Result<()> {
    let apt = |arguments: &[&str]| {
        let status = Command::new("apt-get")
            .args(arguments)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status()
            .context("run apt-get")?;
        if !status.success() {
            bail!("{status}");
        }
        Ok(())
    };
    let install = ["install", "--yes", "--no-install-recommends", package];
    // A new machine has no lists of packages yet, and an old one has stale ones.
    apt(&install).or_else(|_| apt(&["update"]).and_then(|()| apt(&install)))
}

/// The roots of the cgroup hierarchies: several of version 1, or the one of version 2.
fn hierarchies() -> Result<Vec<PathBuf>> {
    let mounts = fs::read_to_string("/proc/self/mounts").context("read the mounts")?;
    let mut all: Vec<PathBuf> = mounts
        .lines()
        .filter_map(|line| {
            let mut words = line.split(' ').skip(1);
            let (path, kind) = (words.next()?, words.next()?);
            matches!(kind, "cgroup" | "cgroup2").then(|| path.into())
        })
        .collect();
    all.sort();
    all.dedup();
    Ok(all)
}

fn make(name: &str) -> Result<()> {
    for root in hierarchies()? {
        let dir = root.join(name);
        fs::create_dir(&dir).with_context(|| format!("make {}", dir.display()))?;
        // A new cpuset of version 1 has neither processors nor memory, and then takes no process.
        for file in ["cpuset.cpus", "cpuset.mems"] {
            if root.join("cgroup.procs").is_file() && root.join(file).is_file() {
                fs::copy(root.join(file), dir.join(file)).with_context(|| format!("set {file}"))?;
            }
        }
    }
    Ok(())
}

fn remove_stale() {
    for root in hierarchies().unwrap_or_default() {
        for entry in fs::read_dir(root).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let owner = name
                .strip_prefix(PREFIX)
                .filter(|id| !Path::new("/proc").join(id).exists());
            if owner.is_some() {
                // Somebody else may be removing it too.
                let _ = remove_tree(&entry.path());
            }
        }
    }
}

/// Removes what [`make`] made, and all below it. Processes that were killed a moment ago may still be in it.
fn remove(name: &str) -> Result<()> {
    let deadline = Instant::now() + GONE_WITHIN;
    for root in hierarchies()? {
        let dir = root.join(name);
        while let Err(error) = remove_tree(&dir) {
            if Instant::now() > deadline {
                return Err(error).with_context(|| format!("remove {}", dir.display()));
            }
            thread::sleep(Duration::from_millis(50));
        }
    }
    Ok(())
}

/// The directories of a cgroup, depth first: its files cannot be removed, and go with it.
fn remove_tree(dir: &Path) -> std::io::Result<()> {
    if !dir.exists() {
        return Ok(());
    }
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    fs::remove_dir(dir)
}
